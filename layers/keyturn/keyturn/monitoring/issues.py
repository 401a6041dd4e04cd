"""What may be the matter with the key between two rotations, and how often people are told."""

from datetime import timedelta
from enum import Enum


class IssueKind(Enum):
    """What is the matter."""

    MARKED_FOR_DELETION = "the secret is marked for deletion"
    EXPOSED_KEY_CURRENT = "AWSCURRENT is on a version that is marked as exposed"
    EXPOSED_KEY_DELIVERED = "services are given a key that is marked as exposed"
    NOT_CARRIED = "no run has carried the current version to the services"
    PUT_BACK = "a hand has moved AWSCURRENT back to an older version"
    DELIVERED_DRIFTED = "services are given another key than the current one"
    PODS_DRIFTED = "pods do not carry the stamp of the current version"
    PROTECTION_CHANGED = "a call has changed what protects the key"
    ROTATION_OFF = "the rotation schedule of the secret is off"
    WOULD_BE_REFUSED = "the next scheduled rotation would be refused"
    RUN_LOST = "a run ended without its last states: no record was kept and nobody was told"
    RUN_ENDED = "the run of the current version ended before its end"
    STUCK = "a pending version has not been promoted"
    PODS_UNSTAMPED = "pods carry no stamp, while the current key is delivered"
    DRIFT_UNKNOWN = "what services are given could not be looked at"
    OLD = "the key is older than recommended"
    TOO_OLD = "the key is older than allowed"
    SOON = "the next rotation is near"


CRITICAL = {
    IssueKind.MARKED_FOR_DELETION,
    IssueKind.EXPOSED_KEY_CURRENT,
    IssueKind.EXPOSED_KEY_DELIVERED,
}
# Judged at every look, and told by the daily one alone.
REPORTED_DAILY = {IssueKind.PODS_UNSTAMPED, IssueKind.DRIFT_UNKNOWN}


def repeat_interval(concern: IssueKind) -> timedelta:
    """How long after it was told last a concern that lasts is told again by a frequent look."""
    return timedelta(hours=1) if concern in CRITICAL else timedelta(days=1)
