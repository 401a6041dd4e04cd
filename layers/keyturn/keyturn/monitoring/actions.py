"""Handles the issues that `watch_key` finds: starts a run, or sends a message.

This function does not read the key: DeliverKey validates it, and the run rolls back if it is
invalid. A message that cannot be sent is reported in the result; a run that cannot be started is an
error, so that the call is retried.

A lasting issue is found again every five minutes. It is reported when it is new, then every hour if
it is critical, else every day (`issues.repeat_interval`). Only the process remembers when, while
Lambda keeps it: a new process may report once too often, never too rarely.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from keyturn import errors
from keyturn.monitoring import alerts, drift, key_health, protection
from keyturn.monitoring.issues import REPORTED_DAILY, IssueKind, repeat_interval
from keyturn.monitoring.key_health import Issue
from keyturn.monitoring.message_text import StackRefs
from keyturn.monitoring.watch_trigger import WatchTrigger
from keyturn.reporting.notifications import SENT, Message, Notifications
from keyturn.rotation import preflight
from keyturn.run.run import ROTATION_ID, Run
from keyturn.run.times import format_timestamp
from keyturn.secret.staging_labels import AWSCURRENT
from keyturn.sessions.store import Clock

# Longer than a rotation takes from its promotion to the start of its run as seen by every reader,
# and longer than Step Functions takes to list an execution as ended.
SETTLED_SECONDS = 10.0


class Runs(key_health.WatchedRuns, Protocol):
    """The executions of the state machine, which can be started."""

    def ensure_started(self, run: Run) -> str:
        """Start the run's execution, or find it started; returns its name."""

    def outcome(self, execution_arn: str) -> str | None:
        """The outcome in the record of an execution that succeeded."""

    def was_lost(self, execution_arn: str) -> bool:
        """Whether an execution that failed, was stopped or timed out did not reach its Fail state.

        No Catch applies to a payload or a history that is full, to a time-out or to a stop.
        """


@dataclass(frozen=True)
class Watch:
    """The dependencies of `watch_key`.

    `users` is `sessions.count` on the current sessions. Without `questions` the delivered key is
    not compared. `told` is when each issue was reported.
    """

    place: StackRefs
    limits: key_health.Limits
    secret: key_health.WatchedSecret
    runs: Runs
    users: Callable[[], Mapping[str, Any]]
    notifications: Notifications
    questions: drift.Questions | None = None
    told: dict[tuple[IssueKind, str], datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class HandledIssues:
    """The issues and actions, and whether the delivered key was compared."""

    found: list[dict[str, Any]]
    compared: bool


def handle_issues(
    watching: Watch, call: WatchTrigger, seen: key_health.Secret, clock: Clock
) -> HandledIssues:
    """Judge the state of the secret, and act.

    Before it starts a run it waits and checks once more: a rotation that has just promoted its key
    is about to start that run itself, with the reason of its start. The delivered key is checked
    last, so that a slow function does not delay the facts of the secret. After the end of a run
    only that run is checked; the frequent check judges the rest once the run has settled.
    """
    if call.kind == "ended":
        clock.sleep(SETTLED_SECONDS)
        lost = _with_lost_run(watching, watching.runs.executions(), [], call)
        return HandledIssues([_handle(watching, issue, call) for issue in lost], compared=False)
    handled = [
        _handle(watching, issue, call) for issue in protection.find_protection_issues(seen, call)
    ]
    if seen.deleted:
        return HandledIssues(handled, compared=False)
    executions = _executions(watching, seen)
    issues = key_health.find_issues(seen, executions, watching.limits, call)
    if any(issue.concern is IssueKind.NOT_CARRIED for issue in issues):
        clock.sleep(SETTLED_SECONDS)
        seen = watching.secret.seen()
        executions = _executions(watching, seen)
        issues = key_health.find_issues(seen, executions, watching.limits, call)
    issues = _with_lost_run(watching, executions, issues, call)
    handled += [_handle(watching, issue, call) for issue in issues]
    if watching.questions is None or not drift.is_to_be_asked(seen, executions, call):
        return HandledIssues(handled, compared=False)
    if call.daily and (refused := _would_be_refused(watching.questions, seen, call)):
        handled.append(_handle(watching, refused, call))
    answers = _ask(watching.questions)
    drifted = drift.find_drift(seen, executions, answers, call)
    handled += [_handle(watching, issue, call) for issue in drifted]
    unknown = any(issue.concern is IssueKind.DRIFT_UNKNOWN for issue in drifted)
    return HandledIssues(handled, compared=not unknown)


def _executions(watching: Watch, seen: key_health.Secret) -> list[key_health.Execution]:
    """The executions in Step Functions, without one that did nothing for the current version.

    It ended as overtaken, so it was started before the promotion, possibly forged.
    """
    known = watching.runs.executions()
    current = seen.holder(AWSCURRENT)
    last = key_health.runs_of(current, known)[-1:] if current else []
    idle = {
        run.arn
        for run in last
        if run.status == "SUCCEEDED" and watching.runs.outcome(run.arn) == "superseded"
    }
    return [run for run in known if run.arn not in idle]


def _with_lost_run(
    watching: Watch,
    executions: Sequence[key_health.Execution],
    issues: list[Issue],
    call: WatchTrigger,
) -> list[Issue]:
    """The issues, and that the last run was lost, if so."""
    last = key_health.last_to_look_into(executions, call.at)
    return key_health.lost(last, issues) if last and watching.runs.was_lost(last.arn) else issues


def _would_be_refused(
    asked: drift.Questions, seen: key_health.Secret, call: WatchTrigger
) -> Issue | None:
    """The problems that would stop a scheduled rotation now; the next one may be days ahead."""
    try:
        problems = preflight.problems_in(asked.ask("preflight", preflight.WAIT_SECONDS))
    except errors.KeyturnError:
        return None  # the missing answers are an issue too
    current = seen.holder(AWSCURRENT)
    if not problems or current is None:
        return None
    about = tuple(f"{problem.error}: {problem.message}" for problem in problems)
    return Issue(IssueKind.WOULD_BE_REFUSED, current.id, call.at, about=about)


def _ask(asked: drift.Questions) -> Sequence[drift.Answer]:
    """The answers; a failure to ask is reported as missing answers."""
    try:
        return asked.ask(drift.QUESTION, drift.WAIT_SECONDS) or []
    except errors.KeyturnError:
        return []


def _handle(watching: Watch, issue: Issue, call: WatchTrigger) -> dict[str, Any]:
    """Handle an issue; returns the facts of the action."""
    fact = {"concern": issue.concern.name, "version": issue.version}
    run = watching.place.run_of(issue)
    if issue.concern is IssueKind.NOT_CARRIED and ROTATION_ID.fullmatch(run.rotation_id):
        return {**fact, **_carry(watching, run)}
    return {**fact, **_tell(watching, issue, call)}


def _carry(watching: Watch, run: Run) -> dict[str, Any]:
    """Start the run of a version that no run has delivered; its first state sends the message.

    In an emergency a state of that run marks the exposed version and removes its label.
    """
    return {"started": watching.runs.ensure_started(run), "mode": run.mode}


def _tell(watching: Watch, issue: Issue, call: WatchTrigger) -> dict[str, Any]:
    what = (issue.concern, issue.version)
    last = watching.told.get(what, datetime.min.replace(tzinfo=UTC))
    if call.kind == "frequent":
        if issue.concern in REPORTED_DAILY:
            return {"told": "daily"}
        if call.at - last < repeat_interval(issue.concern):
            return {"toldAt": format_timestamp(last)}
    became = watching.notifications.notify(_message(watching, issue, call.at))
    if SENT in became.values():
        watching.told[what] = call.at
    return {"told": became}


def _message(watching: Watch, issue: Issue, at: datetime) -> Message:
    if issue.concern is IssueKind.NOT_CARRIED:
        return alerts.invalid_version_id(issue, watching.place, at)
    if issue.concern is IssueKind.SOON:
        return alerts.announcement(issue, watching.place, at, _users(watching))
    return alerts.message_of(issue, watching.place, at)


def _users(watching: Watch) -> Mapping[str, Any] | None:
    """The number of sessions; None, without an error, if they cannot be counted."""
    try:
        return watching.users()
    except errors.KeyturnError:
        return None
