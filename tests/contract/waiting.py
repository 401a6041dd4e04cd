"""What the contract tests wait for, never longer than the deadline, and what a status says."""

import time
from collections.abc import Callable
from typing import TypeVar

from keyturn import errors
from local.cluster.resources import DEPLOYMENTS, PODS, Json
from tests.contract.cluster_under_test import ClusterUnderTest

T = TypeVar("T")

DEADLINE_SECONDS = 20.0


def until(facts: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """Read facts until they hold; fail with the last ones."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds(found := facts()):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def insist(call: Callable[[], T]) -> T:
    """Call again while a controller writes first, as the state machine does."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return call()
        except errors.DeliveryConflict:
            assert time.monotonic() < deadline, "somebody else writes all the time"


def rolled_out(item: Json) -> bool:
    """Kubectl's rules, in kubectl's order (rollout_status.go)."""
    status, desired = item["status"], item["spec"]["replicas"]
    updated = status.get("updatedReplicas", 0)
    rules = (
        status.get("observedGeneration", 0) >= item["metadata"]["generation"],
        updated >= desired,
        status.get("replicas", 0) <= updated,
        status.get("availableReplicas", 0) >= updated,
    )
    return all(rules)


def wait_for_rollout(cluster: ClusterUnderTest, namespace: str, name: str) -> Json:
    return until(lambda: cluster.admin.get(DEPLOYMENTS, namespace, name), rolled_out)


def wait_for_pod(
    cluster: ClusterUnderTest, namespace: str, name: str, holds: Callable[[Json], bool]
) -> Json:
    return until(lambda: cluster.admin.get(PODS, namespace, name), holds)


def condition(item: Json, kind: str) -> Json:
    conditions = item["status"].get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {"status": "", "reason": ""})


def managers(item: Json) -> set[str]:
    """Who has written an object, as it says itself."""
    return {entry["manager"] for entry in item["metadata"]["managedFields"]}


def is_ready(item: Json) -> bool:
    status: str = condition(item, "Ready")["status"]
    return status == "True"


def waiting_reason(item: Json) -> str:
    statuses = item["status"].get("containerStatuses") or [{"state": {}}]
    return str(statuses[0]["state"].get("waiting", {}).get("reason", ""))
