"""The messages between two rotations: one for each issue that `monitoring` finds."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from keyturn.monitoring import drift_alerts, protection_alerts
from keyturn.monitoring.issues import CRITICAL, Concern
from keyturn.monitoring.key_health import Judgement
from keyturn.monitoring.message_text import Place, Words
from keyturn.reporting import commands
from keyturn.reporting.messages import NOTHING_TO_DO
from keyturn.reporting.notifications import Message, heading_of
from keyturn.run.times import timestamp

SUGGESTED = {"ScheduleExpression": "cron(0 3 2,16 * ? *)", "Duration": "2h"}


def message_of(judgement: Judgement, place: Place, at: datetime) -> Message:
    """What people are told of a concern, but for those that need more than the judgement."""
    words = {
        Concern.PUT_BACK: _put_back,
        Concern.RUN_ENDED: _run_ended,
        Concern.RUN_LOST: _run_lost,
        Concern.WOULD_BE_REFUSED: _refused,
        Concern.STUCK: _stuck,
        Concern.OLD: _old,
        Concern.TOO_OLD: _old,
        **drift_alerts.WORDS,
        **protection_alerts.WORDS,
    }[judgement.concern]
    return _message(judgement, place, at, words(judgement, place, at - judgement.since))


def announcement(
    judgement: Judgement, place: Place, at: datetime, users: Mapping[str, Any] | None
) -> Message:
    """The next rotation, before it comes: when, how many users it logs out, how to move it.

    `users` is what `sessions.count` returns, or None where nobody could count them.
    """
    due = timestamp(judgement.since)
    sessions = "an unknown number of sessions"
    if users:
        sessions = f"{'' if users['counted'] else 'more than '}{users['sessions']} sessions"
    rules = f"--no-rotate-immediately --rotation-rules '{json.dumps(SUGGESTED)}'"
    words = Words(
        kind="Session Key Rotation Announced",
        subject=f"Session key rotation by {due[:10]}: users will have to log in again",
        says=f"The session encryption key is rotated on its schedule, by {due} at the latest.",
        impact=f"If it were now, {sessions} would end. Users have to log in again.",
        reason=f"the rotation schedule of {place.secret_arn}",
        todo=(
            f"{NOTHING_TO_DO} To move it, give it other times, such as these (UTC), and set the"
            " stack's parameter RotationSchedule to the same, or the next deployment sets it back:"
        ),
        command=f"aws secretsmanager rotate-secret --secret-id {place.secret_arn} {rules}",
    )
    return _message(judgement, place, at, words)


def unnamable(judgement: Judgement, place: Place, at: datetime) -> Message:
    """A version that no run has carried, and whose id no execution can have."""
    words = Words(
        kind="Session Key Not Carried",
        subject="Session key was changed by hand and is NOT in use",
        says=(
            f"AWSCURRENT is version {judgement.version}, which no rotation has made. It was not"
            " carried to the services: what runs keeps the key that it has."
        ),
        impact="None yet. A pod that reads the secret itself meets the new key when it restarts.",
        reason="the version's id is not 32 to 64 letters, digits, hyphens or underscores, so that"
        " it cannot name a run",
        todo="Rotate the key; the new version has an id of the right form:",
        command=commands.rotate(place.secret_arn),
    )
    return _message(judgement, place, at, words)


def _message(judgement: Judgement, place: Place, at: datetime, words: Words) -> Message:
    return Message(
        kind=words.kind,
        subject=words.subject,
        says=words.says,
        fields={
            "When": timestamp(at),
            "Impact": words.impact,
            "Reason": words.reason,
            "Version": judgement.version,
        },
        todo=words.todo,
        facts={
            "concern": judgement.concern.name,
            "critical": judgement.concern in CRITICAL,
            "version": judgement.version,
            "since": timestamp(judgement.since),
            "secretArn": place.secret_arn,
        },
        command=words.command,
    )


def _put_back(judgement: Judgement, place: Place, _: timedelta) -> Words:
    return Words(
        kind="Session Key Put Back",
        subject="Session key was put back by hand, and services may not know",
        says=(
            f"AWSCURRENT is version {judgement.version} again, older than {judgement.previous},"
            " which had been carried to the services. No run has carried the older one back."
        ),
        impact=(
            "Pods that restart may take the older key while others run the newer one: users may be"
            " asked to log in again and again."
        ),
        reason="a hand has moved AWSCURRENT; a rotation of ours does not go back after a success",
        todo=(
            "If the older key may be known to others, rotate (docs/operations.md, The commands). If"
            " it is the one that you want, carry it to the services:"
        ),
        command=commands.run_again(place.run_of(judgement), place.state_machine_arn),
    )


def _run_ended(judgement: Judgement, place: Place, _: timedelta) -> Words:
    return Words(
        kind="Session Key Rotation Unfinished",
        subject="Session key rotation is NOT FINISHED: its run has ended early",
        says=(
            f"The key of version {judgement.version} is AWSCURRENT, and its run ended before it"
            " was through. Services may run different keys, and old sessions may be left."
        ),
        impact="Users may be asked to log in again and again, until the run is through.",
        reason=f"the run that was started at {timestamp(judgement.since)} failed or was stopped",
        todo="See its record for the error, mend the cause, then run it again:",
        command=commands.run_again_as(
            place.run_of(judgement), judgement.runs[-1].arn, place.state_machine_arn
        ),
    )


def _run_lost(judgement: Judgement, place: Place, _: timedelta) -> Words:
    run = judgement.runs[-1]
    return Words(
        kind="Session Key Rotation Lost",
        subject="Session key rotation was LOST: its run ended without a record",
        says=(
            f"The run {run.name} ended as {run.status} before its last states, so that no record"
            " was kept and no message told how it ended. Services may run different keys, old"
            " sessions may be left, and AWSCURRENT may be on either version."
        ),
        impact="Users may be asked to log in again and again, until a run is through.",
        reason=f"the run was stopped, timed out or reached a limit at {timestamp(judgement.since)}",
        todo=(
            f"Deliver the version that {place.secret_arn} shows as AWSCURRENT to the services once"
            " more (docs/operations.md, The commands), when the cause is mended. To see where the"
            " run ended:"
        ),
        command=commands.end_of_run(run.arn),
    )


def _refused(judgement: Judgement, place: Place, _: timedelta) -> Words:
    first = judgement.about[0].split(":")[0]
    return Words(
        kind="Session Key Rotation Would Be Refused",
        subject="Session key: the next scheduled rotation would be refused",
        says=(
            "The functions of a rotation were asked whether they could do their part now, and"
            f" {len(judgement.about)} problems were found. A scheduled rotation would stop before"
            " anything changes. An emergency would go on, and fail where these matter."
        ),
        impact="None now. The key is not rotated until the problems are solved.",
        reason="; ".join(judgement.about),
        todo=f"Solve them (docs/operations.md, {heading_of(first)}), then ask again; this changes"
        " nothing:",
        command=commands.dry_run(place.secret_arn),
    )


def _stuck(judgement: Judgement, place: Place, age: timedelta) -> Words:
    minutes = int(age.total_seconds() // 60)
    return Words(
        kind="Session Key Rotation Stuck",
        subject="Session key rotation is stuck before its promotion",
        says=(
            f"Version {judgement.version} has carried AWSPENDING for {minutes} minutes and was not"
            " promoted. Nothing has changed, and until it is gone every other rotation is refused."
        ),
        impact="None for users. A rotation that you need may not start.",
        reason="a step of rotate_secret fails; its log names the error",
        todo=(
            "Mend the cause: Secrets Manager tries again while its rotation window is open. To give"
            " this rotation up and be free for another:"
        ),
        command=(
            f"aws secretsmanager update-secret-version-stage --secret-id {place.secret_arn}"
            f" --version-stage AWSPENDING --remove-from-version-id {judgement.version}"
        ),
    )


def _old(judgement: Judgement, place: Place, age: timedelta) -> Words:
    overdue = judgement.concern is Concern.TOO_OLD
    return Words(
        kind="Session Key Overdue" if overdue else "Session Key Old",
        subject=f"Session key is {'OVERDUE: ' if overdue else ''}{age.days} days old",
        says=(
            f"The session encryption key was made {age.days} days ago, at"
            f" {timestamp(judgement.since)}. It is older than"
            f" {'allowed, and this is told every day' if overdue else 'recommended'}."
        ),
        impact="None now. When it is rotated, users have to log in again.",
        reason="the rotation schedule is off, too slow, or its rotations fail",
        todo=(
            "See why it was not rotated (docs/operations.md, What watch_key tells you). To rotate"
            " now, which logs users out:"
        ),
        command=commands.rotate(place.secret_arn),
    )
