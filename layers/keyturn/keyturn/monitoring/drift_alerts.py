"""What people read of `monitoring.drift`, and of an exposed key that is current."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from keyturn.monitoring.issues import Concern
from keyturn.monitoring.key_health import Judgement
from keyturn.monitoring.message_text import Place, Words
from keyturn.reporting import commands
from keyturn.run.times import timestamp

RUN_AGAIN = "This runs the last run again: it delivers the current key, restarts every service and"
BY_WHOM = (
    "another writer (GitOps, a manifest that was applied again, an operator, a hand) has changed it"
)


def _exposed_current(judgement: Judgement, place: Place, _: timedelta) -> Words:
    return Words(
        kind="Exposed Session Key Current",
        subject="CRITICAL: the current session key is marked as exposed",
        says=(
            f"AWSCURRENT is on version {judgement.version}, which was marked as exposed at"
            f" {timestamp(judgement.since)}. No rotation that would replace it is under way."
        ),
        impact="Whoever has that key can read sessions, and make sessions that services accept.",
        reason="a label was moved back by hand, or the rotation that the mark called for did not"
        " take place",
        todo="Rotate as an emergency, which logs every user out:",
        command=commands.rotate(place.secret_arn, "emergency"),
    )


def _exposed_delivered(judgement: Judgement, place: Place, _: timedelta) -> Words:
    target, exposed = judgement.about
    return Words(
        kind="Exposed Session Key Delivered",
        subject="CRITICAL: services are given an exposed session key",
        says=(
            f"{target} holds the key of version {exposed}, which is marked as exposed. The current"
            f" version is {judgement.version}. A pod that starts now takes the exposed key."
        ),
        impact="Whoever has that key can read sessions of such pods, and make sessions that they"
        " accept. Users may be asked to log in again and again.",
        reason=BY_WHOM,
        todo=f"Stop the other writer first. {RUN_AGAIN} ends every session:",
        command=_again(judgement, place),
    )


def _delivered(judgement: Judgement, place: Place, _: timedelta) -> Words:
    (target,) = judgement.about
    return Words(
        kind="Session Key Overwritten",
        subject="Session key was overwritten where services read it",
        says=(
            f"{target} does not hold the key of version {judgement.version}, which is AWSCURRENT."
            " A pod that starts now takes another key, or does not start."
        ),
        impact="Users may be asked to log in again and again, or cannot log in.",
        reason=BY_WHOM,
        todo=f"Stop the other writer first. {RUN_AGAIN} ends every session:",
        command=_again(judgement, place),
    )


def _pods(judgement: Judgement, place: Place, _: timedelta) -> Words:
    return Words(
        kind="Session Key Pods Changed",
        subject="Pods do not carry the stamp of the current session key",
        says=(
            f"Pods are not stamped with version {judgement.version}, which is AWSCURRENT:"
            f" {'; '.join(judgement.about)}. Which key they run is not known."
        ),
        impact="Users may be asked to log in again and again, if pods run different keys.",
        reason="the pod template was changed after the last run: rolled back, or overwritten by"
        " GitOps",
        todo=f"Have GitOps leave the pod template's annotations alone. {RUN_AGAIN} ends every"
        " session:",
        command=_again(judgement, place),
    )


def _unknown(judgement: Judgement, place: Place, _: timedelta) -> Words:
    return Words(
        kind="Session Key Not Compared",
        subject="Session key: what services are given could not be looked at",
        says=(
            f"Version {judgement.version} is AWSCURRENT. Whether services are given its key could"
            f" not be found out ({'; '.join(judgement.about)})."
        ),
        impact="None now. If another key is written where services read it, nobody is told.",
        reason="a function that looks failed; its log names the error",
        todo="Look at the functions' errors and mend the cause:",
        command=commands.recent_runs(place.state_machine_arn),
    )


def _again(judgement: Judgement, place: Place) -> str:
    """Run the last run again; where Step Functions has forgotten it, rotate."""
    if not judgement.runs:
        return commands.rotate(place.secret_arn, "emergency")
    return commands.run_again_as(
        place.run_of(judgement), judgement.runs[-1].arn, place.state_machine_arn
    )


WORDS: Mapping[Concern, Callable[[Judgement, Place, timedelta], Words]] = {
    Concern.EXPOSED_KEY_CURRENT: _exposed_current,
    Concern.EXPOSED_KEY_DELIVERED: _exposed_delivered,
    Concern.DELIVERED_DRIFTED: _delivered,
    Concern.PODS_DRIFTED: _pods,
    Concern.PODS_UNSTAMPED: _pods,
    Concern.DRIFT_UNKNOWN: _unknown,
}
