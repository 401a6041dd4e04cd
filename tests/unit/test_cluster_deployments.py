"""The Deployment controller's decisions, played out without a cluster or a clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cluster import quotas, timestamps
from local.cluster.deployment_status import status_of
from local.cluster.deployments import Family, bounds_of, plan_deployment
from local.cluster.replica_sets import plan_replica_set, with_replica_failure
from local.cluster.resources import Json, Objects

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def deployment(replicas: int, surge: int | str, unavailable: int | str) -> Json:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "uid": "d", "generation": 2},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
        },
        "status": {},
    }


def settled(replica_set: Json, available: int) -> Json:
    """The replica set with all its pods there, and so many of them available."""
    status = {"replicas": replica_set["spec"]["replicas"], "availableReplicas": available}
    return {**replica_set, "status": status}


def old_replica_set(item: Json) -> Json:
    created = plan_deployment(Family(item, [])).create
    assert created
    metadata = {**created["metadata"], "name": "web-old"}
    replica_set = {**created, "metadata": metadata}
    return settled(replica_set, created["spec"]["replicas"])


def play(item: Json, sets: Objects) -> tuple[int, int, int]:
    """Play a rollout in which every pod becomes available at once; (most, fewest, steps)."""
    most, fewest, steps = 0, item["spec"]["replicas"], 0
    while not (step := plan_deployment(Family(item, sets))).empty:
        steps += 1
        assert steps < 100, "the rollout does not end"
        if step.create:
            sets = [*sets, settled(step.create, 0)]
        for one in sets:
            if one["metadata"]["name"] in step.scale:
                one["spec"]["replicas"] = step.scale[one["metadata"]["name"]]
            available = min(one["spec"]["replicas"], one["status"].get("availableReplicas", 0))
            one["status"]["availableReplicas"] = available
        most = max(most, sum(one["spec"]["replicas"] for one in sets))
        fewest = min(fewest, sum(one["status"]["availableReplicas"] for one in sets))
        sets = [settled(one, one["spec"]["replicas"]) for one in sets]
    left = {one["metadata"]["name"]: one["spec"]["replicas"] for one in sets}
    assert left.pop("web-old") == 0
    assert list(left.values()) == [item["spec"]["replicas"]]
    return most, fewest, steps


share = st.integers(0, 4) | st.integers(0, 100).map(lambda number: f"{number}%")


@given(st.integers(1, 12), share, share)
def test_every_rollout_ends_and_keeps_to_its_bounds(
    replicas: int, surge: int | str, unavailable: int | str
) -> None:
    item = deployment(replicas, surge, unavailable)
    bounds = bounds_of(item)
    most, fewest, _ = play(item, [old_replica_set(item)])
    assert most <= bounds.at_most
    assert fewest >= bounds.at_least


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "bounds"),
    [
        (4, "25%", "25%", (5, 3)),
        (3, "25%", "25%", (4, 3)),
        (1, "25%", "25%", (2, 1)),
        (10, 2, 1, (12, 9)),
        (2, 0, "10%", (2, 1)),
    ],
)
def test_surge_rounds_up_and_unavailable_rounds_down(
    replicas: int, surge: int | str, unavailable: int | str, bounds: tuple[int, int]
) -> None:
    found = bounds_of(deployment(replicas, surge, unavailable))
    assert (found.at_most, found.at_least) == bounds


def test_a_rollout_without_progress_times_out_and_stays_so() -> None:
    item = deployment(2, 1, 0)
    created = plan_deployment(Family(item, [])).create
    assert created
    family = Family(item, [settled(created, 0)])
    reasons = []
    for seconds in (0, 1, 599, 605, 700):
        item["status"] = status_of(family, NOON + timedelta(seconds=seconds))
        conditions = {one["type"]: one for one in item["status"]["conditions"]}
        reasons.append(conditions["Progressing"]["reason"])
    assert reasons == [
        "NewReplicaSetCreated",
        "NewReplicaSetCreated",
        "NewReplicaSetCreated",
        "ProgressDeadlineExceeded",
        "ProgressDeadlineExceeded",
    ]


def pod(name: str, *, ready: datetime | None = None, deleted: bool = False) -> Json:
    reference = {"uid": "r", "controller": True}
    metadata: Json = {"name": name, "labels": {"app": "web"}, "ownerReferences": [reference]}
    if deleted:
        metadata["deletionTimestamp"] = timestamps.to_seconds(NOON)
    conditions = []
    if ready:
        moment = timestamps.to_seconds(ready)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": moment}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": "laptop"},
        "status": {"phase": "Running", "conditions": conditions},
    }


def replica_set(replicas: int, **spec: int) -> Json:
    metadata = {"name": "web-1", "uid": "r", "generation": 1}
    selector = {"matchLabels": {"app": "web"}}
    desired = {"replicas": replicas, "selector": selector, **spec}
    return {"metadata": metadata, "spec": desired, "status": {}}


def test_a_pod_that_terminates_is_replaced_and_not_counted() -> None:
    plan = plan_replica_set(replica_set(2), [pod("a", ready=NOON), pod("b", deleted=True)], NOON)
    assert plan.create == 1
    assert plan.status["replicas"] == 1


def test_of_surplus_pods_the_one_that_is_not_ready_goes_first() -> None:
    plan = plan_replica_set(replica_set(1), [pod("a", ready=NOON), pod("b")], NOON)
    assert plan.delete == ("b",)


def test_a_ready_pod_is_available_after_min_ready_seconds() -> None:
    item, pods = replica_set(1, minReadySeconds=10), [pod("a", ready=NOON)]
    early = plan_replica_set(item, pods, NOON + timedelta(seconds=9))
    assert early.status.get("availableReplicas", 0) == 0
    assert early.look_again == NOON + timedelta(seconds=10)
    late = plan_replica_set(item, pods, NOON + timedelta(seconds=10))
    assert late.status["availableReplicas"] == 1
    assert late.look_again is None


def test_a_pod_that_lost_its_label_is_let_go_and_replaced() -> None:
    renamed = pod("a", ready=NOON)
    renamed["metadata"]["labels"] = {"app": "other"}
    plan = plan_replica_set(replica_set(2), [renamed, pod("b", ready=NOON)], NOON)
    assert (plan.create, plan.delete, plan.release) == (1, (), ("a",))


def test_a_refused_pod_is_a_condition_until_one_is_created() -> None:
    item = replica_set(1)
    first = with_replica_failure({"replicas": 0}, item, "exceeded quota: q", NOON)
    (condition,) = first["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    later = with_replica_failure({}, {**item, "status": first}, "again", NOON + timedelta(hours=1))
    assert later["conditions"] == [condition]
    assert with_replica_failure({}, {**item, "status": first}, None, NOON) == {}


@pytest.mark.parametrize(
    ("phases", "limit", "refused"),
    [(["Running"], "1", True), (["Running"], "2", False), (["Succeeded", "Failed"], "1", False)],
)
def test_a_quota_counts_the_pods_that_have_not_ended(
    phases: list[str], limit: str, refused: bool
) -> None:
    item = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": limit}}}
    pods = [{"status": {"phase": phase}} for phase in phases]
    said = quotas.refusal([item], pods)
    counts = f"requested: pods=1, used: pods={len(phases)}, limited: pods={limit}"
    assert said == (f"exceeded quota: q, {counts}" if refused else None)
    used = str(quotas.used_pods(pods))
    assert quotas.status_of_quota(item, pods) == {"hard": {"pods": limit}, "used": {"pods": used}}
