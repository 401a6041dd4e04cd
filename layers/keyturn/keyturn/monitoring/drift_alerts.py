"""What people read of `monitoring.drift`, and of an exposed key that is current."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Issue
from keyturn.monitoring.message_text import MessageText, StackRefs
from keyturn.reporting import commands
from keyturn.run.times import format_timestamp

RUN_AGAIN = "This runs the last run again: it delivers the current key, restarts every service and"
BY_WHOM = (
    "another writer (GitOps, a manifest that was applied again, an operator, a hand) has changed it"
)


def _exposed_current(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Exposed Session Key Current",
        subject="CRITICAL: the current session key is marked as exposed",
        summary=(
            f"AWSCURRENT is on version {issue.version}, which was marked as exposed at"
            f" {format_timestamp(issue.since)}. No rotation that would replace it is under way."
        ),
        impact="Whoever has that key can read sessions, and make sessions that services accept.",
        reason="a label was moved back by hand, or the rotation that the mark called for did not"
        " take place",
        next_steps="Rotate as an emergency, which logs every user out:",
        command=commands.rotate(place.secret_arn, "emergency"),
    )


def _exposed_delivered(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    target, exposed = issue.about
    return MessageText(
        kind="Exposed Session Key Delivered",
        subject="CRITICAL: services are given an exposed session key",
        summary=(
            f"{target} holds the key of version {exposed}, which is marked as exposed. The current"
            f" version is {issue.version}. A pod that starts now takes the exposed key."
        ),
        impact="Whoever has that key can read sessions of such pods, and make sessions that they"
        " accept. Users may be asked to log in again and again.",
        reason=BY_WHOM,
        next_steps=f"Stop the other writer first. {RUN_AGAIN} ends every session:",
        command=_again(issue, place),
    )


def _delivered(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    (target,) = issue.about
    return MessageText(
        kind="Session Key Overwritten",
        subject="Session key was overwritten where services read it",
        summary=(
            f"{target} does not hold the key of version {issue.version}, which is AWSCURRENT."
            " A pod that starts now takes another key, or does not start."
        ),
        impact="Users may be asked to log in again and again, or cannot log in.",
        reason=BY_WHOM,
        next_steps=f"Stop the other writer first. {RUN_AGAIN} ends every session:",
        command=_again(issue, place),
    )


def _pods(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Pods Changed",
        subject="Pods do not carry the stamp of the current session key",
        summary=(
            f"Pods are not stamped with version {issue.version}, which is AWSCURRENT:"
            f" {'; '.join(issue.about)}. Which key they run is not known."
        ),
        impact="Users may be asked to log in again and again, if pods run different keys.",
        reason="the pod template was changed after the last run: rolled back, or overwritten by"
        " GitOps",
        next_steps=f"Have GitOps leave the pod template's annotations alone. {RUN_AGAIN} ends every"
        " session:",
        command=_again(issue, place),
    )


def _unknown(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Not Compared",
        subject="Session key: what services are given could not be looked at",
        summary=(
            f"Version {issue.version} is AWSCURRENT. Whether services are given its key could"
            f" not be found out ({'; '.join(issue.about)})."
        ),
        impact="None now. If another key is written where services read it, nobody is told.",
        reason="a function that looks failed; its log names the error",
        next_steps="Look at the functions' errors and mend the cause:",
        command=commands.recent_runs(place.state_machine_arn),
    )


def _again(issue: Issue, place: StackRefs) -> str:
    """Run the last run again; where Step Functions has forgotten it, rotate."""
    if not issue.runs:
        return commands.rotate(place.secret_arn, "emergency")
    return commands.run_again_as(place.run_of(issue), issue.runs[-1].arn, place.state_machine_arn)


WORDS: Mapping[IssueKind, Callable[[Issue, StackRefs, timedelta], MessageText]] = {
    IssueKind.EXPOSED_KEY_CURRENT: _exposed_current,
    IssueKind.EXPOSED_KEY_DELIVERED: _exposed_delivered,
    IssueKind.DELIVERED_DRIFTED: _delivered,
    IssueKind.PODS_DRIFTED: _pods,
    IssueKind.PODS_UNSTAMPED: _pods,
    IssueKind.DRIFT_UNKNOWN: _unknown,
}
