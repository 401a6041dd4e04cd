"""The restart of a StatefulSet, which Kubernetes' own StatefulSet controller carries out.

A StatefulSet ends its pods one by one, and each new one takes the old one's name.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors, rollout
from keyturn.run import now, timestamp
from keyturn.stamp import KEY_VERSION
from local.cluster.errors import StatusError
from local.cluster.resources import PODS, SERVICES, STATUS, Json, Resource
from tests.conftest import NEW, OLD, STAMP
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.conftest import WITHOUT_IT
from tests.contract.manifests import container, pod
from tests.contract.permissions import permit
from tests.contract.rotation_adapters import (
    Adapters,
    adapters_of,
    signing_as,
    still_on_top,
)
from tests.contract.waiting import insist, until

pytestmark = WITHOUT_IT

STATEFUL_SETS = Resource("statefulsets", "StatefulSet", group="apps", subresources=STATUS)
NAME = "queue"
SERVICE = f"statefulset/{NAME}"
LIMIT = timedelta(minutes=5)
GOES_AT_ONCE = "import time; time.sleep(600)"
DOES_NOT_GO = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('started', flush=True)\n"
    "time.sleep(600)"
)
THE_THIRD_STAYS = (
    "import os, signal, time\n"
    "os.environ['HOSTNAME'].endswith('-2') and signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('started', flush=True)\n"
    "time.sleep(600)"
)


@pytest.fixture
def cluster(real_cluster: ClusterUnderTest) -> ClusterUnderTest:
    """Only the real control plane has StatefulSets."""
    return real_cluster


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


def restart(adapters: Adapters, begun: datetime) -> dict[str, Any]:
    """Restart it, whatever its controller writes in between."""
    return insist(lambda: rollout.restart(adapters.cluster, STAMP, SERVICE, begun, still_on_top))


def start(
    cluster: ClusterUnderTest,
    namespace: str,
    code: str = GOES_AT_ONCE,
    replicas: int = 2,
    **spec: object,
) -> None:
    """Create a StatefulSet with its headless Service, and wait until all its pods are ready."""
    labels = {"app": NAME}
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 80}]}
    cluster.admin.create(SERVICES, namespace, {"metadata": {"name": NAME}, "spec": service})
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container(code)], "terminationGracePeriodSeconds": 5},
    }
    wanted = {
        "serviceName": NAME,
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": template,
        **spec,
    }
    cluster.admin.create(STATEFUL_SETS, namespace, {"metadata": {"name": NAME}, "spec": wanted})
    until(
        lambda: read(cluster, namespace),
        lambda found: found["status"].get("readyReplicas") == replicas,
    )


def read(cluster: ClusterUnderTest, namespace: str) -> Json:
    return cluster.admin.get(STATEFUL_SETS, namespace, NAME)


def rolled_out(found: Json) -> bool:
    """Kubectl's rules for a StatefulSet (rollout_status.go)."""
    status, wanted = found["status"], found["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        and status.get("readyReplicas", 0) >= wanted
        and status.get("updatedReplicas", 0) >= wanted
        and status["updateRevision"] == status["currentRevision"]
    )


def started(cluster: ClusterUnderTest, namespace: str, name: str) -> bool:
    """Whether a pod's program runs, and has said so."""
    try:
        return "started" in cluster.admin.log(namespace, name, "app")
    except StatusError:
        return False


def versions(cluster: ClusterUnderTest, namespace: str) -> dict[str, str | None]:
    """The key version of every pod that the server lists, by uid: a name may come back."""
    listed = cluster.admin.list(PODS, namespace, label_selector=f"app={NAME}")
    return {
        one["metadata"]["uid"]: (one["metadata"].get("annotations") or {}).get(KEY_VERSION)
        for one in listed
    }


def patches(cluster: ClusterUnderTest) -> int:
    """How many patches of the StatefulSet were asked for so far, dry ones included."""
    wanted = ("patch", STATEFUL_SETS.plural, NAME)
    return sum(tuple(entry[1:]) == wanted for entry in cluster.running.audit)


def ledger_of(restarted: Json) -> dict[str, Any]:
    """What a run knows that began now and has restarted the service."""
    begun = {"startedAt": timestamp(now())}
    return {"begin_rotation": begun, "restart_service": {**restarted, **begun}}


def look_until_done(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, restarted: Json
) -> list[dict[str, Any]]:
    """Look at the rollout until it is done, and then at the pods that the server lists still."""
    ledger = ledger_of(restarted)
    looks: list[dict[str, Any]] = []

    def look() -> dict[str, Any]:
        ledger["check_rollout"] = rollout.check(adapters.cluster, STAMP, ledger, LIMIT, now())
        looks.append(ledger["check_rollout"])
        return looks[-1]

    until(look, lambda seen: seen["state"] == "done")
    left = versions(cluster, namespace)
    assert len(left) == 2
    assert set(left.values()) == {NEW}
    return looks


def test_a_restart_is_done_when_every_pod_is_new_and_no_old_one_is_listed(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace)
    old = versions(cluster, namespace)
    rollout.check_ready(adapters.cluster, SERVICE)
    restarted = restart(adapters, now())
    looks = look_until_done(cluster, namespace, adapters, restarted)
    assert restarted["restarted"]
    assert looks[0]["state"] == "waiting"
    before, after = looks[-1]["podsBefore"], looks[-1]["podsAfter"]
    assert list(before) == list(after) == ["queue-0", "queue-1"]
    assert set(before.values()) == old.keys()
    assert set(after.values()) == versions(cluster, namespace).keys()
    assert not old.keys() & set(after.values())


def test_the_same_restart_again_patches_nothing(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace)
    begun, asked = now(), patches(cluster)
    restart(adapters, begun)
    once, generation = patches(cluster), read(cluster, namespace)["metadata"]["generation"]
    again = restart(adapters, begun)
    assert not again["restarted"]
    assert (once, patches(cluster)) == (asked + 1, asked + 1)
    assert read(cluster, namespace)["metadata"]["generation"] == generation


def test_an_old_pod_that_was_scaled_away_and_will_not_go_keeps_a_restart_from_being_done(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace, THE_THIRD_STAYS, replicas=3, podManagementPolicy="Parallel")
    until(lambda: started(cluster, namespace, f"{NAME}-2"), bool)
    cluster.admin.patch(STATEFUL_SETS, namespace, NAME, {"spec": {"replicas": 2}})
    restarted = restart(adapters, now())
    looks = look_until_done(cluster, namespace, adapters, restarted)
    assert "queue-2" in restarted["podsBefore"]
    assert any("2 of 2 new, 1 old terminating" in look["says"] for look in looks)


def test_a_stray_old_pod_that_nobody_owns_keeps_a_restart_from_being_done_until_it_is_gone(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    """The StatefulSet does not count it, so nothing in the status speaks of it."""
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace)
    stray = pod("stray", container(DOES_NOT_GO), grace_seconds=600)
    stray["metadata"] |= {"labels": {"app": NAME}, "annotations": {KEY_VERSION: OLD}}
    cluster.admin.create(PODS, namespace, stray)
    until(lambda: started(cluster, namespace, "stray"), bool)
    restarted = restart(adapters, now())
    until(lambda: read(cluster, namespace), rolled_out)
    ledger = ledger_of(restarted)

    def look() -> tuple[str, str]:
        seen = rollout.check(adapters.cluster, STAMP, ledger, LIMIT, now())
        return seen["state"], seen["says"]

    listed = cluster.admin.get(PODS, namespace, "stray")
    assert "ownerReferences" not in listed["metadata"]
    assert look() == ("waiting", "2 of 2 new, 1 old; 1 old still there")
    cluster.admin.delete(PODS, namespace, "stray")
    assert look() == ("waiting", "2 of 2 new, 1 old terminating; 1 old still there")
    cluster.admin.delete(PODS, namespace, "stray", grace_seconds=0)
    until(look, lambda seen: seen == ("done", "2 of 2 new"))


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ({"type": "OnDelete"}, "update strategy OnDelete"),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, "update partition of 1"),
    ],
    ids=["OnDelete", "partition"],
)
def test_a_statefulset_that_would_keep_old_pods_is_refused_and_nothing_is_changed(
    cluster: ClusterUnderTest,
    namespace: str,
    adapters: Adapters,
    strategy: Json,
    named: str,
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace, updateStrategy=strategy)
    before, pods, asked = read(cluster, namespace), versions(cluster, namespace), patches(cluster)
    with pytest.raises(errors.ServiceKeepsOldPods, match=named):
        rollout.check_ready(adapters.cluster, SERVICE)
    assert patches(cluster) == asked
    after = read(cluster, namespace)
    assert (after["metadata"]["generation"], after["spec"]) == (
        before["metadata"]["generation"],
        before["spec"],
    )
    assert versions(cluster, namespace) == pods


def test_without_the_permission_the_error_names_it(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get")
    start(cluster, namespace)
    before = read(cluster, namespace)["metadata"]["generation"]
    with pytest.raises(errors.AccessDenied, match=r"`patch statefulsets` \(queue\)"):
        rollout.check_ready(adapters.cluster, SERVICE)
    assert read(cluster, namespace)["metadata"]["generation"] == before
