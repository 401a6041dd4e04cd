"""The restart of a StatefulSet, which Kubernetes' own StatefulSet controller carries out.

A StatefulSet ends its pods one by one, and each new one takes the old one's name.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.rollout import restart as rollout_restart
from keyturn.rollout.pod_annotations import KEY_VERSION
from keyturn.run.ledger import CheckRolloutEntry, RestartServiceEntry
from keyturn.run.times import format_timestamp, now
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
THE_THIRD_STAYS = (
    "import os, signal, time\n"
    "os.environ['HOSTNAME'].endswith('-2') and signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('started', flush=True)\n"
    "time.sleep(600)"
)

Restarted = rollout_restart.CountedPods[RestartServiceEntry]
Look = rollout_restart.CountedPods[CheckRolloutEntry]


@pytest.fixture
def cluster(real_cluster: ClusterUnderTest) -> ClusterUnderTest:
    """Only the real control plane has StatefulSets."""
    return real_cluster


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


def restart(adapters: Adapters, begun: datetime) -> Restarted:
    """Restart it, whatever its controller writes in between."""
    return insist(
        lambda: rollout_restart.restart_workload(
            adapters.cluster, STAMP, SERVICE, begun, still_on_top
        )
    )


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
    desired = {
        "serviceName": NAME,
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": template,
        **spec,
    }
    cluster.admin.create(STATEFUL_SETS, namespace, {"metadata": {"name": NAME}, "spec": desired})
    until(
        lambda: read(cluster, namespace),
        lambda found: found["status"].get("readyReplicas") == replicas,
    )


def read(cluster: ClusterUnderTest, namespace: str) -> Json:
    return cluster.admin.get(STATEFUL_SETS, namespace, NAME)


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
    desired = ("patch", STATEFUL_SETS.plural, NAME)
    return sum(tuple(entry[1:]) == desired for entry in cluster.running.audit)


def ledger_of(restarted: Restarted) -> Any:
    """What a run knows that began now and has restarted the service."""
    begun = {"startedAt": format_timestamp(now())}
    return {"start": begun, "restart_service": {**restarted.entry, **begun}}


def look_until_done(
    cluster: ClusterUnderTest,
    namespace: str,
    adapters: Adapters,
    restarted: Restarted,
) -> list[Look]:
    """Look at the rollout until it is done, and then at the pods that the server lists still."""
    ledger = ledger_of(restarted)
    looks: list[Look] = []

    def look() -> Look:
        looks.append(rollout_restart.check_rollout(adapters.cluster, STAMP, ledger, LIMIT, now()))
        ledger["check_rollout"] = looks[-1].entry
        return looks[-1]

    until(look, lambda seen: seen.entry["state"] == "done")
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
    rollout_restart.check_ready(adapters.cluster, SERVICE)
    restarted = restart(adapters, now())
    looks = look_until_done(cluster, namespace, adapters, restarted)
    assert restarted.entry["restarted"]
    assert looks[0].entry["state"] == "waiting"
    before, after = restarted.pods, looks[-1].pods
    assert (looks[-1].entry["podsBefore"], looks[-1].entry["podsAfter"]) == (2, 2)
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
    assert not again.entry["restarted"]
    assert (once, patches(cluster)) == (asked + 1, asked + 1)
    assert read(cluster, namespace)["metadata"]["generation"] == generation


def test_a_restart_waits_for_an_old_pod_that_was_scaled_away(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace, THE_THIRD_STAYS, replicas=3, podManagementPolicy="Parallel")
    until(lambda: started(cluster, namespace, f"{NAME}-2"), bool)
    cluster.admin.patch(STATEFUL_SETS, namespace, NAME, {"spec": {"replicas": 2}})
    restarted = restart(adapters, now())
    looks = look_until_done(cluster, namespace, adapters, restarted)
    assert "queue-2" in restarted.pods
    assert any("2 of 2 new, 1 old terminating" in look.entry["says"] for look in looks)


def test_a_stray_old_pod_that_nobody_owns_is_named_and_not_waited_for(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    """No restart of the StatefulSet replaces it, and nothing in the status speaks of it."""
    permit(cluster, namespace, STATEFUL_SETS, NAME, "get", "patch")
    start(cluster, namespace)
    stray = pod("stray", container(GOES_AT_ONCE))
    stray["metadata"] |= {"labels": {"app": NAME}, "annotations": {KEY_VERSION: OLD}}
    cluster.admin.create(PODS, namespace, stray)
    restarted = restart(adapters, now())
    assert restarted.pods.keys() == {f"{NAME}-0", f"{NAME}-1"}
    ledger = ledger_of(restarted)
    done = until(
        lambda: rollout_restart.check_rollout(adapters.cluster, STAMP, ledger, LIMIT, now()).entry,
        lambda seen: bool(seen["state"] == "done"),
    )
    assert done["notRestarted"] == "1 pod of another owner: stray (no controller)"
    assert done["podsAfter"] == len(restarted.pods)


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ({"type": "OnDelete"}, "update strategy OnDelete"),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, "update partition of 1"),
    ],
    ids=["OnDelete", "partition"],
)
def test_a_statefulset_that_would_keep_old_pods_is_refused_unchanged(
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
        rollout_restart.check_ready(adapters.cluster, SERVICE)
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
        rollout_restart.check_ready(adapters.cluster, SERVICE)
    assert read(cluster, namespace)["metadata"]["generation"] == before
