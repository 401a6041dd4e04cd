"""Restart a Deployment and judge its rollout.

A restart is one patch of the pod template, which stamps it with the run's key version; a template
that carries the stamp is not patched again, so that doing it twice starts one rollout. `verdict`
follows kubectl's rules in kubectl's order (polymorphichelpers/rollout_status.go) and goes on where
kubectl stops: "successfully rolled out" still leaves terminating pods that hold the old key, and
"waiting" hides pods that can never start. A rollout is done when no old pod is left at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from keyturn import errors
from keyturn.run import Run, moment, timestamp

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
KEY_VERSION = "keyturn/session-key-version"

# Why a new pod that waits will not start by itself (kubelet's waiting reasons).
HOPELESS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
CRASHES_ALLOWED = 2


@dataclass(frozen=True)
class Pod:
    """What matters of a pod: which key version it was made for, and how it fares."""

    name: str
    key_version: str | None
    terminating: bool = False
    waiting_reasons: tuple[str, ...] = ()
    restarts: int = 0


@dataclass(frozen=True)
class Deployment:
    """What matters of a Deployment and its status (apps/v1)."""

    name: str
    generation: int
    observed_generation: int
    paused: bool
    wanted: int
    total: int
    updated: int
    available: int
    key_version: str | None
    progress_reason: str | None = None
    refers_to_key: bool = True


@dataclass(frozen=True)
class Done:
    """Every wanted pod runs the new key and no other pod is left."""

    says: str


@dataclass(frozen=True)
class Waiting:
    """Not yet; `says` what for."""

    says: str


@dataclass(frozen=True)
class Failed:
    """It will not get better by waiting."""

    error: type[errors.Stop]
    says: str


Verdict = Done | Waiting | Failed


class Cluster(Protocol):
    """What a rollout needs of a Kubernetes cluster."""

    def deployment(self, name: str) -> Deployment:
        """Read a Deployment. Raises ServiceNotFound."""

    def pods(self, name: str) -> Sequence[Pod]:
        """Read the pods that a Deployment's selector matches."""

    def restart(self, name: str, annotations: dict[str, str], *, dry_run: bool) -> Deployment:
        """Patch the annotations of the pod template; with `dry_run`, only ask whether it could."""


def check_ready(cluster: Cluster, service: str) -> None:
    """Prove that a service could be restarted and would read the key; change nothing.

    Raises ServiceNotFound, ServicePaused, ServiceScaledToZero, KeyNotInjected, AccessDenied.
    """
    deployment = cluster.deployment(service)
    refuse_unready(deployment)
    if not deployment.refers_to_key:
        raise errors.KeyNotInjected(
            f"No container of Deployment {service} refers to the delivered key (env, envFrom or a"
            " volume), so a restart would not give it the new one. Nothing was changed."
        )
    cluster.restart(service, {KEY_VERSION: "dry-run"}, dry_run=True)


def restart(cluster: Cluster, run: Run, service: str, begun: datetime) -> dict[str, Any]:
    """Start the rollout of one service, or find that this run has started it.

    `begun` is when the run began: it makes the patch the same on every try. Returns the pods
    before and whether a restart was needed. Raises as `check_ready` does.
    """
    deployment = cluster.deployment(service)
    refuse_unready(deployment)
    before = [pod.name for pod in cluster.pods(service) if pod.key_version != run.rotation_id]
    if needed := deployment.key_version != run.rotation_id:
        annotations = {RESTARTED_AT: timestamp(begun), KEY_VERSION: run.rotation_id}
        cluster.restart(service, annotations, dry_run=False)
    return {"service": service, "restarted": needed, "podsBefore": sorted(before)}


def check(
    cluster: Cluster, run: Run, restarted: Mapping[str, Any], limit: timedelta, at: datetime
) -> dict[str, Any]:
    """Look once at a rollout that `restart` began.

    Returns `state` 'waiting' or 'done' with a sentence. Raises the error of a failed verdict.
    """
    service, started = restarted["service"], moment(restarted["startedAt"])
    deployment, pods = cluster.deployment(service), cluster.pods(service)
    answer = verdict(deployment, pods, run.rotation_id, deadline=started + limit, at=at)
    if isinstance(answer, Failed):
        raise answer.error(f"{service}: {answer.says}")
    return {
        "service": service,
        "state": "done" if isinstance(answer, Done) else "waiting",
        "says": answer.says,
        "replicas": deployment.wanted,
        "podsBefore": restarted["podsBefore"],
        "podsAfter": sorted(pod.name for pod in pods if pod.key_version == run.rotation_id),
        "startedAt": timestamp(started),
        "seconds": round((at - started).total_seconds(), 3),
    }


def verdict(
    deployment: Deployment, pods: Sequence[Pod], version: str, *, deadline: datetime, at: datetime
) -> Verdict:
    """Judge a rollout from what was seen of it. Pure."""
    old = [pod for pod in pods if pod.key_version != version]
    new = [pod for pod in pods if pod.key_version == version and not pod.terminating]
    counts = _counts(deployment, new, old)
    if failure := _failure(deployment, new, version):
        return Failed(failure.error, f"{counts}; {failure.says}")
    waiting = _kubectl_waits(deployment) or (f"{len(old)} old still there" if old else None)
    if not waiting:
        return Done(counts)
    if at >= deadline:
        return Failed(
            errors.RolloutOverdue,
            f"{counts}; {waiting} at the deadline. The pods stay as they are."
            " Look at their events: kubectl describe pods",
        )
    return Waiting(f"{counts}; {waiting}")


def refuse_unready(deployment: Deployment) -> None:
    """Raise ServicePaused or ServiceScaledToZero for a Deployment that would not roll out."""
    if unready := _unready(deployment):
        raise unready.error(unready.says)


def _unready(deployment: Deployment) -> Failed | None:
    name = deployment.name
    if deployment.paused:
        return Failed(
            errors.ServicePaused,
            f"Deployment {name} is paused, so a restart does not roll out. Resume it:"
            f" kubectl rollout resume deployment/{name}",
        )
    if deployment.wanted == 0:
        return Failed(
            errors.ServiceScaledToZero,
            f"Deployment {name} asks for 0 replicas, so nothing runs the new key."
            " Scale it up, or take it out of the stack's Services parameter.",
        )
    return None


def _kubectl_waits(deployment: Deployment) -> str | None:
    """Kubectl's reasons to wait, in kubectl's order."""
    if deployment.generation > deployment.observed_generation:
        return "the change is not observed yet"
    if deployment.updated < deployment.wanted:
        return f"{deployment.updated} of {deployment.wanted} updated"
    if deployment.total > deployment.updated:
        return f"{deployment.total - deployment.updated} old pending termination"
    if deployment.available < deployment.updated:
        return f"{deployment.available} of {deployment.updated} available"
    return None


def _failure(deployment: Deployment, new: Sequence[Pod], version: str) -> Failed | None:
    """Why waiting is of no use, if it is."""
    if deployment.key_version != version:
        return Failed(
            errors.RestartOverwritten,
            "the pod template no longer carries this run's version, so someone else changed it"
            " after our restart. Find who: kubectl rollout history",
        )
    if unready := _unready(deployment):
        return unready
    for pod in new:
        if hopeless := HOPELESS.intersection(pod.waiting_reasons):
            return Failed(
                errors.RolloutFailed,
                f"new pod {pod.name} cannot start: {', '.join(sorted(hopeless))}."
                f" See: kubectl describe pod {pod.name}",
            )
        if pod.restarts > CRASHES_ALLOWED:
            return Failed(
                errors.RolloutFailed,
                f"new pod {pod.name} crashed {pod.restarts} times. See: kubectl logs -p {pod.name}",
            )
    observed = deployment.generation <= deployment.observed_generation
    if observed and deployment.progress_reason == "ProgressDeadlineExceeded":
        return Failed(
            errors.RolloutFailed,
            "Kubernetes reports ProgressDeadlineExceeded. See: kubectl describe deployment",
        )
    return None


def _counts(deployment: Deployment, new: Sequence[Pod], old: Sequence[Pod]) -> str:
    """'2 of 3 new, 1 old, 1 old terminating'."""
    leaving = sum(pod.terminating for pod in old)
    parts = [f"{min(len(new), deployment.updated)} of {deployment.wanted} new"]
    if len(old) > leaving:
        parts.append(f"{len(old) - leaving} old")
    if leaving:
        parts.append(f"{leaving} old terminating")
    return ", ".join(parts)
