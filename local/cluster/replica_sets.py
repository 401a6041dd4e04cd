"""What a ReplicaSet needs next: pods to create, pods to delete, its status. Pure.

Source: Kubernetes, `pkg/controller/replicaset` and `ActivePodsWithRanks` of
`pkg/controller/controller_utils.go`. A pod that terminates, succeeded or failed does not count.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from local.cluster import timestamps
from local.cluster.resources import Json, Objects, owner_uid


@dataclass(frozen=True)
class ReplicaSetPlan:
    """How many pods to create, the names of pods to delete and to let go, the status to record.

    `look_again` is when the passing of time alone may change the plan.
    """

    create: int
    delete: tuple[str, ...]
    release: tuple[str, ...]
    status: Json
    look_again: datetime | None


def is_active(pod: Json) -> bool:
    """Whether a pod counts as a replica."""
    ended = pod["status"].get("phase") in {"Succeeded", "Failed"}
    return not ended and "deletionTimestamp" not in pod["metadata"]


def ready_since(pod: Json) -> datetime | None:
    """Return when the pod became ready, None if it is not."""
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return timestamps.parse(condition["lastTransitionTime"])
    return None


def plan_replica_set(replica_set: Json, pods: Objects, now: datetime) -> ReplicaSetPlan:
    """Decide from the replica set and all pods of its namespace."""
    spec, metadata = replica_set["spec"], replica_set["metadata"]
    owned = [pod for pod in pods if owner_uid(pod) == metadata["uid"] and is_active(pod)]
    active = [pod for pod in owned if _is_selected(replica_set, pod)]
    missing = int(spec["replicas"]) - len(active)
    surplus = sorted(active, key=_deletion_rank)[: max(0, -missing)]
    due = _available_from(active, int(spec.get("minReadySeconds", 0)))
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": len(active),
        "readyReplicas": len(due),
        "availableReplicas": sum(moment <= now for moment in due),
        "observedGeneration": metadata["generation"],
    }
    return ReplicaSetPlan(
        create=max(0, missing),
        delete=tuple(pod["metadata"]["name"] for pod in surplus),
        release=tuple(pod["metadata"]["name"] for pod in owned if pod not in active),
        status={key: value for key, value in status.items() if value or key == "replicas"},
        look_again=min((moment for moment in due if moment > now), default=None),
    )


def with_replica_failure(
    status: Json, replica_set: Json, refused: str | None, now: datetime
) -> Json:
    """The status with the condition that a pod could not be created, where one was `refused`."""
    if not refused:
        return status
    before = replica_failure(replica_set)
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": refused,
        "lastTransitionTime": timestamps.to_seconds(now),
    }
    return {**status, "conditions": [before or condition]}


def replica_failure(replica_set: Json) -> Json | None:
    """The condition that a pod of the replica set could not be created, None if there is none."""
    return next(iter(replica_set["status"].get("conditions", [])), None)


def _is_selected(replica_set: Json, pod: Json) -> bool:
    """Whether a pod still has the labels: one that lost them is let go (`ReleasePod`)."""
    labels = pod["metadata"].get("labels") or {}
    wanted: dict[str, str] = replica_set["spec"]["selector"]["matchLabels"]
    return wanted.items() <= labels.items()


def _available_from(pods: Objects, min_ready_seconds: int) -> list[datetime]:
    wait = timedelta(seconds=min_ready_seconds)
    return [since + wait for pod in pods if (since := ready_since(pod))]


def _deletion_rank(pod: Json) -> tuple[bool, int, bool, float]:
    """Sort first the pod that is missed least: unassigned, pending, not ready, newest."""
    phases = ("Pending", "Unknown", "Running")
    phase = pod["status"].get("phase", "Pending")
    since = ready_since(pod)
    return (
        bool(pod["spec"].get("nodeName")),
        phases.index(phase) if phase in phases else 0,
        since is not None,
        -(since.timestamp() if since else 0.0),
    )


def new_pod(replica_set: Json) -> Json:
    """Return the manifest of a further pod of the replica set."""
    template, metadata = replica_set["spec"]["template"], replica_set["metadata"]
    return {
        "metadata": {
            **template["metadata"],
            "generateName": f"{metadata['name']}-",
            "ownerReferences": [controller_reference(replica_set)],
        },
        "spec": template["spec"],
    }


def controller_reference(owner: Json) -> Json:
    """Return the owner reference that an owner's children carry."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
