"""`keyturn.adapters.reloader`: what Stakater's Reloader would do, by its annotations."""

from typing import Any, cast

import pytest

from keyturn.adapters import reloader
from keyturn.adapters.kubernetes import KubernetesApi
from keyturn.adapters.kubernetes_workloads import KubernetesCluster
from keyturn.settings import DeliverySettings
from keyturn.variables import DeliveryMode

SECRET = "session-key"
SEARCHES = {"reloader.stakater.com/search": "true"}
MATCHES = {"reloader.stakater.com/match": "true"}
Notes = dict[str, str]


def workload(own: Notes | None, of_template: Notes | None = None) -> dict[str, Any]:
    template = {"metadata": {"annotations": of_template}, "spec": {"containers": []}}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "annotations": own},
        "spec": {"template": template},
    }


def restarts(found: dict[str, Any], notes_of_secret: Notes | None = None) -> bool:
    """What it says; the Secret's annotations are not to be read where none are given."""

    def read() -> Notes:
        assert notes_of_secret is not None
        return notes_of_secret

    return reloader.restarts(found, SECRET, read)


@pytest.mark.parametrize("on_template", [False, True], ids=["on the workload", "on its template"])
@pytest.mark.parametrize(
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
    ids=str,
)
def test_it_is_seen_in_each_spelling_of_its_annotations(
    notes: Notes, expected: bool, on_template: bool
) -> None:
    found = workload(None, notes) if on_template else workload(notes)
    assert restarts(found) is expected


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("on_template", [False, True], ids=["on the workload", "on its template"])
@pytest.mark.parametrize(
    ("notes_of_secret", "expected"),
    [
        (MATCHES, True),
        ({"reloader.stakater.com/match": "yes"}, False),
        ({**MATCHES, "reloader.stakater.com/ignore": "true"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_workload_that_searches_is_restarted_for_a_secret_that_matches(
    notes_of_secret: Notes, expected: bool, on_template: bool
) -> None:
    found = workload(None, SEARCHES) if on_template else workload(SEARCHES)
    assert restarts(found, notes_of_secret) is expected


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


class Api:
    """The Kubernetes API with a Deployment and a Secret, which remembers what was read."""

    namespace = "web"

    def __init__(self, own: Notes) -> None:
        self.own = own
        self.read: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        self.read.append(path.split("/web/")[1])
        if "/secrets/" in path:
            return {"metadata": {"annotations": MATCHES}, "data": {}}
        return workload(self.own)


@pytest.mark.parametrize(
    ("mode", "own", "expected", "read"),
    [
        ("kubernetes-secret", SEARCHES, True, ["deployments/web", "secrets/session-key"]),
        ("external-secrets", SEARCHES, True, ["deployments/web", "secrets/session-key"]),
        ("none", SEARCHES, False, ["deployments/web"]),
        ("none", {"reloader.stakater.com/auto": "true"}, False, ["deployments/web"]),
        (
            "kubernetes-secret",
            {"reloader.stakater.com/auto": "true"},
            True,
            ["deployments/web"],
        ),
        ("kubernetes-secret", {}, False, ["deployments/web"]),
    ],
)
def test_the_secret_is_read_only_where_its_annotations_decide(
    mode: str, own: Notes, expected: bool, read: list[str]
) -> None:
    api = Api(own)
    delivery = DeliverySettings(DeliveryMode(mode), "", SECRET, "SESSION_ENCRYPTION_KEY", "")
    cluster = KubernetesCluster(cast("KubernetesApi", api), delivery)
    assert cluster.workload("web").restarts_itself is expected
    assert api.read == read


def test_it_is_not_looked_for_where_the_secret_is_not_known() -> None:
    api = Api({"reloader.stakater.com/auto": "true"})
    assert not KubernetesCluster(cast("KubernetesApi", api)).workload("web").restarts_itself
