"""A Deployment's status: its counters and conditions as `kubectl rollout status` reads them. Pure.

Source: Kubernetes, `pkg/controller/deployment/sync.go` (calculateStatus) and `progress.go`. Pods
that terminate are in no counter, exactly as on a real cluster.
"""

from datetime import datetime, timedelta

from local.cluster import timestamps
from local.cluster.deployments import Family, bounds_of
from local.cluster.replica_sets import replica_failure
from local.cluster.resources import Json

_NO_DEADLINE = 2**31 - 1

CREATED = "NewReplicaSetCreated"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"


def status_of(family: Family, now: datetime) -> Json:
    """Return the status to record, from the one on record and the replica sets."""
    deployment, old_status = family.deployment, family.deployment["status"]
    counters = _counters(family)
    status = {
        "observedGeneration": deployment["metadata"]["generation"],
        **{key: value for key, value in counters.items() if value},
    }
    conditions = [_available(family, counters["availableReplicas"])]
    progressing = _progressing(family, counters, now)
    if progressing:
        conditions.append(progressing)
    if failure := _replica_failure(family):
        conditions.append(failure)
    before = {one["type"]: one for one in old_status.get("conditions", [])}
    status["conditions"] = [_dated(one, before.get(one["type"]), now) for one in conditions]
    return status


def deadline_of(deployment: Json) -> datetime | None:
    """Return when the rollout counts as stuck if nothing moves before; None if it does not."""
    seconds = int(deployment["spec"]["progressDeadlineSeconds"])
    current = _condition(deployment, "Progressing")
    if seconds == _NO_DEADLINE or not current or current["reason"] in {COMPLETE, TIMED_OUT, PAUSED}:
        return None
    return timestamps.parse(current["lastUpdateTime"]) + timedelta(seconds=seconds)


def _counters(family: Family) -> dict[str, int]:
    def total(field: str) -> int:
        return sum(int(one["status"].get(field, 0)) for one in family.replica_sets)

    wanted = sum(int(one["spec"]["replicas"]) for one in family.replica_sets)
    available = total("availableReplicas")
    return {
        "replicas": total("replicas"),
        "updatedReplicas": int(family.new["status"].get("replicas", 0)) if family.new else 0,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }


def _available(family: Family, available: int) -> Json:
    if available >= bounds_of(family.deployment).at_least:
        message = "Deployment has minimum availability."
        return _new("Available", "True", "MinimumReplicasAvailable", message)
    message = "Deployment does not have minimum availability."
    return _new("Available", "False", "MinimumReplicasUnavailable", message)


def _replica_failure(family: Family) -> Json | None:
    """The condition of the new replica set, or of an old one (getReplicaFailures)."""
    newest_first = [*([family.new] if family.new else []), *family.old]
    failure = next(filter(None, map(replica_failure, newest_first)), None)
    return failure and {**failure, "lastUpdateTime": failure["lastTransitionTime"]}


def _progressing(family: Family, counters: dict[str, int], now: datetime) -> Json | None:
    deployment, current = family.deployment, _condition(family.deployment, "Progressing")
    reason = current["reason"] if current else ""
    if int(deployment["spec"]["progressDeadlineSeconds"]) == _NO_DEADLINE:
        return None
    if deployment["spec"].get("paused"):
        paused = _new("Progressing", "Unknown", PAUSED, "Deployment is paused")
        return current if reason in {TIMED_OUT, PAUSED} else paused
    if reason == PAUSED:
        return _new("Progressing", "Unknown", RESUMED, "Deployment is resumed")
    if family.new is None:
        return current
    return _rolling(deployment, current, family.new["metadata"]["name"], counters, now)


def _rolling(
    deployment: Json, current: Json | None, name: str, counters: dict[str, int], now: datetime
) -> Json:
    """The condition of a deployment whose replica set `name` is the new one."""
    if _is_complete(deployment, counters):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return _new("Progressing", "True", COMPLETE, message)
    if current is None or (current["reason"] != RESUMED and f'"{name}"' not in current["message"]):
        return _new("Progressing", "True", CREATED, f'Created new replica set "{name}"')
    return _moving(deployment, current, name, counters, now)


def _moving(
    deployment: Json, current: Json, name: str, counters: dict[str, int], now: datetime
) -> Json:
    """Return the condition of a rollout that began and is not complete."""
    if current["reason"] == COMPLETE:  # a finished rollout does not begin again when a pod fails
        return current
    if _has_moved(deployment["status"], counters):
        return _new("Progressing", "True", UPDATED, f'ReplicaSet "{name}" is progressing.')
    deadline = deadline_of(deployment)
    if deadline and deadline <= now:
        message = f'ReplicaSet "{name}" has timed out progressing.'
        return _new("Progressing", "False", TIMED_OUT, message)
    return current


def _is_complete(deployment: Json, counters: dict[str, int]) -> bool:
    counted = ("updatedReplicas", "replicas", "availableReplicas")
    return all(counters[one] == deployment["spec"]["replicas"] for one in counted)


def _has_moved(before: Json, counters: dict[str, int]) -> bool:
    def was(field: str) -> int:
        return int(before.get(field, 0))

    old_before = was("replicas") - was("updatedReplicas")
    return (
        any(
            counters[one] > was(one)
            for one in ("updatedReplicas", "readyReplicas", "availableReplicas")
        )
        or counters["replicas"] - counters["updatedReplicas"] < old_before
    )


def _condition(deployment: Json, kind: str) -> Json | None:
    conditions = deployment["status"].get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), None)


def _new(kind: str, status: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _dated(condition: Json, before: Json | None, now: datetime) -> Json:
    """Date a new condition: its last change of status, and the last time that anything moved."""
    if "lastUpdateTime" in condition:  # it is the one on record
        return condition
    moment = timestamps.to_seconds(now)
    dated = {**condition, "lastTransitionTime": moment, "lastUpdateTime": moment}
    if before and before["status"] == condition["status"]:
        dated["lastTransitionTime"] = before["lastTransitionTime"]
        if before["reason"] == condition["reason"] != UPDATED:
            dated["lastUpdateTime"] = before["lastUpdateTime"]
    return dated
