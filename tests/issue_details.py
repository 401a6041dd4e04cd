"""What an issue of each kind is about, as in `Issue.about`."""

from keyturn.monitoring.issues import IssueKind
from tests.conftest import OLD

ABOUT: dict[IssueKind, tuple[str, ...]] = {
    IssueKind.WOULD_BE_REFUSED: ("AccessDenied: deliver_key: it may not patch secrets",),
    IssueKind.EXPOSED_KEY_DELIVERED: ("Kubernetes Secret web/session-key", OLD),
    IssueKind.DELIVERED_DRIFTED: ("Kubernetes Secret web/session-key",),
    IssueKind.PODS_DRIFTED: (
        "web-console: of 2 pods 1 annotated with another version, 0 without annotations",
    ),
    IssueKind.PODS_UNSTAMPED: (
        "web-console: of 2 pods 0 annotated with another version, 2 without annotations",
    ),
    IssueKind.DRIFT_UNKNOWN: ("deliver_key: ClusterUnavailable",),
    IssueKind.ROTATION_OFF: ("cron(0 3 1,15 * ? *)", "2h"),
    IssueKind.PROTECTION_CHANGED: ("PutKeyPolicy",),
}
