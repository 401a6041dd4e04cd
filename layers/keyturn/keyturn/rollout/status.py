"""A workload and its pods, and the verdict on its rollout. All of it is pure.

`verdict` follows kubectl's rules in kubectl's order (polymorphichelpers/rollout_status.go) and goes
on where kubectl stops: "successfully rolled out" still leaves terminating pods that hold the old
key, and "waiting" hides pods that can never start. A rollout is done when no old pod is left at
all. A workload is a Deployment, a StatefulSet or an Argo Rollout.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from keyturn import errors
from keyturn.rollout.pod_annotations import Stamp
from keyturn.run.times import format_timestamp

# Why a new pod that waits will not start by itself (kubelet's waiting reasons).
TERMINAL_WAITING_REASONS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
CRASHES_ALLOWED = 2
# A refusal to create pods may pass: a webhook comes back, an old pod makes room in the quota.
REFUSAL_LIMIT = timedelta(minutes=1)
# Reloader resumes by a timer, which a restart of its own loses until the next change.
RESUME_LIMIT = timedelta(minutes=1)
OTHER_PODS_NAMED = 5
# By then the kubelet has tried a stuck pod again (MaxContainerBackOff, pkg/kubelet/kubelet.go).
LONGEST_BACK_OFF = timedelta(minutes=5)


@dataclass(frozen=True)
class Pod:
    """What matters of a pod: which key and delivery it was made for, and how it fares.

    The uid tells it from another pod of its name: those of a StatefulSet come back. `crashed` is
    when a container of it ended last, as far as Kubernetes knows. `other_owner` names the owner of
    a pod that the workload's selector matches and that is not its own, 'ReplicaSet worker-7d4b'.
    A Rollout's pod has the stamp of the restart that it was created after.
    """

    name: str
    key_version: str | None
    terminating: bool = False
    waiting_reasons: tuple[str, ...] = ()
    restarts: int = 0
    uid: str = ""
    key_delivery: str | None = None
    created: datetime | None = None
    crashed: datetime | None = None
    other_owner: str | None = None
    ready: bool = False


@dataclass(frozen=True)
class PodRefusal:
    """That Kubernetes may not create pods (`ReplicaFailure`): why, and since when."""

    reason: str
    since: datetime


@dataclass(frozen=True)
class Workload:
    """What matters of a Deployment, a StatefulSet (apps/v1) or a Rollout, and of its status.

    `keeps_old` says why an update strategy would leave old pods; `settled` whether a StatefulSet's
    update revision is its current one, or a Rollout's controller has restarted its pods;
    `restarts_itself` whether Reloader restarts it as well, None where the Secret's annotations
    decide; `pause_period` how long Reloader then pauses it, and `resumes_at` when it ends such a
    pause that is in force;
    `resource_version` is another one after every change, its status included.
    """

    name: str
    generation: int
    observed_generation: int
    paused: bool
    desired: int
    total: int
    updated: int
    available: int
    key_version: str | None
    progress_reason: str | None = None
    refers_to_key: bool = True
    kind: Literal["Deployment", "StatefulSet", "Rollout"] = "Deployment"
    keeps_old: str | None = None
    settled: bool = True
    restarts_itself: bool | None = False
    key_delivery: str | None = None
    resource_version: str = ""
    pod_refusal: PodRefusal | None = None
    pause_period: timedelta | None = None
    resumes_at: datetime | None = None

    @property
    def title(self) -> str:
        """What people call it: 'Deployment web-console'."""
        return f"{self.kind} {self.name}"

    @property
    def argument(self) -> str:
        """What kubectl calls it: 'deployment/web-console'."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True)
class Done:
    """Every desired pod runs the new key and no other pod is left."""

    summary: str


@dataclass(frozen=True)
class Waiting:
    """Not yet, and what for.

    `stalled`: Kubernetes has given up, if that is not out of date.
    """

    summary: str
    stalled: bool = False


@dataclass(frozen=True)
class Failed:
    """It will not get better by waiting."""

    error: type[errors.Stop]
    summary: str


Verdict = Done | Waiting | Failed


@dataclass(frozen=True)
class RolloutContext:
    """When a rollout is looked at, by when it has to be done, whether it seemed stalled before.

    `begun` is when the run began: what happened to the pods of an earlier attempt does not count.
    """

    at: datetime
    deadline: datetime
    begun: datetime
    stalled_before: bool = False

    def is_of_this_run(self, moment: datetime | None) -> bool:
        """Whether a moment of Kubernetes', which are whole seconds, is not before the run."""
        return moment is None or moment >= self.begun.replace(microsecond=0)

    def may_be_tried_again(self, pod: Pod) -> bool:
        """Whether the kubelet may not have tried a stuck pod again since the run began."""
        made_before = not self.is_of_this_run(pod.created)
        return made_before and self.at < self.begun + LONGEST_BACK_OFF


def judge_rollout(
    workload: Workload, pods: Sequence[Pod], stamp: Stamp, look: RolloutContext
) -> Verdict:
    """Judge a rollout from what was seen of it. Pure.

    Pods of another owner are left out: a restart of the workload does not replace them.
    """
    own = own_pods(pods)
    old = [pod for pod in own if not stamp.is_on(pod)]
    new = [pod for pod in own if stamp.is_on(pod) and not pod.terminating]
    counts = _counts(workload, new, old)
    if failure := _failure(workload, new, stamp, look):
        return Failed(failure.error, f"{counts}; {failure.summary}")
    waiting = _waits(workload, new, old)
    if not waiting:
        return Done(counts)
    if look.at >= look.deadline:
        return Failed(
            errors.RolloutOverdue,
            f"{counts}; {waiting} at the deadline. The pods stay as they are."
            f" See the events: {_where_to_look(workload)}",
        )
    given_up = "Kubernetes reports ProgressDeadlineExceeded" if _stalled(workload) else None
    blocked = given_up or _blocked(workload, own, look)
    if blocked and look.stalled_before:
        return Failed(
            errors.RolloutFailed,
            f"{counts}; {waiting}; {blocked}. See: {_where_to_look(workload)}",
        )
    return Waiting(f"{counts}; {waiting}", bool(blocked))


def own_pods(pods: Iterable[Pod]) -> list[Pod]:
    """The pods that are the workload's own, by their controllers. Pure."""
    return [pod for pod in pods if not pod.other_owner]


def not_restarted(pods: Iterable[Pod]) -> str | None:
    """Name the pods that the selector matches and that belong to another owner. Pure.

    '2 pods of another owner: web-debug (no controller), worker-1 (ReplicaSet worker-7d4b)'.
    """
    others = [f"{pod.name} ({pod.other_owner})" for pod in pods if pod.other_owner]
    if not others:
        return None
    named = ", ".join(sorted(others)[:OTHER_PODS_NAMED])
    more = f" and {len(others) - OTHER_PODS_NAMED} more" if len(others) > OTHER_PODS_NAMED else ""
    return f"{len(others)} pod{'s' if len(others) > 1 else ''} of another owner: {named}{more}"


def restart_blocker(workload: Workload, at: datetime) -> Failed | None:
    """Why a restart of the workload would not replace every pod, if it would not. Pure.

    A pause that Reloader ends by itself is none of the reasons.
    """
    if workload.paused and not _resumes_by_itself(workload, at):
        late = workload.resumes_at
        return Failed(
            errors.ServicePaused,
            f"{workload.title} is paused, so a restart does not roll out."
            f"{f' Reloader had to resume it at {format_timestamp(late)}.' if late else ''} Resume"
            f" it: kubectl rollout resume {workload.argument}",
        )
    if workload.desired == 0:
        return Failed(
            errors.ServiceScaledToZero,
            f"{workload.title} asks for 0 replicas, so nothing runs the new key."
            " Scale it up, or take it out of the stack's Services parameter.",
        )
    if workload.keeps_old:
        return Failed(
            errors.ServiceKeepsOldPods,
            f"{workload.title} has {workload.keeps_old}, so old pods stay after a restart."
            " Let it roll out to all its pods.",
        )
    return None


def _resumes_by_itself(workload: Workload, at: datetime) -> bool:
    return workload.resumes_at is not None and at <= workload.resumes_at + RESUME_LIMIT


def _waits(workload: Workload, new: Sequence[Pod], old: Sequence[Pod]) -> str | None:
    """What the rollout waits for: a pause by Reloader, its controller, the last old pod."""
    if workload.paused and workload.resumes_at:
        return f"Reloader has paused it until {format_timestamp(workload.resumes_at)}"
    waiting = _controller_waits(workload, new) or (f"{len(old)} old still there" if old else None)
    if waiting and workload.pod_refusal:
        return f"{waiting}; Kubernetes may not create a pod ({workload.pod_refusal.reason})"
    return waiting


def _blocked(workload: Workload, own: Sequence[Pod], look: RolloutContext) -> str | None:
    """That Kubernetes is refused pods, and nothing is under way that could make room for one.

    A pod that ends, or one that becomes available so that an old one can end, may free a quota.
    """
    refusal, under_way = workload.pod_refusal, any(pod.terminating for pod in own)
    if not refusal or under_way or workload.available < workload.updated:
        return None
    stands = look.at - refusal.since >= REFUSAL_LIMIT
    return f"this has stood since {format_timestamp(refusal.since)}" if stands else None


def _where_to_look(workload: Workload) -> str:
    """Where Kubernetes tells why: of a pod that was never created, no pod has an event."""
    if workload.pod_refusal:
        return "kubectl describe replicasets; kubectl describe resourcequotas"
    if workload.updated < workload.desired:
        return f"kubectl describe {workload.argument}; kubectl describe replicasets"
    return f"kubectl describe {workload.argument}; kubectl describe pods"


def _stalled(workload: Workload) -> bool:
    """Whether Kubernetes gave the rollout up.

    The condition of an earlier rollout may still stand when a new one is observed, so one look
    alone does not count.
    """
    observed = workload.generation <= workload.observed_generation
    return observed and workload.progress_reason == "ProgressDeadlineExceeded"


def _controller_waits(workload: Workload, new: Sequence[Pod]) -> str | None:
    """What the workload's own controller has still to do."""
    return _argo_waits(workload, new) if workload.kind == "Rollout" else _kubectl_waits(workload)


def _argo_waits(workload: Workload, new: Sequence[Pod]) -> str | None:
    """What a restart waits for. An update that is under way or paused is not waited for.

    `settled` is set with the last eviction, and the counters may be older than that. So the pods
    themselves are counted as well.
    """
    ready = sum(pod.ready for pod in new)
    if workload.generation > workload.observed_generation:
        return "the change is not observed yet"
    if not workload.settled:
        return "Argo Rollouts has not restarted all pods yet"
    if ready < workload.desired:
        return f"{ready} of {workload.desired} ready"
    if workload.available < workload.desired:
        return f"{workload.available} of {workload.desired} available"
    return None


def _kubectl_waits(workload: Workload) -> str | None:
    """Kubectl's reasons to wait, in kubectl's order."""
    if workload.generation > workload.observed_generation:
        return "the change is not observed yet"
    if workload.updated < workload.desired:
        return f"{workload.updated} of {workload.desired} updated"
    if workload.total > workload.updated:
        return f"{workload.total - workload.updated} old pending termination"
    if workload.available < workload.updated:
        return f"{workload.available} of {workload.updated} available"
    if not workload.settled:
        return "the update revision is not the current one yet"
    return None


def _failure(
    workload: Workload, new: Sequence[Pod], stamp: Stamp, look: RolloutContext
) -> Failed | None:
    """Why waiting is of no use, if it is."""
    if not stamp.is_on(workload) and workload.kind == "Rollout":
        return Failed(
            errors.RestartOverwritten,
            "spec.restartAt or the annotations are no longer this run's, so someone else changed"
            " them after our restart. Find who:"
            f" kubectl get {workload.argument} -o yaml --show-managed-fields",
        )
    if not stamp.is_on(workload):
        return Failed(
            errors.RestartOverwritten,
            "the pod template no longer carries this run's stamp, so someone else changed it"
            f" after our restart. Find who: kubectl rollout history {workload.argument}",
        )
    if blocker := restart_blocker(workload, look.at):
        return blocker
    return next((failure for pod in new if (failure := _pod_failure(pod, look))), None)


def _pod_failure(pod: Pod, look: RolloutContext) -> Failed | None:
    """Why a new pod will not start by itself, if it will not."""
    hopeless = TERMINAL_WAITING_REASONS.intersection(pod.waiting_reasons)
    if hopeless and not look.may_be_tried_again(pod):
        return Failed(
            errors.RolloutFailed,
            f"new pod {pod.name} cannot start: {', '.join(sorted(hopeless))}."
            f" See: kubectl describe pod {pod.name}",
        )
    if pod.restarts > CRASHES_ALLOWED and look.is_of_this_run(pod.crashed):
        return Failed(
            errors.RolloutFailed,
            f"new pod {pod.name} crashed {pod.restarts} times. See: kubectl logs -p {pod.name}",
        )
    return None


def _counts(workload: Workload, new: Sequence[Pod], old: Sequence[Pod]) -> str:
    """'2 of 3 new, 1 old, 1 old terminating'."""
    leaving = sum(pod.terminating for pod in old)
    parts = [f"{min(len(new), workload.updated)} of {workload.desired} new"]
    if len(old) > leaving:
        parts.append(f"{len(old) - leaving} old")
    if leaving:
        parts.append(f"{leaving} old terminating")
    return ", ".join(parts)
