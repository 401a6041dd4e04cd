"""The kinds of issues with the key between two rotations, and how often each is reported."""

from datetime import timedelta
from enum import Enum


class IssueKind(Enum):
    """The kind of an issue."""

    MARKED_FOR_DELETION = "the secret is marked for deletion"
    EXPOSED_KEY_CURRENT = "AWSCURRENT is on a version that is marked as exposed"
    EXPOSED_KEY_DELIVERED = "a key that is marked as exposed is delivered to services"
    NOT_CARRIED = "no run has delivered the current version"
    PUT_BACK = "AWSCURRENT was moved back to an older version manually"
    DELIVERED_DRIFTED = "the delivered key is not the current one"
    PODS_DRIFTED = "pods are not annotated with the current version"
    PROTECTION_CHANGED = "a call has changed the protection of the key"
    ROTATION_OFF = "the rotation schedule of the secret is off"
    WOULD_BE_REFUSED = "the next scheduled rotation would be refused"
    RUN_LOST = "a run ended before its last states: no record and no message"
    RUN_ENDED = "the run of the current version ended before its end"
    STUCK = "a pending version has not been promoted"
    PODS_UNSTAMPED = "pods have no annotations, while the current key is delivered"
    DRIFT_UNKNOWN = "the delivered key could not be checked"
    OLD = "the key is older than recommended"
    TOO_OLD = "the key is older than allowed"
    SOON = "the next rotation is near"


CRITICAL = {
    IssueKind.MARKED_FOR_DELETION,
    IssueKind.EXPOSED_KEY_CURRENT,
    IssueKind.EXPOSED_KEY_DELIVERED,
}
# Checked every time, and reported by the daily check alone.
REPORTED_DAILY = {IssueKind.PODS_UNSTAMPED, IssueKind.DRIFT_UNKNOWN}


def repeat_interval(concern: IssueKind) -> timedelta:
    """How long after its last message a lasting issue is reported again."""
    return timedelta(hours=1) if concern in CRITICAL else timedelta(days=1)
