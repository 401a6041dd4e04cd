"""Issues with the key between two rotations, judged from public facts.

Called every five minutes, once a day, whenever AWSCURRENT moves, and after a run that ended badly.
The judgement is pure; `monitoring.actions` acts on it. Urgent issues are judged at every call. The
others are judged at the daily call alone, which runs at the same time each day: an issue that is
reported once is reported by the call in whose 24 hours it begins, and a lasting issue is reported
every day. A version that is marked as exposed is never delivered to the services.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.watch_trigger import WatchTrigger
from keyturn.run.run import LATER_EXECUTION, ROTATION_ID
from keyturn.secret.exposure import Mark, find_mark
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS, Version
from keyturn.secret.trigger import Mode, Schedule, classify

DAY = timedelta(days=1)
# A rotation that has not promoted its version after this time is stuck: its steps take seconds.
UNDER_WAY = timedelta(minutes=30)
# From a promotion to the start of its run: one call of rotate_secret, which ends after 120 seconds.
PROMOTING = timedelta(minutes=2)
# Step Functions forgets an execution 90 days after its end; then a missing execution proves
# nothing.
RUNS_ARE_KNOWN = timedelta(days=80)
ENDED_BADLY = {"FAILED", "TIMED_OUT", "ABORTED"}
# The name of a run: its rotation id, and the suffix of a later execution.
RUN = re.compile(rf"rot-({ROTATION_ID.pattern}?){LATER_EXECUTION}")


@dataclass(frozen=True)
class Secret:
    """The current state of the secret; `deleted` is the time of its scheduled deletion."""

    versions: tuple[Version, ...]
    changed: datetime | None
    schedule: Schedule
    deleted: datetime | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def next_rotation(self) -> datetime | None:
        """The latest time of the next rotation, while the schedule is on."""
        return self.schedule.next_rotation if self.schedule.enabled else None

    def holder(self, label: str) -> Version | None:
        """The version that carries a label."""
        return next((version for version in self.versions if label in version.labels), None)


@dataclass(frozen=True)
class Execution:
    """One run of the state machine, as Step Functions lists it; `stopped` is when it ended."""

    name: str
    arn: str
    status: str
    started: datetime
    stopped: datetime | None = None


@dataclass(frozen=True)
class Limits:
    """The ages at which a key is an issue, and how long ahead a rotation is announced.

    `manual_mode` is the mode of a version that neither the schedule nor its token explains.
    """

    old: timedelta
    too_old: timedelta
    notice: timedelta
    manual_mode: Mode = "emergency"


@dataclass(frozen=True)
class Issue:
    """One issue, its version, and its time.

    `previous` is the version that carries AWSPREVIOUS; `runs` are those of the version so far;
    `mode` is the mode of a run that delivers it. `about` has details for the message.
    """

    concern: IssueKind
    version: str
    since: datetime
    previous: str | None = None
    runs: tuple[Execution, ...] = ()
    mode: Mode = "scheduled"
    about: tuple[str, ...] = ()


class WatchedSecret(Protocol):
    """The operations on the secret that `watch_key` needs."""

    def seen(self) -> Secret:
        """All of it but its values; also of a secret that is marked for deletion."""


class WatchedRuns(Protocol):
    """The executions of the state machine."""

    def executions(self) -> Sequence[Execution]:
        """All executions in Step Functions."""


def key_facts(secret: Secret, at: datetime) -> dict[str, float | None]:
    """How old the key is, how long another version has been pending, when the next rotation is due.

    Pure. An unknown fact is None. An event's time is in whole seconds; no age is below 0.
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


def find_issues(
    secret: Secret, executions: Sequence[Execution], limits: Limits, call: WatchTrigger
) -> list[Issue]:
    """The issues, the most urgent first. Pure."""
    current = secret.holder(AWSCURRENT)
    if current is None or current.created is None:
        return []
    issues = list(_of_services(secret, current, executions, limits, call))
    if call.daily:
        issues += _of_pending(secret, call.at)
        issues += _of_age(current, current.created, limits, call.at)
        issues += _of_schedule(secret, current, limits, call.at)
    return issues


def _of_services(
    secret: Secret,
    current: Version,
    executions: Sequence[Execution],
    limits: Limits,
    call: WatchTrigger,
) -> Iterator[Issue]:
    """Whether a run has delivered the current version; never that of an exposed one.

    A secret's first version was deployed with the services, so it needs no run. Without a run the
    mode is that of the version's token and time, as for any rotation: a value that was stored
    manually has the mode of a `rotate-secret` without a token at that moment.
    """
    previous, created = secret.holder(AWSPREVIOUS), current.created or call.at
    runs = runs_of(current, executions)
    mode = classify(current.id, secret.schedule, created, limits.manual_mode).mode
    concern, since = None, created
    if mark := find_mark(secret.marks, current.id):
        if not under_way(secret, call, runs):
            concern, since = IssueKind.EXPOSED_KEY_CURRENT, mark.at
    elif (back := _put_back(secret, current, executions, call)) is not None:
        if back and previous and previous.created:
            concern, since = IssueKind.PUT_BACK, previous.created
    elif runs:
        if call.daily and runs[-1].status in ENDED_BADLY:
            concern, since = IssueKind.RUN_ENDED, runs[-1].started
    elif previous and call.at - created < RUNS_ARE_KNOWN and not under_way(secret, call, runs):
        concern = IssueKind.NOT_CARRIED
    if concern:
        known = previous.id if previous else None
        yield Issue(concern, current.id, since, known, tuple(runs), mode)


def _put_back(
    secret: Secret, current: Version, executions: Sequence[Execution], call: WatchTrigger
) -> bool | None:
    """Whether the version was restored manually, which is older than the previous one.

    None if it is not older, or was delivered since. If the run of the previous version ended in
    failure or still runs, Keyturn's rollback restored it; if that run had succeeded, it was a
    manual change. A run that was retried since then and ended as overtaken is not reported.
    """
    previous, created = secret.holder(AWSPREVIOUS), current.created or call.at
    if previous is None or previous.created is None or created >= previous.created:
        return None
    if any(run.started > previous.created for run in runs_of(current, executions)):
        return None
    back = secret.changed or call.at
    of_previous = [run for run in runs_of(previous, executions) if run.started < back]
    return bool(of_previous) and of_previous[-1].status == "SUCCEEDED"


def runs_of(version: Version, executions: Sequence[Execution]) -> list[Execution]:
    """The runs of a version by their start.

    A retried run has random digits in its name (`commands`), one whose name was taken a number.
    """
    name = re.compile(rf"rot-{re.escape(version.id)}{LATER_EXECUTION}")
    own = (run for run in executions if name.fullmatch(run.name))
    return sorted(own, key=lambda run: run.started)


def last_to_look_into(executions: Sequence[Execution], at: datetime) -> Execution | None:
    """The last run, if it ended badly within a day: its history shows whether it was lost. Pure."""
    last = max((run for run in executions if RUN.fullmatch(run.name)), key=_started, default=None)
    if last is None or last.status not in ENDED_BADLY or last.stopped is None:
        return None
    return last if at - last.stopped < DAY else None


def lost(run: Execution, issues: Sequence[Issue]) -> list[Issue]:
    """The issue of a lost run, which is more specific than that it ended. Pure.

    Its version may not be the current one: a run may be lost during its rollback.
    """
    named = RUN.fullmatch(run.name)
    version, since = (named[1] if named else run.name), run.stopped or run.started
    others = [issue for issue in issues if issue.concern is not IssueKind.RUN_ENDED]
    return [Issue(IssueKind.RUN_LOST, version, since, runs=(run,)), *others]


def _started(run: Execution) -> datetime:
    return run.started


def under_way(secret: Secret, call: WatchTrigger, runs: Sequence[Execution]) -> bool:
    """Whether a rotation is in progress: before its promotion, or about to start its run.

    Before the promotion AWSPENDING shows it. The promotion may remove that label or leave it, so
    after the promotion the time decides: the run is started within the same call of rotate_secret.
    If the current version has `runs`, it was started. The check at the promotion is too early to
    judge by the time; `actions` waits a moment instead.
    """
    current, pending = secret.holder(AWSCURRENT), secret.holder(AWSPENDING)
    if pending and pending is not current:
        return call.at - _begun(pending, secret, call.at) < UNDER_WAY
    if current is None or runs or call.kind == "moved":
        return False
    young = call.at - _begun(current, secret, call.at) < UNDER_WAY
    return young and call.at - (secret.changed or call.at) < PROMOTING


def _begun(pending: Version, secret: Secret, at: datetime) -> datetime:
    """The latest time at which a rotation began: a version without a value has no date."""
    return pending.created or secret.changed or at


def _of_pending(secret: Secret, at: datetime) -> Iterator[Issue]:
    pending = secret.holder(AWSPENDING)
    if pending and AWSCURRENT not in pending.labels:
        begun = _begun(pending, secret, at)
        if at - begun >= UNDER_WAY:
            yield Issue(IssueKind.STUCK, pending.id, begun)


def _of_age(current: Version, created: datetime, limits: Limits, at: datetime) -> Iterator[Issue]:
    age = at - created
    if age >= limits.too_old:
        yield Issue(IssueKind.TOO_OLD, current.id, created)
    elif limits.old <= age < limits.old + DAY:
        yield Issue(IssueKind.OLD, current.id, created)


def _of_schedule(secret: Secret, current: Version, limits: Limits, at: datetime) -> Iterator[Issue]:
    due = secret.next_rotation
    if due and limits.notice - DAY < due - at <= limits.notice:
        yield Issue(IssueKind.SOON, current.id, due)
