"""`kubernetes_workloads` and `kubernetes_logs`: the logs that are asked for, and whose they are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.adapters.kubernetes import pod_logs as kubernetes_pod_logs
from keyturn.adapters.kubernetes.api import KubernetesApi
from keyturn.adapters.kubernetes.pod_logs import SIDECARS, log_line
from keyturn.adapters.kubernetes.workloads import LOG_BYTES, KubernetesCluster
from keyturn.rollout.pod_annotations import Stamp
from keyturn.settings.loading import PodKeySettings
from keyturn.settings.types import DeliveryMode
from keyturn.validation import pod_logs as validation_pod_logs
from keyturn.validation.log_report import PodCount, Report
from keyturn.validation.log_rules import MAX_LINE
from keyturn.validation.pod_logs import Line, ServiceLogs
from tests.conftest import NEW, NOON, OLD, STAMP
from tests.every_case import every_case
from tests.fakes import FakeStopwatch

NOT_SET = "FATAL SESSION_ENCRYPTION_KEY is not set"
NOT_32_BYTES = "ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24"


def read(found: ServiceLogs) -> Report:
    return validation_pod_logs.read_logs([found], FakeStopwatch())


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("2026-11-24T12:00:00Z", NOON),
        ("2026-11-24T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-11-24T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
        ("2026-11-24T13:00:00.000000001+01:00", NOON),
    ],
)
def test_a_stamp_of_the_kubelet_is_read_whatever_its_fraction_and_zone(
    stamp: str, at: datetime
) -> None:
    found = log_line(f"{stamp} GET / 200 ")
    assert (found.at, found.text) == (at, "GET / 200 ")
    assert log_line(stamp) == Line(at, "")


@every_case(
    "text",
    [
        "",
        " ",
        "started",
        "2026-11-24 12:00:00 started",
        "2026-11-24T12:00:00 no zone",
        "2026-13-24T12:00:00Z no such month",
        "2026-11-24T12:00:60Z no such second",
        "2026-11-24T12:00:00+99:99 no such zone",
    ],
)
def test_a_line_without_a_stamp_is_kept_whole(text: str) -> None:
    assert log_line(text) == Line(None, text)


@given(st.datetimes(timezones=st.just(UTC)), st.text())
def test_every_stamped_line_is_taken_apart(at: datetime, text: str) -> None:
    stamp = at.isoformat(timespec="microseconds").replace("+00:00", "000Z")
    assert log_line(f"{stamp} {text}") == Line(at, text)


@given(st.text() | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?[+-]\d\d:\d\d x\Z"))
def test_no_line_is_a_defect(text: str) -> None:
    assert log_line(text).text in {text, text.partition(" ")[2]}


Query = Sequence[tuple[str, str]]


class Api:
    """The Kubernetes API with one Deployment, its pods, and their logs by pod and container."""

    namespace = "web"

    def __init__(self, pods: list[dict[str, Any]], texts: dict[str, str] | None = None) -> None:
        self.pods, self.texts = pods, texts or {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.refusal: errors.KeyturnError | None = None

    def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        if path.endswith("/pods"):
            return {"items": self.pods}
        return {
            "kind": "Deployment",
            "metadata": {"name": "web-console"},
            "spec": {
                "selector": {"matchLabels": {"app": "web-console"}},
                "template": {"spec": {"containers": [{"name": "app"}]}},
            },
        }

    def request(self, method: str, path: str, query: Query) -> bytes:
        self.asked.append((f"{method} {path}", dict(query)))
        if self.refusal:
            raise self.refusal
        return self.texts.get(dict(query)["container"], "").encode()


def pod(
    name: str, version: str | None, delivery: str = STAMP.delivery, **restarts: int
) -> dict[str, Any]:
    statuses = [
        {"name": container, "state": {"running": {}}, "restartCount": count}
        for container, count in restarts.items()
    ]
    meta = {
        "name": name,
        "uid": f"uid-of-{name}",
        "annotations": Stamp(version, delivery).annotations() if version else {},
        "labels": {"app": "web-console", "pod-template-hash": "5d9"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-console-5d9", "controller": True}],
    }
    ready = [{"type": "Ready", "status": "True"}]
    return {"metadata": meta, "status": {"containerStatuses": statuses, "conditions": ready}}


def cluster_of(api: Api) -> KubernetesCluster:
    return KubernetesCluster(cast("KubernetesApi", api))


def places(found: ServiceLogs, api: Api) -> list[tuple[str, str, bool]]:
    """Which logs were asked for, each with whether it is that of the last crash."""
    seen = []
    for log in found.logs:
        list(log.lines)
        _, query = api.asked[-1]
        assert query["container"] == log.container
        seen.append((log.pod, log.container, query.get("previous") == "true"))
    return seen


PODS = [
    pod("new-1", NEW, app=0, proxy=0),
    pod("new-2", NEW, app=2, proxy=0),
    pod("old-1", OLD, app=5),
    pod("before", None, app=5),
    pod("before-the-delivery", NEW, "1", app=5),
]


def test_all_containers_of_the_new_pods_are_read_and_their_last_crash_too() -> None:
    api = Api(PODS)
    assert places(cluster_of(api).of_restart("web-console", STAMP, NOON), api) == [
        ("new-1", "app", False),
        ("new-1", "proxy", False),
        ("new-2", "app", False),
        ("new-2", "app", True),
        ("new-2", "proxy", False),
    ]


def test_the_crash_of_a_container_that_waits_to_start_again_is_counted_once() -> None:
    crashed = pod("new-1", NEW, app=3)
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    crashed["status"]["containerStatuses"][0]["state"] = waiting
    api = Api([crashed], {"app": f"2026-11-24T12:00:01Z {NOT_SET}\n"})
    with pytest.raises(errors.KeyErrorsInLogs, match=r"\(new-1/app: key-not-set x1\)"):
        read(cluster_of(api).of_restart("web-console", STAMP, NOON, crashed_only=True))
    assert [query["previous"] for _, query in api.asked] == ["true"]


def test_of_crashed_containers_alone_both_logs_are_read_and_no_other() -> None:
    api = Api(PODS)
    found = cluster_of(api).of_restart("web-console", STAMP, NOON, crashed_only=True)
    assert places(found, api) == [("new-2", "app", False), ("new-2", "app", True)]


def test_a_log_is_requested_with_timestamps_and_bounds() -> None:
    api = Api(PODS[:1])
    began = NOON.astimezone().replace(microsecond=640_000)
    places(cluster_of(api).of_restart("web-console", STAMP, began), api)
    assert api.asked[0] == (
        "GET /api/v1/namespaces/web/pods/new-1/log",
        {
            "container": "app",
            "limitBytes": str(LOG_BYTES),
            "sinceTime": "2026-11-24T12:00:00Z",
            "timestamps": "true",
        },
    )


def texts_of(text: str, since: datetime) -> list[str]:
    api = Api([pod("new-1", NEW, app=0)], {"app": text})
    (found,) = cluster_of(api).of_restart("web-console", STAMP, since).logs
    return [line.text for line in found.lines if line.text]


def test_lines_before_the_run_are_dropped_by_their_own_stamps() -> None:
    text = (
        "2026-11-24T12:00:00.100000000Z before\n"
        "2026-11-24T12:00:00.500000000Z at\n"
        "2026-11-24T12:00:00.500000001Z after\n"
        "no stamp\n"
    )
    since = NOON + timedelta(milliseconds=500)
    assert texts_of(text, since) == ["at", "after", "no stamp"]


@pytest.mark.parametrize("within", ["\x0c", "\x0b", "\x1c", "\x85", "\u2028", "\r"])
def test_a_line_ends_where_the_kubelet_ends_it_and_nowhere_else(within: str) -> None:
    old = f"2026-11-24T11:00:00Z page{within}SESSION_ENCRYPTION_KEY is not set\n"
    assert texts_of(old, NOON) == []


def test_bytes_that_are_no_text_do_not_hide_the_lines_around_them() -> None:
    api = Api([pod("new-1", NEW, app=1)])
    lines = b"\xff\xfe\n" + f"2026-11-24T12:00:01Z {NOT_SET}\n".encode()
    api.request = lambda *_: lines  # type: ignore[method-assign]
    with pytest.raises(errors.KeyErrorsInLogs, match="new-1/app: key-not-set x1"):
        read(cluster_of(api).of_restart("web-console", STAMP, NOON))


@pytest.mark.parametrize("refusal", [errors.ServiceNotFound, errors.ClusterRefused])
def test_a_pod_that_is_gone_or_has_not_written_yet_was_not_read(
    refusal: type[errors.KeyturnError],
) -> None:
    api = Api(PODS[:1])
    api.refusal = refusal("gone")
    report = read(cluster_of(api).of_restart("web-console", STAMP, NOON))
    assert report == Report((), 2, (PodCount("web-console", 1, 1, 0),))


@pytest.mark.parametrize("refusal", [errors.ClusterUnavailable, errors.AccessDenied])
def test_a_log_that_could_not_be_read_is_not_taken_for_a_clean_one(
    refusal: type[errors.KeyturnError],
) -> None:
    api = Api(PODS[:1])
    api.refusal = refusal("not now")
    with pytest.raises(refusal):
        read(cluster_of(api).of_restart("web-console", STAMP, NOON))


def test_a_fatal_line_of_a_pod_that_has_crashed_is_found_in_its_last_log() -> None:
    api = Api([pod("new-1", NEW, app=1)])

    def request(method: str, path: str, query: Query) -> bytes:
        previous = dict(query).get("previous") == "true"
        return f"2026-11-24T12:00:01Z {NOT_32_BYTES if previous else 'starting'}".encode()

    api.request = request  # type: ignore[method-assign]
    found = cluster_of(api).of_restart("web-console", STAMP, NOON, crashed_only=True)
    with pytest.raises(errors.KeyErrorsInLogs, match="new-1/app: key-not-32-bytes x1"):
        read(found)


def test_pods_that_exist_are_told_from_those_of_this_restart_and_of_others() -> None:
    worker, bare = pod("worker-1", None, app=0), pod("debug", None, app=0)
    worker["metadata"]["ownerReferences"][0]["name"] = "worker-5d9"
    del bare["metadata"]["ownerReferences"]
    evicted = pod("evicted", NEW, app=0)
    evicted["status"]["phase"] = "Failed"
    api = Api([*PODS, worker, bare, evicted])
    found = cluster_of(api).of_restart("web-console", STAMP, NOON)
    assert found.pods == ["new-1", "new-2", "old-1", "before", "before-the-delivery"]
    assert found.stamped == ["new-1", "new-2"]


def test_a_log_and_each_of_its_lines_are_cut_off_at_their_bounds() -> None:
    api = Api([pod("new-1", NEW, app=0)])
    line = b"2026-11-24T12:00:01Z " + b"x" * (MAX_LINE * 2) + b"\n"
    api.request = lambda *_: line * (2 * LOG_BYTES // len(line))  # type: ignore[method-assign]
    (found,) = cluster_of(api).of_restart("web-console", STAMP, NOON).logs
    texts = [read.text for read in found.lines]
    assert len(texts) == LOG_BYTES // len(line) + 1
    assert max(map(len, texts)) < MAX_LINE


def trouble_of(status: dict[str, Any], ready: str = "True", **meta: Any) -> list[str]:
    seen = pod("new-1", NEW)
    seen["metadata"] |= meta
    seen["status"]["conditions"][0]["status"] = ready
    seen["status"]["containerStatuses"] = [{"name": "app", **status}]
    return [found for _, _, found in kubernetes_pod_logs.started_containers(seen, NOON)]


RUNNING: dict[str, Any] = {"state": {"running": {}}, "restartCount": 0}


def ended(at: str, code: int = 1) -> dict[str, Any]:
    return {"terminated": {"finishedAt": at, "exitCode": code}}


@pytest.mark.parametrize(
    "status",
    [
        {**RUNNING, "restartCount": 1, "lastState": ended("2026-11-24T12:00:00Z")},
        {**RUNNING, "restartCount": 1, "lastState": ended("2026-11-24T12:00:00Z", code=0)},
        {**RUNNING, "restartCount": 1},
        {"state": ended("2026-11-24T12:00:05Z")},
        {
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "restartCount": 3,
            "lastState": ended("2026-11-24T12:01:00Z"),
        },
    ],
)
def test_a_container_that_ended_in_this_run_has_crashed(status: dict[str, Any]) -> None:
    assert trouble_of(status) == ["the container crashed"]


@pytest.mark.parametrize(
    "status",
    [
        RUNNING,
        {**RUNNING, "restartCount": 4, "lastState": ended("2026-11-24T11:59:59Z")},
        {"state": ended("2026-11-24T12:00:05Z", code=0)},
    ],
    ids=["it runs", "it crashed before the run", "it has done its work, as an init container"],
)
def test_what_is_no_crash_of_this_run_is_no_trouble(status: dict[str, Any]) -> None:
    assert trouble_of(status) == [""]
    assert trouble_of(status, ready="False") == ["its pod is not ready"]


def test_a_pod_that_is_being_ended_is_not_in_trouble() -> None:
    leaving = {"deletionTimestamp": "2026-11-24T12:00:09Z"}
    assert trouble_of(RUNNING, ready="False", **leaving) == [""]


def delivery(mode: str, static: str = "") -> PodKeySettings:
    return PodKeySettings(DeliveryMode(mode), "session-key", "SESSION_ENCRYPTION_KEY", static)


READS_KEY = {
    "envFrom": [{"secretRef": {"name": "session-key"}}],
}


def template(*containers: Any, chosen: str = "", init: Sequence[Any] = ()) -> dict[str, Any]:
    notes = {kubernetes_pod_logs.DEFAULT_CONTAINER: chosen} if chosen else {}
    spec = {"containers": list(containers), "initContainers": list(init)}
    return {"spec": {"template": {"metadata": {"annotations": notes}, "spec": spec}}}


APP, NGINX, WORKER = {"name": "app"}, {"name": "nginx"}, {"name": "worker"}


@every_case(
    ("settings", "found", "expected"),
    [
        (delivery("kubernetes-secret"), template({**APP, **READS_KEY}, WORKER), {"app"}),
        (delivery("external-secrets"), template({**APP, **READS_KEY}, NGINX), {"app"}),
        (delivery("vault", "web"), template({**APP, **READS_KEY}, WORKER), {"app"}),
        (
            delivery("kubernetes-secret"),
            template(APP, init=[{"name": "check", **READS_KEY}]),
            {"check"},
        ),
        (delivery("kubernetes-secret"), template(APP), set()),
        (delivery("vault"), template(NGINX), {"nginx"}),
        (delivery("vault"), template(APP, NGINX), {"app"}),
        (delivery("none"), template(APP, WORKER, NGINX), {"app", "worker"}),
        (delivery("none"), template(APP, WORKER, NGINX, chosen="worker"), {"worker"}),
        (delivery("none"), template(APP, NGINX, chosen="gone"), set()),
        (delivery("none"), template(*({"name": name} for name in SIDECARS)), set()),
        (None, template(APP), {"app"}),
    ],
)
def test_the_container_with_the_key_is_known_by_its_secret_reference(
    settings: PodKeySettings | None, found: dict[str, Any], expected: set[str]
) -> None:
    assert kubernetes_pod_logs.containers_with_key(found, settings) == expected


def test_containers_have_one_log_for_each_run_that_can_be_asked_for() -> None:
    seen = pod("new-1", NEW)
    seen["status"]["containerStatuses"] = [
        {"name": "app", "state": {"running": {}}, "restartCount": 0},
        {
            "name": "crashing",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "restartCount": 3,
        },
        {"name": "pulling", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        {"name": "done", "state": {"terminated": {"exitCode": 0}}, "restartCount": 2},
    ]
    started = kubernetes_pod_logs.started_containers(seen, NOON)
    assert [(name, found) for name, found, _ in started] == [
        ("app", [False]),
        ("crashing", [True]),
        ("done", [False, True]),
    ]


@pytest.mark.parametrize(
    "kind", ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"]
)
def test_every_kind_of_container_has_a_log(kind: str) -> None:
    seen = pod("new-1", NEW)
    seen["status"] = {kind: [{"name": "app", "state": {"running": {}}, "restartCount": 1}]}
    assert [name for name, _, _ in kubernetes_pod_logs.started_containers(seen, NOON)] == ["app"]


@pytest.mark.parametrize("bare", [{}, {"status": {}}, {"status": {"containerStatuses": None}}])
def test_a_pod_that_no_kubelet_has_seen_has_no_logs(bare: dict[str, Any]) -> None:
    seen = {"metadata": {"name": "new-1", "uid": "uid-1"}, **bare}
    assert list(kubernetes_pod_logs.started_containers(seen, NOON)) == []
