"""Argo Rollouts' controller of the local stack, as far as a rotation can tell it from the original.

A restart evicts, in every ReplicaSet of a Rollout, the pods from before `spec.restartAt`, as many
at a time as may be unavailable. An update makes a canary of the first step's weight and stays there
where the steps have a pause. The ReplicaSets are Kubernetes' own, so it runs on either control
plane.
Source: argo-rollouts, `rollout/restart.go`, `rollout/canary.go`, `utils/rollout/rolloututil.go`.
"""

import contextlib
import logging
import math
import threading
from dataclasses import dataclass
from datetime import datetime

import urllib3

from local.cluster import StatusError, timestamps
from local.cluster.client import MERGE, ClusterClient
from local.cluster.deployments import new_name, template_hash
from local.cluster.reflector import Reflector
from local.cluster.replica_sets import controller_reference, ready_since
from local.cluster.resources import PODS, REPLICA_SETS, STATUS, Json, Objects, Resource, owner_uid

log = logging.getLogger(__name__)

ROLLOUTS = Resource(
    "rollouts", "Rollout", group="argoproj.io", version="v1alpha1", subresources=STATUS
)
HASH = "rollouts-pod-template-hash"
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Restart:
    """The pods to evict now, and whether none is left after them."""

    evict: tuple[str, ...] = ()
    complete: bool = False


class RolloutsController:
    """Carries out the Rollouts of a namespace until `close`; evicts while `may_evict` is set."""

    def __init__(self, client: ClusterClient, namespace: str) -> None:
        self.may_evict = threading.Event()
        self.may_evict.set()
        self._client, self._namespace = client, namespace
        self._bell, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="argo-rollouts", daemon=True)
        self._thread.start()
        self._reflectors = [
            Reflector(client, resource, namespace, self._ring)
            for resource in (ROLLOUTS, REPLICA_SETS, PODS)
        ]

    def close(self) -> None:
        """Stop; what is held back stays undone."""
        for reflector in self._reflectors:
            reflector.close()
        self._closed.set()
        self._bell.set()
        self._thread.join()

    def resume(self) -> None:
        """Evict from now on."""
        self.may_evict.set()
        self._bell.set()

    def _ring(self, _kind: str, _item: Json) -> None:
        self._bell.set()

    def _run(self) -> None:
        wait: float | None = None
        while not self._closed.is_set():
            self._bell.wait(wait)
            self._bell.clear()
            try:
                moments = [self._reconcile(one, timestamps.now()) for one in self._rollouts()]
            except (StatusError, urllib3.exceptions.HTTPError) as error:
                log.info("Rollouts are looked at again: %s", error)
                wait = _PAUSE_SECONDS
                continue
            due = [(at - timestamps.now()).total_seconds() for at in moments if at]
            wait = max(0.0, min(due)) if due else None

    def _reconcile(self, rollout: Json, now: datetime) -> datetime | None:
        """Look at one and do what is due; returns when time alone makes something due."""
        if problem := invalid(rollout):
            self._write_status(rollout, refused(rollout, problem, now))
            return None
        sets = self._owned(REPLICA_SETS, {rollout["metadata"]["uid"]})
        for name, replicas in scale(rollout, sets).items():
            self._scale(rollout, sets, name, replicas)
        sets = self._owned(REPLICA_SETS, {rollout["metadata"]["uid"]})
        pods = self._owned(PODS, {one["metadata"]["uid"] for one in sets})
        restart = plan_restart(rollout, pods, now) if self.may_evict.is_set() else Restart()
        for name in restart.evict:
            with contextlib.suppress(StatusError):  # it is gone: the next look sees that
                self._client.delete(PODS, self._namespace, name)
        self._write_status(rollout, status_of(rollout, sets, restart, now))
        at = _moment(rollout["spec"].get("restartAt"))
        return at if at and at > now else None

    def _rollouts(self) -> Objects:
        kind = {"apiVersion": ROLLOUTS.api_version, "kind": ROLLOUTS.kind}  # a list says it once
        return [{**one, **kind} for one in self._client.list(ROLLOUTS, self._namespace)]

    def _owned(self, resource: Resource, owners: set[str]) -> Objects:
        return [
            one for one in self._client.list(resource, self._namespace) if owner_uid(one) in owners
        ]

    def _scale(self, rollout: Json, sets: Objects, name: str, replicas: int) -> None:
        known = next((one for one in sets if one["metadata"]["name"] == name), None)
        if known is None:
            self._client.create(REPLICA_SETS, self._namespace, new_replica_set(rollout, replicas))
        elif known["spec"]["replicas"] != replicas:
            change = {"spec": {"replicas": replicas}}
            self._client.patch(REPLICA_SETS, self._namespace, name, change)

    def _write_status(self, rollout: Json, status: Json) -> None:
        """Write what has changed, if nobody has written the Rollout since it was read."""
        before, metadata = rollout.get("status") or {}, rollout["metadata"]
        version = {"resourceVersion": metadata["resourceVersion"]}
        if any(before.get(field) != value for field, value in status.items()):
            self._client.patch(
                ROLLOUTS,
                self._namespace,
                metadata["name"],
                {"metadata": version, "status": status},
                content_type=MERGE,
                subresource="status",
            )


def invalid(rollout: Json) -> str:
    """Why the controller refuses a Rollout and does nothing with it, if it does."""
    spec = rollout["spec"]
    if not spec.get("template") or not spec.get("selector"):
        return "The Rollout has no template or selector of its own"
    strategy = spec.get("strategy") or {}
    return "" if len(strategy) == 1 else "The Rollout needs exactly one strategy"


def refused(rollout: Json, problem: str, now: datetime) -> Json:
    """The status of a Rollout with an invalid specification: all but the condition stays."""
    name = rollout["metadata"]["name"]
    message = f'The Rollout "{name}" is invalid: {problem}'
    known = (rollout.get("status") or {}).get("conditions") or []
    others = [one for one in known if one["type"] != "InvalidSpec"]
    before = next((one for one in known if one["type"] == "InvalidSpec"), None)
    refusal = before or _condition("InvalidSpec", "True", "InvalidSpec", message, now)
    return {
        "observedGeneration": str(rollout["metadata"]["generation"]),
        "phase": "Degraded",
        "message": f"InvalidSpec: {message}",
        "conditions": [*others, refusal],
    }


def scale(rollout: Json, sets: Objects) -> dict[str, int]:
    """How many pods each ReplicaSet is to have, by its name."""
    wanted, new = int(rollout["spec"].get("replicas", 1)), new_name(rollout)
    old = {one["metadata"]["name"]: 0 for one in sets if one["metadata"]["name"] != new}
    stable = _stable(rollout, sets)
    if stable in {None, new}:
        return {**old, new: wanted}
    if weight := _canary_weight(rollout):
        canary = math.ceil(wanted * weight / 100)
        return {**old, new: canary, str(stable): wanted - canary}
    updated = next((one for one in sets if one["metadata"]["name"] == new), None)
    if updated and updated["status"].get("availableReplicas", 0) >= wanted:
        return {**old, new: wanted}
    return {**old, new: wanted, str(stable): wanted}


def plan_restart(rollout: Json, pods: Objects, now: datetime) -> Restart:
    """Which pods a restart evicts now: `Reconcile` of `rollout/restart.go`."""
    spec = rollout["spec"]
    at = _moment(spec.get("restartAt"))
    if at is None or at == _restarted_at(rollout) or now <= at:
        return Restart()
    old = [one for one in pods if timestamps.parse(one["metadata"]["creationTimestamp"]) < at]
    leaving = [one for one in old if "deletionTimestamp" in one["metadata"]]
    available = sum("deletionTimestamp" not in one["metadata"] and _ready(one) for one in pods)
    wanted = int(spec.get("replicas", 1))
    at_once = max(int(spec["strategy"].get("canary", {}).get("maxUnavailable", wanted // 4)), 1)
    staying = [one["metadata"]["name"] for one in old if one not in leaving]
    evict = staying[: max(0, available - (wanted - at_once))]
    return Restart(tuple(evict), complete=len(old) == len(evict))


def status_of(rollout: Json, sets: Objects, restart: Restart, now: datetime) -> Json:
    """The status after a look; a part that is None is taken away."""
    spec, new, stable = rollout["spec"], new_name(rollout), _stable(rollout, sets)
    wanted = int(spec.get("replicas", 1))

    def total(field: str, *names: str) -> int:
        chosen = [one for one in sets if not names or one["metadata"]["name"] in names]
        return sum(int(one["status"].get(field, 0)) for one in chosen)

    updated, available = total("replicas", new), total("availableReplicas")
    promoted = stable in {None, new} or (
        not _canary_weight(rollout) and total("availableReplicas", new) >= wanted
    )
    current = template_hash(rollout)
    status: Json = {
        "observedGeneration": str(rollout["metadata"]["generation"]),
        "replicas": total("replicas"),
        "updatedReplicas": updated,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "currentPodHash": current,
        "stableRS": current if promoted else str(stable).rpartition("-")[2],
        "pauseConditions": None if promoted else [{"reason": "CanaryPauseStep"}],
        "restartedAt": spec.get("restartAt") if restart.complete else _restarted_text(rollout),
    }
    status["phase"], status["message"] = _phase(spec, status, wanted)
    if status["phase"] == "Healthy":
        progress = ("True", "NewReplicaSetAvailable", "every pod is available")
    else:
        progress = ("True", "ReplicaSetUpdated", "pods are not all available")
    status["conditions"] = [_dated(rollout, _condition("Progressing", *progress, now))]
    return status


def new_replica_set(rollout: Json, replicas: int) -> Json:
    """The manifest of the ReplicaSet of the template as it is now."""
    spec, label = rollout["spec"], {HASH: template_hash(rollout)}
    template = spec["template"]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **label}
    return {
        "metadata": {
            "name": new_name(rollout),
            "labels": labels,
            "ownerReferences": [controller_reference(rollout)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {**spec["selector"]["matchLabels"], **label}},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }


def _phase(spec: Json, status: Json, wanted: int) -> tuple[str, str | None]:
    """`CalculateRolloutPhase`, without analyses and services."""
    rules: list[tuple[bool, str, str]] = [
        (bool(spec.get("paused")), "Paused", "manually paused"),
        (bool(status["pauseConditions"]), "Paused", "CanaryPauseStep"),
        (spec.get("restartAt") != status["restartedAt"], "Progressing", "rollout is restarting"),
        (
            status["updatedReplicas"] < wanted,
            "Progressing",
            "more replicas need to be updated",
        ),
        (
            status["availableReplicas"] < status["updatedReplicas"],
            "Progressing",
            "updated replicas are still becoming available",
        ),
        (
            status["replicas"] > status["updatedReplicas"],
            "Progressing",
            "old replicas are pending termination",
        ),
    ]
    return next(((phase, why) for holds, phase, why in rules if holds), ("Healthy", None))


def _stable(rollout: Json, sets: Objects) -> str | None:
    """The name of the stable ReplicaSet, if there is one."""
    known = (rollout.get("status") or {}).get("stableRS")
    name = f"{rollout['metadata']['name']}-{known}"
    return name if any(one["metadata"]["name"] == name for one in sets) else None


def _canary_weight(rollout: Json) -> int:
    """The weight at which an update stops for a pause, 0 where it does not."""
    steps = (rollout["spec"]["strategy"].get("canary") or {}).get("steps") or []
    pauses = any("pause" in step for step in steps)
    weights: list[int] = [int(step["setWeight"]) for step in steps if "setWeight" in step]
    return weights[0] if pauses and weights else 0


def _ready(pod: Json) -> bool:
    return ready_since(pod) is not None


def _restarted_text(rollout: Json) -> str | None:
    text: str | None = (rollout.get("status") or {}).get("restartedAt")
    return text


def _restarted_at(rollout: Json) -> datetime | None:
    return _moment(_restarted_text(rollout))


def _moment(text: str | None) -> datetime | None:
    return timestamps.parse(text) if text else None


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Json:
    moment = timestamps.to_seconds(now)
    dates = {"lastUpdateTime": moment, "lastTransitionTime": moment}
    return {"type": kind, "status": status, "reason": reason, "message": message, **dates}


def _dated(rollout: Json, condition: Json) -> Json:
    """The condition, with the times of the one that is there if it says the same."""
    known = (rollout.get("status") or {}).get("conditions") or []
    before: Json = next((one for one in known if one["type"] == condition["type"]), {})
    same = (before.get("status"), before.get("reason")) == (
        condition["status"],
        condition["reason"],
    )
    return before if same else condition
