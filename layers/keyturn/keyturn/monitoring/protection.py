"""Whether the protection of the key has changed: a mark of deletion, the schedule, policies. Pure.

DescribeSecret shows the first two. It does not show policies: CloudTrail reports those, if the
account has a trail.
"""

from collections.abc import Iterator

from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Issue, Secret
from keyturn.monitoring.watch_trigger import EVERY, WatchTrigger
from keyturn.secret.staging_labels import AWSCURRENT

# Read from the state of the secret, which has more details than the call.
SEEN_ANYWAY = {
    "DeleteSecret": IssueKind.MARKED_FOR_DELETION,
    "CancelRotateSecret": IssueKind.ROTATION_OFF,
}


def find_protection_issues(secret: Secret, call: WatchTrigger) -> list[Issue]:
    """The issues, the most urgent first."""
    issues = list(_of_state(secret, call))
    if call.change and SEEN_ANYWAY.get(call.change) not in {issue.concern for issue in issues}:
        concern = IssueKind.PROTECTION_CHANGED
        issues.append(Issue(concern, _version(secret), call.at, about=(call.change,)))
    return issues


def _of_state(secret: Secret, call: WatchTrigger) -> Iterator[Issue]:
    version = _version(secret)
    if secret.deleted:
        yield Issue(IssueKind.MARKED_FOR_DELETION, version, secret.deleted)
    elif not secret.schedule.enabled and _is_new_or_daily(secret, call):
        rules = (secret.schedule.expression or "", secret.schedule.duration or "")
        since = secret.changed or call.at
        yield Issue(IssueKind.ROTATION_OFF, version, since, about=rules)


def _is_new_or_daily(secret: Secret, call: WatchTrigger) -> bool:
    """Reported when it has begun since the last daily check, and then every day."""
    if call.daily or call.change == "CancelRotateSecret":
        return True
    return secret.changed is not None and call.at - secret.changed <= EVERY


def _version(secret: Secret) -> str:
    current = secret.holder(AWSCURRENT)
    return current.id if current else "none"
