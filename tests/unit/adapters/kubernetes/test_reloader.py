"""What Stakater's Reloader would do, by its annotations."""

from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes import reloader
from keyturn.adapters.kubernetes.api import KubernetesApi
from keyturn.adapters.kubernetes.workloads import KubernetesCluster
from keyturn.settings.loading import PodKeySettings
from keyturn.settings.types import DeliveryMode
from tests.conftest import NOON
from tests.every_case import every_case

SECRET = "session-key"
SEARCHES = {"reloader.stakater.com/search": "true"}
MATCHES = {"reloader.stakater.com/match": "true"}
PERIOD = "deployment.reloader.stakater.com/pause-period"
PAUSED_AT = "deployment.reloader.stakater.com/paused-at"
Notes = dict[str, str]


def workload(own: Notes | None, of_template: Notes | None = None) -> dict[str, Any]:
    template = {"metadata": {"annotations": of_template}, "spec": {"containers": []}}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "annotations": own},
        "spec": {"template": template},
    }


def restarts(found: dict[str, Any]) -> bool | None:
    return reloader.restarts(found, SECRET)


@every_case("on_template", [False, True])
@every_case(
    ("notes", "expected"),
    [
        ({"reloader.stakater.com/auto": "true"}, True),
        ({"secret.reloader.stakater.com/auto": "true"}, True),
        ({"secret.reloader.stakater.com/auto": "1"}, True),
        ({"reloader.stakater.com/auto": "false"}, False),
        ({"reloader.stakater.com/auto": "yes"}, False),
        ({"secret.reloader.stakater.com/auto": ""}, False),
        ({"configmap.reloader.stakater.com/auto": "true"}, False),
        ({"configmap.reloader.stakater.com/reload": "session-key"}, False),
        ({"reloader.stakater.com/search": "yes"}, False),
        ({}, False),
    ],
)
def test_it_is_seen_in_each_spelling_of_its_annotations(
    notes: Notes, expected: bool, on_template: bool
) -> None:
    found = workload(None, notes) if on_template else workload(notes)
    assert restarts(found) is expected


@every_case(
    ("listed", "expected"),
    [
        ("session-key", True),
        ("other, session-key ,third", True),
        ("session-.*", True),
        ("other,[a-z]+-key", True),
        ("session|other", True),  # Reloader's own anchors: ^session, or other$
        ("*,session-key", True),
        ("session-key-2,my-session-key", False),
        ("session", False),
        ("session-key{99999999999}", False),
        ("(session-key", False),
        ("", False),
        (" , ", False),
    ],
)
def test_it_takes_the_names_of_secrets_for_a_list_of_regular_expressions(
    listed: str, expected: bool
) -> None:
    assert restarts(workload({"secret.reloader.stakater.com/reload": listed})) is expected


@every_case("on_template", [False, True])
@every_case(
    ("notes_of_secret", "expected"),
    [
        (MATCHES, True),
        ({"reloader.stakater.com/match": "yes"}, False),
        ({**MATCHES, "reloader.stakater.com/ignore": "true"}, False),
        ({}, False),
    ],
)
def test_a_workload_that_searches_is_restarted_for_a_secret_that_matches(
    notes_of_secret: Notes, expected: bool, on_template: bool
) -> None:
    found = workload(None, SEARCHES) if on_template else workload(SEARCHES)
    assert restarts(found) is None
    assert reloader.matches({"metadata": {"annotations": notes_of_secret}}) is expected


def test_the_workloads_own_annotations_go_before_its_templates() -> None:
    auto = {"reloader.stakater.com/auto": "true"}
    for own in ({"reloader.stakater.com/auto": "false"}, {"reloader.stakater.com/search": "no"}):
        assert not restarts(workload(own, auto))
    assert restarts(workload({"configmap.reloader.stakater.com/reload": "x"}, auto))


@pytest.mark.parametrize(
    "notes", [{"reloader.stakater.com/auto": "true"}, SEARCHES], ids=["auto", "search"]
)
def test_a_secret_that_the_workload_excludes_restarts_nothing(notes: Notes) -> None:
    excluded = {"secrets.exclude.reloader.stakater.com/reload": "other, session-key"}
    assert not restarts(workload({**notes, **excluded}))


@every_case(
    ("text", "seconds"),
    [
        ("20s", 20.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5m", 90.0),
        ("500ms", 0.5),
        ("0s", None),
        ("-5m", None),
        ("5", None),
        ("five minutes", None),
        ("9" * 25 + "h", None),
        ("1m" * 40, None),
        ("", None),
    ],
)
def test_the_period_of_a_pause_is_a_go_duration(text: str, seconds: float | None) -> None:
    seen = reloader.pause(workload({PERIOD: text}))
    assert seen.period == (None if seconds is None else timedelta(seconds=seconds))
    assert seen.ends is None


@pytest.mark.parametrize(
    ("notes", "paused", "ends"),
    [
        ({PERIOD: "20s", PAUSED_AT: "2026-11-24T12:00:00Z"}, True, NOON + timedelta(seconds=20)),
        (
            {PERIOD: "20s", PAUSED_AT: "2026-11-24T13:00:00+01:00"},
            True,
            NOON + timedelta(seconds=20),
        ),
        ({PERIOD: "20s", PAUSED_AT: "2026-11-24T12:00:00Z"}, False, None),
        ({PERIOD: "20s", PAUSED_AT: "2026-11-24T12:00:00"}, True, None),
        ({PERIOD: "20s", PAUSED_AT: "at noon"}, True, None),
        ({PERIOD: "20s"}, True, None),
        ({PAUSED_AT: "2026-11-24T12:00:00Z"}, True, None),
    ],
    ids=["paused", "in another zone", "resumed", "no zone", "no time", "by hand", "no period"],
)
def test_a_pause_is_reloaders_where_it_noted_when_it_began(
    notes: Notes, paused: bool, ends: datetime | None
) -> None:
    found = workload(notes)
    found["spec"]["paused"] = paused
    assert reloader.pause(found).ends == ends


def test_a_pause_is_asked_for_on_a_deployment_itself_and_nowhere_else() -> None:
    assert reloader.pause(workload(None, {PERIOD: "20s"})) == reloader.NO_PAUSE
    stateful = {**workload({PERIOD: "20s"}), "kind": "StatefulSet"}
    assert reloader.pause(stateful) == reloader.NO_PAUSE


class Api:
    """The Kubernetes API with a Deployment and a Secret, which remembers what was read."""

    namespace = "web"

    def __init__(self, own: Notes) -> None:
        self.own = own
        self.read: list[str] = []
        self.refusal: errors.KeyturnError | None = None

    def get(self, path: str) -> dict[str, Any]:
        self.read.append(path.split("/web/")[1])
        return workload(self.own)

    def metadata(self, path: str) -> dict[str, Any]:
        self.read.append(f"metadata of {path.split('/web/')[1]}")
        if self.refusal:
            raise self.refusal
        return {"metadata": {"annotations": MATCHES}}


def cluster_of(api: Api, mode: str = "kubernetes-secret") -> KubernetesCluster:
    delivery = PodKeySettings(DeliveryMode(mode), SECRET, "SESSION_ENCRYPTION_KEY", "")
    return KubernetesCluster(cast("KubernetesApi", api), delivery)


@pytest.mark.parametrize(
    ("mode", "own", "expected"),
    [
        ("kubernetes-secret", SEARCHES, None),
        ("external-secrets", SEARCHES, None),
        ("none", SEARCHES, False),
        ("none", {"reloader.stakater.com/auto": "true"}, False),
        ("kubernetes-secret", {"reloader.stakater.com/auto": "true"}, True),
        ("kubernetes-secret", {}, False),
    ],
)
def test_a_look_at_a_workload_reads_no_secret(mode: str, own: Notes, expected: bool | None) -> None:
    api = Api(own)
    assert cluster_of(api, mode).workload("web").restarts_itself is expected
    assert api.read == ["deployments/web"]


def test_of_the_secret_only_its_metadata_is_read() -> None:
    api = Api(SEARCHES)
    assert cluster_of(api).secret_matches_reloader() is True
    assert api.read == ["metadata of secrets/session-key"]


def test_a_role_that_may_not_read_the_secret_leaves_it_open() -> None:
    api = Api(SEARCHES)
    api.refusal = errors.AccessDenied("The function's role may not `get secrets` (session-key)")
    assert cluster_of(api).secret_matches_reloader() is None
    api.refusal = errors.ClusterUnavailable("not now")
    with pytest.raises(errors.ClusterUnavailable):
        cluster_of(api).secret_matches_reloader()


def test_it_is_not_looked_for_where_no_secret_is_read() -> None:
    api = Api({"reloader.stakater.com/auto": "true"})
    without = KubernetesCluster(cast("KubernetesApi", api))
    assert without.workload("web").restarts_itself is False
    assert without.secret_matches_reloader() is False
    assert cluster_of(api, "none").secret_matches_reloader() is False
    assert api.read == ["deployments/web"]
