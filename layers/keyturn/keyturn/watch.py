"""What may be wrong with the key between two rotations, judged from facts that anyone can look up.

Every day, and whenever AWSCURRENT moves. The judgement is pure; `keyturn.care` acts upon it.

Nothing is kept from one call to the next. The daily call comes at the same time each day and says
which, so what is to be told once is told by the call in whose 24 hours it comes true; what stays
wrong is told every day.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol

from keyturn import errors
from keyturn.labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS, Version
from keyturn.run import moment
from keyturn.trigger import Schedule

DAY = timedelta(days=1)
# A rotation that has not promoted its version by then is stuck: its steps take seconds.
UNDER_WAY = timedelta(minutes=30)
# Step Functions forgets an execution 90 days after its end; that none is known means nothing then.
RUNS_ARE_KNOWN = timedelta(days=80)
ENDED_BADLY = {"FAILED", "TIMED_OUT", "ABORTED"}
DAILY, MOVED = "Scheduled Event", "Secret Label Updated"


class Concern(Enum):
    """What is the matter."""

    NOT_CARRIED = "no run has carried the current version to the services"
    PUT_BACK = "a hand has moved AWSCURRENT back to an older version"
    RUN_ENDED = "the run of the current version ended before its end"
    STUCK = "a pending version has not been promoted"
    OLD = "the key is older than recommended"
    TOO_OLD = "the key is older than allowed"
    SOON = "the next rotation is near"


@dataclass(frozen=True)
class Secret:
    """The secret as it is now."""

    versions: tuple[Version, ...]
    changed: datetime | None
    next_rotation: datetime | None

    def holder(self, label: str) -> Version | None:
        """The version that carries a label."""
        return next((version for version in self.versions if label in version.labels), None)


@dataclass(frozen=True)
class Execution:
    """One run of the state machine, as Step Functions lists it."""

    name: str
    arn: str
    status: str
    started: datetime


@dataclass(frozen=True)
class Limits:
    """From which age on a key is a concern, and how long ahead a rotation is announced."""

    old: timedelta
    too_old: timedelta
    notice: timedelta


@dataclass(frozen=True)
class Call:
    """Why the function was called: the daily look, or a label that moved."""

    daily: bool
    at: datetime


@dataclass(frozen=True)
class Judgement:
    """One concern, the version that it is about, and the moment that matters.

    `previous` is the version that carries AWSPREVIOUS; `runs` are those of the version so far.
    """

    concern: Concern
    version: str
    since: datetime
    previous: str | None = None
    runs: tuple[Execution, ...] = ()


class WatchedSecret(Protocol):
    """The one secret, as it is looked at."""

    def versions(self) -> Sequence[Version]:
        """Every version, one without a value included."""

    def changed(self) -> datetime | None:
        """When anything of it was changed last."""

    def schedule(self) -> Schedule:
        """When it is rotated."""


class WatchedRuns(Protocol):
    """The executions of the state machine."""

    def executions(self) -> Sequence[Execution]:
        """All that Step Functions knows."""


def parse(event: Mapping[str, Any], secret_arn: str) -> Call:
    """Read the event of a rule. Raises RequestRefused for any other."""
    kind, about = event.get("detail-type"), event.get("resources")
    if kind not in (DAILY, MOVED):
        raise errors.RequestRefused(
            f"The input is neither a '{DAILY}' nor a '{MOVED}'. Nothing was done."
        )
    if kind == MOVED and not (isinstance(about, list) and secret_arn in about):
        raise errors.RequestRefused(f"The event is not about {secret_arn}. Nothing was done.")
    try:
        return Call(kind == DAILY, moment(event["time"]))
    except (KeyError, TypeError, ValueError):
        raise errors.RequestRefused("The event says no time. Nothing was done.") from None


def look(secret: WatchedSecret) -> Secret:
    """The facts about the secret."""
    schedule = secret.schedule()
    due = schedule.next_rotation if schedule.enabled else None
    return Secret(tuple(secret.versions()), secret.changed(), due)


def facts(secret: Secret, at: datetime) -> dict[str, float | None]:
    """How old the key is, how long another version has been pending, when the next rotation is due.

    Pure. What nobody can tell is None. An event's time is in whole seconds; no age is below 0.
    """
    current, pending = secret.holder(AWSCURRENT), secret.holder(AWSPENDING)
    made, waits, due = current and current.created, 0.0, secret.next_rotation
    if pending and AWSCURRENT not in pending.labels:
        waits = max((at - _begun(pending, secret, at)).total_seconds(), 0.0)
    return {
        "ageDays": round(max((at - made) / DAY, 0.0), 3) if made else None,
        "pendingSeconds": round(waits, 3),
        "daysToRotation": round((due - at) / DAY, 3) if due else None,
    }


def judge(
    secret: Secret, executions: Sequence[Execution], limits: Limits, call: Call
) -> list[Judgement]:
    """What is the matter, the most urgent first. Pure."""
    current = secret.holder(AWSCURRENT)
    if current is None or current.created is None:
        return []
    found = list(_of_services(secret, current, executions, call))
    if call.daily:
        found += _of_pending(secret, call.at)
        found += _of_age(current, current.created, limits, call.at)
        found += _of_schedule(secret, current, limits, call.at)
    return found


def _of_services(
    secret: Secret, current: Version, executions: Sequence[Execution], call: Call
) -> Iterator[Judgement]:
    """Whether a run has carried the current version to the services.

    A secret's very first version came with the services, so none has to. An older version than the
    previous one was put back: by our own recovery where the run of the previous one ended in
    failure or still goes on, by a hand where that run had succeeded. One that was started once more
    since then has found itself overtaken and says nothing of it.
    """
    previous, created = secret.holder(AWSPREVIOUS), current.created or call.at
    runs = _runs_of(current, executions)
    known = previous.id if previous else None

    def judged(concern: Concern, since: datetime) -> Judgement:
        return Judgement(concern, current.id, since, known, tuple(runs))

    if previous and previous.created and created < previous.created:
        replaced = previous.created
        runs_since = [run for run in runs if run.started > replaced]
        if not runs_since:
            back = secret.changed or call.at
            of_previous = [run for run in _runs_of(previous, executions) if run.started < back]
            if of_previous and of_previous[-1].status == "SUCCEEDED":
                yield judged(Concern.PUT_BACK, replaced)
            return
    if runs:
        if call.daily and runs[-1].status in ENDED_BADLY:
            yield judged(Concern.RUN_ENDED, runs[-1].started)
    elif previous and call.at - created < RUNS_ARE_KNOWN and not _under_way(secret, call):
        yield judged(Concern.NOT_CARRIED, created)


def _runs_of(version: Version, executions: Sequence[Execution]) -> list[Execution]:
    """The runs of a version by their start; one run again has the time in its name (`commands`)."""
    name = re.compile(rf"rot-{re.escape(version.id)}(-\d{{10}})?")
    own = (run for run in executions if name.fullmatch(run.name))
    return sorted(own, key=lambda run: run.started)


def _under_way(secret: Secret, call: Call) -> bool:
    """Whether a rotation is at work: it holds AWSPENDING until it has started its run itself."""
    pending = secret.holder(AWSPENDING)
    if pending is None:
        return False
    if AWSCURRENT in pending.labels and not call.daily:
        return True
    return call.at - _begun(pending, secret, call.at) < UNDER_WAY


def _begun(pending: Version, secret: Secret, at: datetime) -> datetime:
    """When a rotation began at the latest: a version without a value has no date of its own."""
    return pending.created or secret.changed or at


def _of_pending(secret: Secret, at: datetime) -> Iterator[Judgement]:
    pending = secret.holder(AWSPENDING)
    if pending and AWSCURRENT not in pending.labels:
        begun = _begun(pending, secret, at)
        if at - begun >= UNDER_WAY:
            yield Judgement(Concern.STUCK, pending.id, begun)


def _of_age(
    current: Version, created: datetime, limits: Limits, at: datetime
) -> Iterator[Judgement]:
    age = at - created
    if age >= limits.too_old:
        yield Judgement(Concern.TOO_OLD, current.id, created)
    elif limits.old <= age < limits.old + DAY:
        yield Judgement(Concern.OLD, current.id, created)


def _of_schedule(
    secret: Secret, current: Version, limits: Limits, at: datetime
) -> Iterator[Judgement]:
    due = secret.next_rotation
    if due and limits.notice - DAY < due - at <= limits.notice:
        yield Judgement(Concern.SOON, current.id, due)
