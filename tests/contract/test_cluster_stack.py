"""What the emulated cluster alone has: faults on order, a history of its own length, its end."""

from collections.abc import Iterator

import pytest
import urllib3

from local.cluster import Cluster
from local.cluster.errors import StatusError
from local.cluster.objects import ObjectStore
from local.cluster.resources import NAMESPACES, PODS, SECRETS
from local.processes import Processes
from tests.contract.manifests import IMAGE, pod, web_container
from tests.contract.waiting import is_ready, until


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as started:
        yield started


@pytest.fixture
def cluster(processes: Processes) -> Iterator[Cluster]:
    with Cluster(
        processes,
        name="stack",
        credentials_lookup=lambda _: None,
        rbac=None,
        images=[IMAGE],
        namespace="keyturn",
    ) as running:
        yield running


def test_an_ordered_answer_is_given_as_often_as_ordered(cluster: Cluster) -> None:
    cluster.faults.answer(503, times=2, verb="get", resource="secrets")
    codes = []
    for _ in range(3):
        with pytest.raises(StatusError) as caught:
            cluster.admin.get(SECRETS, "keyturn", "settings")
        codes.append(caught.value.code)
    assert codes == [503, 503, 404]


def test_a_dropped_request_does_nothing(cluster: Cluster) -> None:
    cluster.faults.drop(verb="create", resource="secrets")
    with pytest.raises(urllib3.exceptions.HTTPError):
        cluster.admin.create(SECRETS, "keyturn", {"metadata": {"name": "settings"}})
    assert cluster.admin.list(SECRETS, "keyturn") == []


def test_a_lost_answer_leaves_the_request_done(cluster: Cluster) -> None:
    cluster.faults.lose_answer(verb="create", resource="secrets")
    with pytest.raises(urllib3.exceptions.HTTPError):
        cluster.admin.create(SECRETS, "keyturn", {"metadata": {"name": "settings"}})
    assert len(cluster.admin.list(SECRETS, "keyturn")) == 1


def test_the_node_survives_an_api_server_that_fails(cluster: Cluster) -> None:
    for resource in ("pods/binding", "pods", "pods/status"):
        cluster.faults.answer(500, times=2, resource=resource, name="app")
    cluster.admin.create(PODS, "keyturn", pod("app", web_container()))
    until(lambda: cluster.admin.list(PODS, "keyturn"), lambda pods: all(map(is_ready, pods)))


def test_closing_the_cluster_ends_its_pods(cluster: Cluster, processes: Processes) -> None:
    cluster.admin.create(PODS, "keyturn", pod("app", web_container()))
    until(lambda: cluster.admin.list(PODS, "keyturn"), lambda pods: all(map(is_ready, pods)))
    assert len(processes.running()) == 1
    cluster.close()
    until(processes.running, lambda left: not left)


def test_a_watch_from_a_forgotten_version_is_a_410() -> None:
    store = ObjectStore(history=2)
    for name in ("a", "b", "c"):
        store.create(NAMESPACES, "", {"metadata": {"name": name}})
    with pytest.raises(StatusError) as caught:
        store.changes_since(1, timeout=0)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    assert len(store.changes_since(2, timeout=0)) == 2
