"""The messages about `monitoring.protection`. The caller is not quoted: CloudTrail has it."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Issue
from keyturn.monitoring.message_text import MessageText, StackRefs
from keyturn.monitoring.watch_trigger import CHANGES
from keyturn.reporting import commands
from keyturn.run.times import format_timestamp


def _marked(_issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Marked For Deletion",
        subject="CRITICAL: the session key's secret is marked for deletion",
        summary=(
            f"The secret {place.secret_arn} is marked for deletion. Until it is restored its value"
            " cannot be read and it cannot be rotated, not in an emergency either. Then it is gone."
        ),
        impact="None for users now. A running rotation fails, and so does a pod that reads the"
        " secret itself.",
        reason="someone called DeleteSecret; CloudTrail names who",
        next_steps="Cancel the deletion, then find out who requested it:",
        command=commands.restore_secret(place.secret_arn),
    )


def _rotation_off(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Rotation Off",
        subject="Session key rotation is switched off",
        summary=(
            "The secret's rotation schedule is off, and the stack has it on. The key is no longer"
            " rotated automatically. An emergency and a finding still rotate it."
        ),
        impact="None now. The key is not replaced.",
        reason="someone called CancelRotateSecret; CloudTrail names who",
        next_steps="If that was a mistake, turn it on again; this rotates nothing:",
        command=commands.schedule(place.secret_arn, *issue.about),
    )


def _changed(issue: Issue, _place: StackRefs, _: timedelta) -> MessageText:
    (name,) = issue.about
    return MessageText(
        kind="Session Key Protection Changed",
        subject="Session key: its protection was changed",
        summary=(
            f"At {format_timestamp(issue.since)} {CHANGES[name]} ({name}). A deployment of this"
            " stack may have done that."
        ),
        impact="None for users. Principals that the stack denies may now have access to the key.",
        reason=f"the call {name}, which CloudTrail reported",
        next_steps="See who made the call. If it was no deployment, revert it and deploy the stack"
        " again:",
        command=commands.who_called(name, issue.since),
    )


WORDS: Mapping[IssueKind, Callable[[Issue, StackRefs, timedelta], MessageText]] = {
    IssueKind.MARKED_FOR_DELETION: _marked,
    IssueKind.ROTATION_OFF: _rotation_off,
    IssueKind.PROTECTION_CHANGED: _changed,
}
