"""Whether services still have the delivered key: the value that they read, and their pods.

`watch_key` holds no key and does not access the cluster. It asks two functions that do:
`deliver_key` compares the delivered key with the current key and with exposed ones, `check_rollout`
counts the annotations of the pods. They answer with ids, fingerprints and counts, which are judged
here. Pure.

Nothing is judged while a rotation is in progress, or a run of the current or the previous version,
nor for a version that no run has delivered. After a run that ended early only an exposed key is
reported: `key_health` reports the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import (
    ENDED_BADLY,
    RUNS_ARE_KNOWN,
    Execution,
    Issue,
    Secret,
    runs_of,
    under_way,
)
from keyturn.monitoring.watch_trigger import WatchTrigger
from keyturn.rotation.preflight import Question
from keyturn.secret.staging_labels import AWSCURRENT, AWSPREVIOUS

QUESTION: Literal["drift"] = "drift"
# The time that the state machine gives a function; `watch_key` has two minutes.
WAIT_SECONDS = 60.0
DELIVERY, ROLLOUT = "deliver_key", "check_rollout"
AT_WORK = {"RUNNING", "PENDING_REDRIVE"}
Answer = Mapping[str, Any]
Judged = Callable[..., Issue]


class Questions(Protocol):
    """The functions that inspect the delivered key for `watch_key`."""

    def ask(self, question: Question, seconds: float) -> Sequence[Any] | None:
        """Ask every function, in parallel, and wait; None if no answer arrives in time.

        There is one answer per function, with its `failure` if it failed. Raises
        StateMachineUnavailable if they could not be asked.
        """


def is_to_be_asked(secret: Secret, executions: Sequence[Execution], call: WatchTrigger) -> bool:
    """Whether the delivery is settled, so that a difference is drift."""
    current, previous = secret.holder(AWSCURRENT), secret.holder(AWSPREVIOUS)
    if current is None or secret.deleted:
        return False
    if under_way(secret, call, runs_of(current, executions)):
        return False
    known = [version for version in (current, previous) if version]
    if any(run.status in AT_WORK for version in known for run in runs_of(version, executions)):
        return False
    if runs_of(current, executions) or previous is None:
        return True
    made = current.created or call.at
    put_back = previous.created is not None and made < previous.created
    return put_back or call.at - made >= RUNS_ARE_KNOWN


def find_drift(
    secret: Secret, executions: Sequence[Execution], answers: Sequence[Answer], call: WatchTrigger
) -> list[Issue]:
    """The issues, the most urgent first."""
    current = secret.holder(AWSCURRENT)
    if current is None:
        return []
    runs = tuple(runs_of(current, executions))
    since = runs[-1].started if runs else current.created or call.at

    def judged(concern: IssueKind, *about: str) -> Issue:
        return Issue(concern, current.id, since, runs=runs, about=about)

    given = {str(answer.get("function")): answer for answer in answers}
    delivered = _part(given.get(DELIVERY), "delivered", current.id)
    pods = _part(given.get(ROLLOUT), "pods", current.id)
    left_behind = bool(runs) and runs[-1].status in ENDED_BADLY
    issues = list(_of_delivered(delivered, current.id, judged, only_exposed=left_behind))
    if runs and not left_behind:
        issues += _of_pods(pods, judged, trusted=delivered.get("holds") == "current")
    failed = [*_failures(given)]
    return [*issues, judged(IssueKind.DRIFT_UNKNOWN, *failed)] if failed else issues


def _part(answer: Answer | None, name: str, current: str) -> Answer:
    """The facts of an answer, if it is about the current version."""
    part = (answer or {}).get(name)
    about = (answer or {}).get("current", current)
    return part if isinstance(part, Mapping) and about == current else {}


def _of_delivered(
    delivered: Answer, current: str, judged: Judged, *, only_exposed: bool
) -> Iterator[Issue]:
    target = str(delivered.get("target"))
    exposed = str(delivered.get("version"))
    if delivered.get("holds") == "exposed" and exposed != current:
        yield judged(IssueKind.EXPOSED_KEY_DELIVERED, target, exposed)
    elif delivered.get("holds") == "other" and not only_exposed:
        yield judged(IssueKind.DELIVERED_DRIFTED, target)


def _of_pods(pods: Answer, judged: Judged, *, trusted: bool) -> Iterator[Issue]:
    """Pods without annotations are less urgent if the delivered key is right."""
    off = {
        str(service): counts
        for service, counts in pods.items()
        if counts["others"] or counts["unstamped"]
    }
    if not off:
        return
    others = any(counts["others"] for counts in off.values())
    concern = IssueKind.PODS_UNSTAMPED if trusted and not others else IssueKind.PODS_DRIFTED
    yield judged(concern, *(_counted(service, counts) for service, counts in sorted(off.items())))


def _counted(service: str, counts: Mapping[str, int]) -> str:
    number = sum(counts[name] for name in ("current", "others", "unstamped"))
    return (
        f"{service}: of {number} pods {counts['others']} annotated with another version,"
        f" {counts['unstamped']} without annotations"
    )


def _failures(given: Mapping[str, Answer]) -> Iterator[str]:
    """The functions that did not answer, and the names of their errors."""
    for function in (DELIVERY, ROLLOUT):
        answer = given.get(function)
        if answer is None:
            yield f"{function}: no answer"
        elif failure := answer.get("failure"):
            name = str(failure.get("Error")) if isinstance(failure, Mapping) else ""
            yield f"{function}: {name if re.fullmatch(r'[A-Za-z.]{1,80}', name) else 'an error'}"
