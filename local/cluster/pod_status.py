"""A pod's phase and conditions, from its containers' statuses. Pure.

Source: Kubernetes, "Pod Lifecycle", and `getPhase` in `pkg/kubelet/kubelet_pods.go`.
"""

from datetime import datetime

from local.cluster import timestamps
from local.cluster.resources import Json, Objects


def phase_of(statuses: Objects, restart_policy: str) -> str:
    """Return Pending until each container has run once, then Running until all ended for good."""
    states = [next(iter(one["state"])) for one in statuses]
    if any(
        state == "waiting" and "terminated" not in one["lastState"]
        for state, one in zip(states, statuses, strict=True)
    ):
        return "Pending"
    if restart_policy == "Always" or any(state != "terminated" for state in states):
        return "Running"
    codes = [one["state"]["terminated"]["exitCode"] for one in statuses]
    if any(codes) and restart_policy == "OnFailure":
        return "Running"
    return "Failed" if any(codes) else "Succeeded"


def status_of(pod: Json, statuses: Objects, before: Json, now: datetime) -> Json:
    """Return the status to record; `before` is the one recorded last."""
    unready = [one["name"] for one in statuses if not one["ready"]]
    why = (
        {}
        if not unready
        else {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    )
    ready = {"status": "False" if unready else "True", **why}
    conditions = [
        {"type": "Initialized", "status": "True"},
        {"type": "Ready", **ready},
        {"type": "ContainersReady", **ready},
        {"type": "PodScheduled", "status": "True"},
    ]
    known = {one["type"]: one for one in before.get("conditions", [])}
    return {
        "phase": phase_of(statuses, pod["spec"].get("restartPolicy", "Always")),
        "conditions": [_dated(one, known.get(one["type"]), now) for one in conditions],
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "startTime": before.get("startTime") or timestamps.to_seconds(now),
        "containerStatuses": statuses,
    }


def _dated(condition: Json, before: Json | None, now: datetime) -> Json:
    same = before is not None and before["status"] == condition["status"]
    moment = before["lastTransitionTime"] if before and same else timestamps.to_seconds(now)
    return {**condition, "lastTransitionTime": moment}
