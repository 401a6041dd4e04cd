"""The restart of an Argo Rollout, on both control planes, by a controller as Argo Rollouts' own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.rollout import inspection, restart
from keyturn.rollout.pod_annotations import Stamp
from keyturn.run.times import now
from local.argo_rollouts import HASH, ROLLOUTS, RolloutsController
from local.cluster.client import MERGE
from local.cluster.custom_resources import ANYTHING, installed
from local.cluster.resources import PODS, REPLICA_SETS, SECRETS, Json
from tests.conftest import NEW, OLD, STAMP
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.manifests import container, deployment
from tests.contract.restarting import Restarting
from tests.contract.rotation_adapters import (
    FIELD,
    signing_as,
    still_on_top,
)
from tests.contract.waiting import until

NAME, SERVICE = "web", "rollout/web"
LONG_AGO = "2020-01-01T00:00:00Z"
CANARY = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}
IDLE = container("print('started', flush=True)\nimport time; time.sleep(600)")
FROM_SECRET = container(
    env=[{"name": "VALUE", "valueFrom": {"secretKeyRef": {"name": "session-key", "key": FIELD}}}]
)
TEXT: Json = {"type": "string"}
MOMENT: Json = {"type": "string", "format": "date-time"}
COUNT: Json = {"type": "integer"}
# Of the original's schema the fields that are used here; a server prunes all others.
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "replicas": COUNT,
                "paused": {"type": "boolean"},
                "restartAt": MOMENT,
                "selector": ANYTHING,
                "template": ANYTHING,
                "strategy": ANYTHING,
                "workloadRef": ANYTHING,
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "observedGeneration": TEXT,
                "replicas": COUNT,
                "updatedReplicas": COUNT,
                "readyReplicas": COUNT,
                "availableReplicas": COUNT,
                "currentPodHash": TEXT,
                "stableRS": TEXT,
                "restartedAt": MOMENT,
                "phase": TEXT,
                "message": TEXT,
                "conditions": {"type": "array", "items": ANYTHING},
                "pauseConditions": {"type": "array", "items": ANYTHING},
            },
        },
    },
}


@pytest.fixture(scope="module")
def cluster(each_cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Both kinds of cluster, with Argo Rollouts' resource installed."""
    with installed(each_cluster.running, ROLLOUTS, SCHEMA):
        yield each_cluster


@pytest.fixture
def controller(cluster: ClusterUnderTest, namespace: str) -> Iterator[RolloutsController]:
    running = RolloutsController(cluster.admin, namespace)
    yield running
    running.close()


class Rotation(Restarting):
    """The restart of one Rollout, and the looks at it as the state machine takes them."""

    service = SERVICE

    def create(self, *, name: str = NAME, replicas: int = 2, **spec: Any) -> Json:
        """Create a Rollout; a part that is None is left out."""
        manifest = deployment(name, IDLE, replicas=replicas, strategy={"canary": {}})
        desired = {**manifest["spec"], **spec}
        manifest["spec"] = {part: value for part, value in desired.items() if value is not None}
        return self._cluster.admin.create(ROLLOUTS, self._namespace, manifest)

    def start(self, *, replicas: int = 2, **spec: Any) -> None:
        """Have the Rollout run under the old key."""
        self.create(replicas=replicas, **spec)
        until(self.read, lambda found: found.get("status", {}).get("phase") == "Healthy")

    def patch(self, change: Json, subresource: str = "") -> None:
        """Change the Rollout as somebody else does."""
        self._cluster.admin.patch(
            ROLLOUTS, self._namespace, NAME, change, content_type=MERGE, subresource=subresource
        )

    def read(self) -> Json:
        return self._cluster.admin.get(ROLLOUTS, self._namespace, NAME)

    def pods(self) -> dict[str, Json]:
        """Every pod that the server lists, by uid."""
        listed = self._cluster.admin.list(PODS, self._namespace, label_selector=f"app={NAME}")
        return {one["metadata"]["uid"]: one for one in listed}

    def replica_sets(self) -> dict[str, int]:
        """How many pods each ReplicaSet is to have."""
        found = self._cluster.admin.list(REPLICA_SETS, self._namespace)
        return {one["metadata"]["name"]: one["spec"]["replicas"] for one in found}

    def summary(self) -> str:
        return str(self.look()["says"])


@pytest.fixture
def rotation(cluster: ClusterUnderTest, namespace: str) -> Iterator[Rotation]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield Rotation(cluster, namespace)


@pytest.mark.usefixtures("controller")
def test_a_restart_is_done_when_every_pod_was_created_after_it(
    rotation: Rotation,
) -> None:
    rotation.start()
    old, sets = rotation.pods(), rotation.replica_sets()
    restart.check_ready(rotation.adapters.cluster, SERVICE)
    assert "restartAt" not in rotation.read()["spec"]
    restarted = rotation.restart()
    done = rotation.look_until_done()
    assert restarted["restarted"]
    assert set(rotation.pods_before.values()) == old.keys()
    new = rotation.pods()
    assert done["podsAfter"] == 2
    assert set(rotation.pods_after.values()) == new.keys()
    assert len(new) == 2
    assert not old.keys() & new.keys()
    assert rotation.replica_sets() == sets
    found = rotation.read()
    assert found["status"]["restartedAt"] == found["spec"]["restartAt"]
    assert (
        min(one["metadata"]["creationTimestamp"] for one in new.values())
        >= (found["spec"]["restartAt"])
    )


@pytest.mark.usefixtures("controller")
def test_a_restart_is_repeated_only_after_another_delivery(
    rotation: Rotation,
) -> None:
    rotation.start(replicas=1)
    rotation.restart()
    rotation.look_until_done()
    first = rotation.pods_after
    generation = rotation.read()["metadata"]["generation"]
    assert not rotation.restart()["restarted"]
    assert rotation.read()["metadata"]["generation"] == generation
    rotation.stamp = Stamp(STAMP.version, "9")
    rotation.restart()
    assert rotation.pods_before == first
    rotation.look_until_done()
    assert not set(first.values()) & set(rotation.pods_after.values())


@pytest.mark.usefixtures("controller")
def test_a_restart_in_a_paused_canary_replaces_all_pods_and_keeps_the_pause(
    rotation: Rotation,
) -> None:
    rotation.start(strategy=CANARY)
    rotation.patch({"spec": {"template": {"metadata": {"annotations": {"version": "two"}}}}})
    until(
        rotation.read,
        lambda found: (
            (found["status"]["phase"], found["status"]["availableReplicas"]) == ("Paused", 2)
        ),
    )
    old, sets = rotation.pods(), rotation.replica_sets()
    assert sorted(sets.values()) == [1, 1]
    rotation.restart()
    done = rotation.look_until_done()
    assert done["says"] == "2 of 2 new"
    new = rotation.pods()
    assert not old.keys() & new.keys()
    assert len({one["metadata"]["labels"][HASH] for one in new.values()}) == 2
    assert rotation.replica_sets() == sets
    assert rotation.read()["status"]["phase"] == "Paused"


def test_a_pod_from_before_the_restart_is_old_whatever_the_status_says(
    rotation: Rotation, controller: RolloutsController
) -> None:
    rotation.start(replicas=1)
    controller.may_evict.clear()
    rotation.restart()
    waits = "0 of 1 new, 1 old; Argo Rollouts has not restarted all pods yet"
    until(rotation.summary, lambda summary: summary == waits)
    restart_at = rotation.read()["spec"]["restartAt"]
    rotation.patch({"status": {"restartedAt": restart_at, "phase": "Healthy"}}, "status")
    assert rotation.summary() == "0 of 1 new, 1 old; 0 of 1 ready"
    rotation.patch({"status": {"restartedAt": None}}, "status")
    controller.resume()
    assert rotation.look_until_done()["says"] == "1 of 1 new"


def test_a_restart_that_no_controller_observes_is_waited_for(
    rotation: Rotation, controller: RolloutsController
) -> None:
    rotation.start(replicas=1)
    controller.close()
    rotation.restart()
    assert rotation.summary() == "0 of 1 new, 1 old; the change is not observed yet"


@pytest.mark.usefixtures("controller")
def test_a_restart_by_somebody_else_on_top_of_this_one_counts(rotation: Rotation) -> None:
    rotation.start(replicas=1)
    rotation.restart()
    rotation.look_until_done()
    later = datetime.fromisoformat(rotation.read()["spec"]["restartAt"]) + timedelta(seconds=1)
    until(now, lambda at: at > later)
    text = later.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    rotation.patch({"spec": {"restartAt": text}})
    until(rotation.read, lambda found: found["status"].get("restartedAt") == text)

    def created() -> list[str]:
        return [one["metadata"]["creationTimestamp"] for one in rotation.pods().values()]

    until(created, lambda found: len(found) == 1 and found[0] >= text)
    rotation.look_until_done()
    assert set(rotation.pods_after.values()) == rotation.pods().keys()
    assert rotation.read()["spec"]["restartAt"] == text


@pytest.mark.parametrize("restart_at", [LONG_AGO, None], ids=["earlier", "none"])
def test_a_restart_that_somebody_takes_back_is_named(
    rotation: Rotation, controller: RolloutsController, restart_at: str | None
) -> None:
    rotation.start(replicas=1)
    controller.may_evict.clear()
    rotation.restart()
    rotation.patch({"spec": {"restartAt": restart_at}})
    with pytest.raises(errors.RestartOverwritten, match="kubectl get rollout/web -o yaml"):
        rotation.look()


def test_a_restart_that_is_held_up_is_not_put_over_that_of_a_later_run(
    rotation: Rotation,
) -> None:
    rotation.create(replicas=1)
    later = Stamp("later", "9")

    def held_up() -> None:
        restart.restart_workload(rotation.adapters.cluster, later, SERVICE, now(), still_on_top)

    with pytest.raises(errors.DeliveryConflict, match="rollouts/web"):
        rotation.restart_once(held_up)
    assert later.is_on(rotation.adapters.cluster.workload(SERVICE))


@pytest.mark.usefixtures("controller")
def test_a_new_pod_that_cannot_start_fails_the_restart_at_once(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    held = {"metadata": {"name": "session-key"}, "stringData": {FIELD: "first"}}
    cluster.admin.create(SECRETS, namespace, held)
    template = deployment(NAME, FROM_SECRET)["spec"]["template"]
    rotation.start(replicas=2, template=template)
    restart.check_ready(rotation.adapters.reading_key, SERVICE)
    cluster.admin.delete(SECRETS, namespace, "session-key")
    rotation.restart()

    def refusal() -> str:
        try:
            return rotation.summary()
        except errors.RolloutFailed as refused:
            return str(refused)

    until(refusal, lambda summary: "CreateContainerConfigError" in summary)
    pods = rotation.adapters.cluster.pods(SERVICE)
    assert [one.key_version for one in pods if one.ready and not one.terminating] == [None]


@pytest.mark.usefixtures("controller")
def test_the_logs_and_the_counts_are_those_of_the_pods_from_after_the_restart(
    rotation: Rotation,
) -> None:
    rotation.start(replicas=1)
    adapter, since = rotation.adapters.cluster, now() - timedelta(minutes=5)
    before = adapter.of_restart(SERVICE, STAMP, since)
    assert (len(before.pods), list(before.stamped), list(before.logs)) == (1, [], [])
    rotation.restart()
    rotation.look_until_done()

    def lines() -> list[str]:
        found = adapter.of_restart(SERVICE, STAMP, since)
        assert list(found.pods) == list(found.stamped)
        return [line.text for log in found.logs if log.gets_key for line in log.lines]

    until(lines, lambda found: found == ["started"])
    assert inspection.count_stamps(adapter, [SERVICE], NEW) == {
        SERVICE: {"current": 1, "others": 0, "unstamped": 0}
    }
    assert inspection.count_stamps(adapter, [SERVICE], OLD)[SERVICE]["others"] == 1


@pytest.mark.parametrize(
    ("spec", "error", "named"),
    [
        ({"replicas": 0}, errors.ServiceScaledToZero, "Rollout web has 0 replicas"),
        ({"strategy": {}}, errors.ServiceKeepsOldPods, "condition InvalidSpec"),
        (
            {"template": None, "selector": None, "workloadRef": {"kind": "Deployment"}},
            errors.ServiceUnsupported,
            "workloadRef.* Nothing was changed",
        ),
    ],
    ids=["no replicas", "invalid", "workloadRef"],
)
@pytest.mark.usefixtures("controller")
def test_a_rollout_that_cannot_be_restarted_is_refused_and_nothing_is_changed(
    rotation: Rotation, spec: Json, error: type[errors.Stop], named: str
) -> None:
    rotation.create(**spec)
    before = until(rotation.read, lambda found: "observedGeneration" in found.get("status", {}))
    for attempt in (
        rotation.restart,
        lambda: restart.check_ready(rotation.adapters.cluster, SERVICE),
    ):
        with pytest.raises(error, match=named):
            attempt()
    assert rotation.read()["spec"] == before["spec"]


def test_a_rollout_that_does_not_read_the_key_is_refused(rotation: Rotation) -> None:
    rotation.create()
    with pytest.raises(errors.KeyNotInjected, match="Rollout web"):
        restart.check_ready(rotation.adapters.reading_key, SERVICE)


def test_without_the_permission_the_error_names_it_and_nothing_is_changed(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    rotation.create(name="seen-only")
    before = cluster.admin.get(ROLLOUTS, namespace, "seen-only")
    with pytest.raises(errors.AccessDenied, match=r"`patch rollouts` \(seen-only\)"):
        restart.check_ready(rotation.adapters.cluster, "rollout/seen-only")
    assert cluster.admin.get(ROLLOUTS, namespace, "seen-only") == before


def test_a_rollout_that_is_not_there_is_named(rotation: Rotation) -> None:
    with pytest.raises(errors.ServiceNotFound, match="rollouts/web"):
        rotation.adapters.cluster.workload(SERVICE)
