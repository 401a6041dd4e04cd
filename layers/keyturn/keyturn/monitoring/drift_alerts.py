"""The messages about `monitoring.drift`, and about an exposed key that is current."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Issue
from keyturn.monitoring.message_text import MessageText, StackRefs
from keyturn.reporting import commands
from keyturn.run.times import format_timestamp

RUN_AGAIN = "This retries the last run: it delivers the current key, restarts every service and"
BY_WHOM = "another writer (GitOps, a reapplied manifest, an operator, a person) changed it"


def _exposed_current(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Exposed Session Key Current",
        subject="CRITICAL: the current session key is marked as exposed",
        summary=(
            f"AWSCURRENT is on version {issue.version}, which was marked as exposed at"
            f" {format_timestamp(issue.since)}. No rotation that would replace it is in progress."
        ),
        impact="Whoever has that key can read sessions, and make sessions that services accept.",
        reason="a label was moved back manually, or the rotation that should follow the mark did"
        " not run",
        next_steps="Rotate as an emergency, which logs every user out:",
        command=commands.rotate(place.secret_arn, "emergency"),
    )


def _exposed_delivered(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    target, exposed = issue.about
    return MessageText(
        kind="Exposed Session Key Delivered",
        subject="CRITICAL: an exposed session key is delivered to services",
        summary=(
            f"{target} holds the key of version {exposed}, which is marked as exposed. The current"
            f" version is {issue.version}. A pod that starts now reads the exposed key."
        ),
        impact="Whoever has that key can read sessions of such pods, and make sessions that they"
        " accept. Users may be asked to log in repeatedly.",
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
            " A pod that starts now reads another key, or does not start."
        ),
        impact="Users may be asked to log in repeatedly, or cannot log in.",
        reason=BY_WHOM,
        next_steps=f"Stop the other writer first. {RUN_AGAIN} ends every session:",
        command=_again(issue, place),
    )


def _pods(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Pods Changed",
        subject="Pods are not annotated with the current session key",
        summary=(
            f"Pods are not annotated with version {issue.version}, which is AWSCURRENT:"
            f" {'; '.join(issue.about)}. The key that they run is unknown."
        ),
        impact="Users may be asked to log in repeatedly, if pods run different keys.",
        reason="the pod template was changed after the last run: rolled back, or overwritten by"
        " GitOps",
        next_steps=f"Exclude the pod template's annotations from GitOps. {RUN_AGAIN} ends every"
        " session:",
        command=_again(issue, place),
    )


def _unknown(issue: Issue, place: StackRefs, _: timedelta) -> MessageText:
    return MessageText(
        kind="Session Key Not Compared",
        subject="Session key: the delivered key could not be checked",
        summary=(
            f"Version {issue.version} is AWSCURRENT. Whether its key is delivered could not be"
            f" checked ({'; '.join(issue.about)})."
        ),
        impact="None now. If another writer overwrites the delivered key, it is not detected.",
        reason="a function that checks it failed; its log names the error",
        next_steps="Find the functions' errors and fix the cause:",
        command=commands.recent_runs(place.state_machine_arn),
    )


def _again(issue: Issue, place: StackRefs) -> str:
    """Retry the last run; if Step Functions no longer has it, rotate."""
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
