"""The ingress: one address for a service, whatever its pods do."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import urllib3

from local.cluster.resources import DEPLOYMENTS, PODS, SERVICES
from tests.contract.cluster_under_test import ClusterUnderTest, open_ingress
from tests.contract.manifests import deployment, restart, web_container
from tests.contract.waiting import until, wait_for_rollout

USERS = 4


@pytest.fixture
def address(cluster: ClusterUnderTest, namespace: str) -> Iterator[str]:
    service = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    cluster.admin.create(SERVICES, namespace, service)
    with open_ingress(cluster, namespace) as ingress:
        yield ingress.url("web")


def start(cluster: ClusterUnderTest, namespace: str, address: str) -> None:
    cluster.admin.create(DEPLOYMENTS, namespace, deployment("web", web_container()))
    wait_for_rollout(cluster, namespace, "web")
    until(lambda: {fetch(address)[1] for _ in range(2)}, lambda seen: len(seen - {""}) == 2)


def fetch(address: str) -> tuple[int, str]:
    """The status of a request on a connection of its own, and the pod that answered."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().split(" ")[0] if answer.status == 200 else ""
    finally:
        connection.close()


class Users:
    """Several people who use the service without a pause, each on a connection that is kept."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self.failures: list[Exception] = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._use, daemon=True) for _ in range(USERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _use(self) -> None:
        with urllib3.PoolManager() as pool:
            while not self._stop.is_set():
                try:
                    answer = pool.request("GET", self._address, timeout=10, retries=False)
                except urllib3.exceptions.HTTPError as error:
                    self.failures.append(error)
                else:
                    self.answers.append((answer.status, answer.data.decode().split(" ")[0]))


def test_without_a_ready_pod_the_answer_is_503(address: str) -> None:
    assert fetch(address) == (503, "")


def test_requests_go_to_the_pods_in_turn_also_on_one_connection(
    cluster: ClusterUnderTest, namespace: str, address: str
) -> None:
    start(cluster, namespace, address)
    pods = {one["metadata"]["name"] for one in cluster.admin.list(PODS, namespace)}
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    seen = set()
    for _ in range(2):
        connection.request("GET", "/")
        seen.add(connection.getresponse().read().decode().split(" ")[0])
    connection.close()
    assert seen == pods


def test_a_body_reaches_the_pod_whole(
    cluster: ClusterUnderTest, namespace: str, address: str
) -> None:
    start(cluster, namespace, address)
    body = b"x" * 300_000
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", address, body=body, timeout=10)
    assert answer.data == body


def test_a_body_in_chunks_is_refused(address: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"))) as client:
        client.request("POST", "/", body=iter([b"x"]), encode_chunked=True)
        assert client.getresponse().status == 400


def test_no_request_fails_during_a_rollout(
    cluster: ClusterUnderTest, namespace: str, address: str
) -> None:
    start(cluster, namespace, address)
    old = {one["metadata"]["name"] for one in cluster.admin.list(PODS, namespace)}
    users = Users(address)
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", restart("one"))
    wait_for_rollout(cluster, namespace, "web")
    until(
        lambda: {one["metadata"]["name"] for one in cluster.admin.list(PODS, namespace)},
        lambda names: not names & old,
    )
    seen = len(users.answers)
    until(lambda: len(users.answers), lambda count: count > seen + 10)
    users.stop()
    assert users.failures == []
    assert {status for status, _ in users.answers} == {200}
    assert {pod for _, pod in users.answers} & old
    assert not {pod for _, pod in users.answers[seen + USERS :]} & old
