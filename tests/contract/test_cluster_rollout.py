"""Rollouts of a Deployment, as kubectl and an operator see them."""

from local.cluster.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Json, Objects
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.manifests import container, deployment, restart, web_container
from tests.contract.waiting import condition, is_ready, until, wait_for_rollout, waiting_reason

STUBBORN = [{"name": "STUBBORN", "value": "yes"}]


def pods_of(cluster: ClusterUnderTest, namespace: str) -> Objects:
    return cluster.admin.list(PODS, namespace, label_selector="app=web")


def names(pods: Objects) -> set[str]:
    return {one["metadata"]["name"] for one in pods}


def roll_out(cluster: ClusterUnderTest, namespace: str, *containers: Json, **spec: object) -> Json:
    manifest = deployment("web", *containers, **spec)  # type: ignore[arg-type]
    cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    return wait_for_rollout(cluster, namespace, "web")


def test_a_new_deployment_becomes_available(cluster: ClusterUnderTest, namespace: str) -> None:
    done = roll_out(cluster, namespace, web_container())
    assert done["status"]["readyReplicas"] == 2
    assert condition(done, "Available")["reason"] == "MinimumReplicasAvailable"
    progressing = condition(done, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


def test_a_restart_replaces_every_pod(cluster: ClusterUnderTest, namespace: str) -> None:
    roll_out(cluster, namespace, web_container())
    old = names(pods_of(cluster, namespace))
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", restart("one"))
    done = wait_for_rollout(cluster, namespace, "web")
    gone = until(lambda: pods_of(cluster, namespace), lambda now: not names(now) & old)
    assert [
        one["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] for one in gone
    ] == [
        "one",
        "one",
    ]
    assert all(is_ready(one) for one in gone)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_a_rollout_keeps_to_its_bounds(cluster: ClusterUnderTest, namespace: str) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    done = roll_out(cluster, namespace, web_container(), replicas=3, strategy=strategy)
    sets = {one["metadata"]["name"]: one for one in cluster.admin.list(REPLICA_SETS, namespace)}
    stream = cluster.admin.watch(REPLICA_SETS, namespace, done["metadata"]["resourceVersion"])
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", restart("one"))
    desired, available = [], []
    for event in stream:
        sets[event["object"]["metadata"]["name"]] = event["object"]
        desired.append(sum(one["spec"]["replicas"] for one in sets.values()))
        available.append(sum(one["status"].get("availableReplicas", 0) for one in sets.values()))
        if len(sets) == 2 and (desired[-1], available[-1]) == (3, 3):
            break
    stream.close()
    assert max(desired) == 4
    assert min(available) == 3


def test_a_rollout_is_done_for_kubectl_while_old_pods_still_end(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    roll_out(cluster, namespace, web_container(env=STUBBORN), replicas=1)
    old = names(pods_of(cluster, namespace))
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", restart("one"))
    done = wait_for_rollout(cluster, namespace, "web")
    assert done["status"]["replicas"] == 1
    left = [one for one in pods_of(cluster, namespace) if one["metadata"]["name"] in old]
    assert [bool(one["metadata"].get("deletionTimestamp")) for one in left] == [True]
    for name in old:
        cluster.admin.delete(PODS, namespace, name, grace_seconds=0)


def test_a_paused_deployment_starts_no_rollout(cluster: ClusterUnderTest, namespace: str) -> None:
    roll_out(cluster, namespace, container(), replicas=1)
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", {"spec": {"paused": True}})
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", restart("one"))
    paused = until(
        lambda: cluster.admin.get(DEPLOYMENTS, namespace, "web"),
        lambda one: one["status"]["observedGeneration"] == one["metadata"]["generation"],
    )
    assert condition(paused, "Progressing")["reason"] == "DeploymentPaused"
    assert len(cluster.admin.list(REPLICA_SETS, namespace)) == 1
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", {"spec": {"paused": None}})
    wait_for_rollout(cluster, namespace, "web")
    assert len(cluster.admin.list(REPLICA_SETS, namespace)) == 2


def test_a_rollout_without_progress_exceeds_its_deadline(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    roll_out(cluster, namespace, container(), replicas=1, progressDeadlineSeconds=1)
    broken = {"name": "app", "image": "keyturn/missing:1"}
    patch = {"spec": {"template": {"spec": {"containers": [broken]}}}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", patch)
    stuck = until(
        lambda: cluster.admin.get(DEPLOYMENTS, namespace, "web"),
        lambda one: condition(one, "Progressing")["reason"] == "ProgressDeadlineExceeded",
    )
    assert condition(stuck, "Progressing")["status"] == "False"
    assert stuck["status"]["availableReplicas"] == 1
    reasons = {waiting_reason(one) for one in pods_of(cluster, namespace)} - {""}
    assert reasons <= {"ErrImagePull", "ImagePullBackOff"}
    assert reasons


def test_replicas_follow_the_spec_up_and_down(cluster: ClusterUnderTest, namespace: str) -> None:
    roll_out(cluster, namespace, container(), replicas=1)
    for desired in (3, 0):
        cluster.admin.patch(DEPLOYMENTS, namespace, "web", {"spec": {"replicas": desired}})
        wait_for_rollout(cluster, namespace, "web")
        until(lambda: len(pods_of(cluster, namespace)), lambda count, n=desired: count == n)  # type: ignore[misc]


def test_a_deleted_pod_is_replaced(cluster: ClusterUnderTest, namespace: str) -> None:
    roll_out(cluster, namespace, container(), replicas=1)
    (old,) = names(pods_of(cluster, namespace))
    cluster.admin.delete(PODS, namespace, old)
    until(lambda: pods_of(cluster, namespace), lambda now: len(now) == 1 and old not in names(now))


def test_a_pod_is_not_available_before_its_min_ready_seconds(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    manifest = deployment("web", container(), replicas=1, minReadySeconds=600)
    manifest["spec"]["progressDeadlineSeconds"] = 900
    cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    ready = until(
        lambda: cluster.admin.get(DEPLOYMENTS, namespace, "web"),
        lambda one: one["status"].get("readyReplicas") == 1,
    )
    assert "availableReplicas" not in ready["status"]
    assert condition(ready, "Available")["reason"] == "MinimumReplicasUnavailable"
