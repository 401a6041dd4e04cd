"""The messages between two rotations: one for each issue that `monitoring` finds."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from keyturn.monitoring import drift_alerts, protection_alerts
from keyturn.monitoring.issues import CRITICAL, IssueKind
from keyturn.monitoring.key_health import Issue
from keyturn.monitoring.message_text import MessageText, StackRefs
from keyturn.reporting import commands
from keyturn.reporting.messages import NOTHING_TO_DO
from keyturn.reporting.notifications import Message, heading_of
from keyturn.reporting.wording import count_of
from keyturn.run.times import format_timestamp

SUGGESTED = {"ScheduleExpression": "cron(0 3 2,16 * ? *)", "Duration": "2h"}


def message_of(issue: Issue, place: StackRefs, at: datetime) -> Message:
    """The message of an issue; those that need more than the issue have functions below."""
    words = {
        IssueKind.PUT_BACK: _put_back,
        IssueKind.RUN_ENDED: _run_ended,
        IssueKind.RUN_LOST: _run_lost,
        IssueKind.WOULD_BE_REFUSED: _refused,
        IssueKind.STUCK: _stuck,
        IssueKind.OLD: _old,
        IssueKind.TOO_OLD: _old,
        **drift_alerts.WORDS,
        **protection_alerts.WORDS,
    }[issue.concern]
    return _message(issue, place, at, words(issue, place, at - issue.since))


def announcement(
    issue: Issue, place: StackRefs, at: datetime, users: Mapping[str, Any] | None
) -> Message:
    """The announcement of the next rotation: when, how many users it logs out, how to move it.

    `users` is what `count_sessions` returns, or None if they could not be counted.
    """
    due = format_timestamp(issue.since)
    sessions = "an unknown number of sessions"
    if users:
        count = count_of(users["sessions"], "session")
        sessions = count if users["counted"] else f"more than {count}"
    rules = f"--no-rotate-immediately --rotation-rules '{json.dumps(SUGGESTED)}'"
    words = MessageText(
        kind="Session Key Rotation Announced",
        subject=f"Session key rotation by {due[:10]}: users will have to log in again",
        summary=f"The session encryption key is rotated on its schedule, by {due} at the latest.",
        impact=f"At present {sessions} would end. Users have to log in again.",
        reason=f"the rotation schedule of {place.secret_arn}",
        next_steps=(
            f"{NOTHING_TO_DO} To move it, set another schedule, such as this one (UTC), and set the"
            " stack's parameter RotationSchedule to the same; otherwise the next deployment resets"
            " it:"
        ),
        command=f"aws secretsmanager rotate-secret --secret-id {place.secret_arn} {rules}",
    )
    return _message(issue, place, at, words)


def invalid_version_id(issue: Issue, place: StackRefs, at: datetime) -> Message:
    """A version that no run has delivered, and whose id cannot name an execution."""
    words = MessageText(
        kind="Session Key Not Carried",
        subject="Session key was changed manually and is NOT in use",
        summary=(
            f"AWSCURRENT is version {issue.version}, which no rotation created. It was not"
            " delivered to the services: running pods keep their key."
        ),
        impact="None yet. A pod that reads the secret itself gets the new key when it restarts.",
        reason="the version's id is not 32 to 64 letters, digits, hyphens or underscores, so that"
        " it cannot name a run",
        next_steps="Rotate the key; the new version has an id of the right form:",
        command=commands.rotate(place.secret_arn),
    )
    return _message(issue, place, at, words)


def _message(issue: Issue, place: StackRefs, at: datetime, words: MessageText) -> Message:
    return Message(
        kind=words.kind,
        subject=words.subject,
        summary=words.summary,
        fields={
            "When": format_timestamp(at),
            "Impact": words.impact,
            "Reason": words.reason,
            "Version": issue.version,
        },
        next_steps=words.next_steps,
        facts={
            "concern": issue.concern.name,
            "critical": issue.concern in CRITICAL,
            "version": issue.version,
            "since": format_timestamp(issue.since),
            "secretArn": place.secret_arn,
        },
        command=words.command,
    )


def _put_back(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Put Back",
        subject="Session key was rolled back manually; services may be out of sync",
        summary=(
            f"AWSCURRENT is version {issue.version} again, older than {issue.previous},"
            " which was delivered to the services. No run has delivered the older one since."
        ),
        impact=(
            "Pods that restart may read the older key while others run the newer one: users may be"
            " asked to log in repeatedly."
        ),
        reason="AWSCURRENT was moved manually; a successful rotation is never rolled back",
        next_steps=(
            "If the older key may be known to others, rotate (docs/operations.md, The commands). To"
            " keep it, deliver it to the services:"
        ),
        command=commands.run_again(place.run_of(issue), place.state_machine_arn),
    )


def _run_ended(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Rotation Unfinished",
        subject="Session key rotation is NOT FINISHED: its run ended early",
        summary=(
            f"The key of version {issue.version} is AWSCURRENT, and its run ended before its"
            " last step. Services may run different keys, and old sessions may remain."
        ),
        impact="Users may be asked to log in repeatedly until the run completes.",
        reason=f"the run started at {format_timestamp(issue.since)} failed or was stopped",
        next_steps="See its record for the error, fix the cause, then retry the run:",
        command=commands.run_again_as(
            place.run_of(issue), issue.runs[-1].arn, place.state_machine_arn
        ),
    )


def _run_lost(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    run = issue.runs[-1]
    return MessageText(
        kind="Session Key Rotation Lost",
        subject="Session key rotation was LOST: its run ended without a record",
        summary=(
            f"The run {run.name} ended as {run.status} before its last states, so no record was"
            " stored and no last message sent. Services may run different keys, old sessions may"
            " remain, and AWSCURRENT may be on either version."
        ),
        impact="Users may be asked to log in repeatedly until a run completes.",
        reason="the run was stopped, timed out or reached a limit, at"
        f" {format_timestamp(issue.since)}",
        next_steps=(
            f"Fix the cause, then deliver the version that {place.secret_arn} shows as AWSCURRENT"
            " to the services again (docs/operations.md, The commands). To see where the run ended:"
        ),
        command=commands.end_of_run(run.arn),
    )


def _refused(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    first = issue.about[0].split(":")[0]
    return MessageText(
        kind="Session Key Rotation Would Be Refused",
        subject="Session key: the next scheduled rotation would be refused",
        summary=(
            f"The preflight found problems ({len(issue.about)}). A scheduled rotation would stop"
            " before anything changes. An emergency would continue, and fail at these steps."
        ),
        impact="None now. The key is not rotated until the problems are solved.",
        reason="; ".join(issue.about),
        next_steps=f"Fix them (docs/operations.md, {heading_of(first)}), then check again; this"
        " changes nothing:",
        command=commands.dry_run(place.secret_arn),
    )


def _stuck(issue: Issue, place: StackRefs, age: timedelta) -> MessageText:
    minutes = int(age.total_seconds() // 60)
    return MessageText(
        kind="Session Key Rotation Stuck",
        subject="Session key rotation is stuck before its promotion",
        summary=(
            f"Version {issue.version} has carried AWSPENDING for {minutes} minutes and was not"
            " promoted. Nothing has changed. Every other rotation is refused until it is removed."
        ),
        impact="None for users. An urgent rotation may not start.",
        reason="a step of rotate_secret fails; its log names the error",
        next_steps=(
            "Fix the cause: Secrets Manager retries while its rotation window is open. To cancel"
            " this rotation and allow another:"
        ),
        command=(
            f"aws secretsmanager update-secret-version-stage --secret-id {place.secret_arn}"
            f" --version-stage AWSPENDING --remove-from-version-id {issue.version}"
        ),
    )


def _old(issue: Issue, place: StackRefs, age: timedelta) -> MessageText:
    overdue, days = issue.concern is IssueKind.TOO_OLD, count_of(age.days, "day")
    return MessageText(
        kind="Session Key Overdue" if overdue else "Session Key Old",
        subject=f"Session key is {'OVERDUE: ' if overdue else ''}{days} old",
        summary=(
            f"The session encryption key was created {days} ago, at"
            f" {format_timestamp(issue.since)}. It is older than"
            f" {'allowed, and this is reported every day' if overdue else 'recommended'}."
        ),
        impact="None now. When it is rotated, users have to log in again.",
        reason="the rotation schedule is off, too slow, or its rotations fail",
        next_steps=(
            "Find out why it was not rotated (docs/operations.md, What watch_key reports). To"
            " rotate now, which logs users out:"
        ),
        command=commands.rotate(place.secret_arn),
    )
