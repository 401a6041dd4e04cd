"""Thousands of pods are read page by page: the memory is that of a page, not that of the fleet."""

import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keyturn.adapters.kubernetes import workloads
from keyturn.rollout.pod_annotations import KEY_DELIVERY, KEY_VERSION
from local.cluster.resources import DEPLOYMENTS, PODS, Json
from tests.conftest import NOON, STAMP
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.manifests import container, deployment, pod
from tests.contract.rotation_adapters import Adapters, adapters_of, signing_as

MANY = 600
OF_A_POD = 8 * 1024  # what a pod of EKS has in fields that nobody asks for


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


def fleet(cluster: ClusterUnderTest, namespace: str) -> None:
    """A Deployment of which another node, that nobody plays, runs many pods."""
    cluster.admin.create(DEPLOYMENTS, namespace, deployment("web", container(), replicas=0))

    def create(number: int) -> None:
        cluster.admin.create(PODS, namespace, elsewhere(f"web-1-{number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(MANY)))


def elsewhere(name: str) -> Json:
    made = pod(name, container())
    made["metadata"] |= {
        "labels": {"app": "web", "pod-template-hash": "1"},
        "annotations": {
            KEY_VERSION: STAMP.version,
            KEY_DELIVERY: STAMP.delivery,
            "padding": "x" * OF_A_POD,
        },
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1",
             "uid": "of-no-object", "controller": True}
        ],
    }  # fmt: skip
    made["spec"]["nodeName"] = "elsewhere"
    return made


def peak(read: Callable[[], Any]) -> int:
    """The most memory that a call needs at once, in bytes."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.exhaustive
def test_thousands_of_pods_need_the_memory_of_one_page(
    cluster: ClusterUnderTest,
    namespace: str,
    adapters: Adapters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet(cluster, namespace)
    pods = adapters.cluster.pods("web")
    assert len(pods) == len({one.uid for one in pods}) == MANY
    assert all(STAMP.is_on(one) for one in pods)
    seen = adapters.cluster.of_restart("web", STAMP, NOON, crashed_only=True)
    assert (len(seen.pods), len(seen.stamped)) == (MANY, MANY)

    def logs() -> None:
        adapters.cluster.of_restart("web", STAMP, NOON)

    for read in (lambda: adapters.cluster.pods("web"), logs):
        monkeypatch.setattr(workloads, "PAGE_PODS", 100)
        in_pages = peak(read)
        monkeypatch.setattr(workloads, "PAGE_PODS", MANY)
        at_once = peak(read)
        assert in_pages < at_once / 3, (in_pages, at_once)
