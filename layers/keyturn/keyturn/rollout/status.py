"""A workload and its pods, and the judgement of its rollout. Pure.

`judge_rollout` follows kubectl's rules in kubectl's order (polymorphichelpers/rollout_status.go),
then stricter ones: for kubectl a rollout is complete while terminating pods still hold the old key,
and it waits for pods that can never start. A rollout is done when no old pod is left at all. A
workload is a Deployment, a StatefulSet or an Argo Rollout.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from keyturn import errors
from keyturn.rollout.pod_annotations import Stamp
from keyturn.run.times import format_timestamp

# Reasons for which a waiting pod will not start by itself (kubelet's waiting reasons).
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
# A refusal to create pods may be transient: a webhook recovers, an old pod frees quota.
REFUSAL_LIMIT = timedelta(minutes=1)
# Reloader resumes by a timer, which is lost until the next change if Reloader restarts.
RESUME_LIMIT = timedelta(minutes=1)
OTHER_PODS_NAMED = 5
# By then the kubelet has retried a stuck pod (MaxContainerBackOff, pkg/kubelet/kubelet.go).
LONGEST_BACK_OFF = timedelta(minutes=5)


@dataclass(frozen=True)
class Pod:
    """The relevant fields of a pod: the key and delivery that it was created for, and its state.

    The uid distinguishes pods of one name, as in a StatefulSet. `crashed` is when one of its
    containers ended last, as far as Kubernetes knows. `other_owner` names the owner of a pod that
    the workload's selector matches and that belongs to another owner, 'ReplicaSet worker-7d4b'. A
    Rollout's pod has the annotations of the restart that it was created after.
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
    """The relevant fields of a Deployment, a StatefulSet (apps/v1) or a Rollout, and its status.

    `keeps_old` is why an update strategy would leave old pods; `settled` whether a StatefulSet's
    update revision is its current one, or a Rollout's controller has restarted its pods;
    `restarts_itself` whether Reloader restarts it as well, None if the Secret's annotations decide;
    `pause_period` how long Reloader then pauses it, and `resumes_at` when it ends a pause in force;
    `resource_version` changes with every change, its status included.
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
        """Its name in messages: 'Deployment web-console'."""
        return f"{self.kind} {self.name}"

    @property
    def argument(self) -> str:
        """Its name in kubectl: 'deployment/web-console'."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True)
class Done:
    """Every desired pod runs the new key and no other pod is left."""

    summary: str


@dataclass(frozen=True)
class Waiting:
    """Not done yet, and what is missing.

    `stalled`: Kubernetes reports no progress, unless its report is out of date.
    """

    summary: str
    stalled: bool = False


@dataclass(frozen=True)
class Failed:
    """Waiting cannot help."""

    error: type[errors.Stop]
    summary: str


Verdict = Done | Waiting | Failed


@dataclass(frozen=True)
class RolloutContext:
    """When a rollout is checked, its deadline, and whether it seemed stalled before.

    `begun` is when the run began: what happened to the pods of an earlier attempt does not count.
    """

    at: datetime
    deadline: datetime
    begun: datetime
    stalled_before: bool = False

    def is_of_this_run(self, moment: datetime | None) -> bool:
        """Whether a time of Kubernetes, in whole seconds, is not before the run."""
        return moment is None or moment >= self.begun.replace(microsecond=0)

    def may_be_tried_again(self, pod: Pod) -> bool:
        """Whether the kubelet may not have retried a stuck pod since the run began."""
        made_before = not self.is_of_this_run(pod.created)
        return made_before and self.at < self.begun + LONGEST_BACK_OFF


def judge_rollout(
    workload: Workload, pods: Sequence[Pod], stamp: Stamp, look: RolloutContext
) -> Verdict:
    """Judge a rollout from its observed state. Pure.

    Pods of another owner are ignored: a restart of the workload does not replace them.
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
    """Why a restart of the workload would not replace every pod, if so. Pure.

    A pause that Reloader ends is not one of the reasons.
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
            f"{workload.title} has 0 replicas, so nothing runs the new key."
            " Scale it up, or remove it from the stack's Services parameter.",
        )
    if workload.keeps_old:
        return Failed(
            errors.ServiceKeepsOldPods,
            f"{workload.title} has {workload.keeps_old}, so old pods stay after a restart."
            " Set its update strategy to replace all pods.",
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
    """Whether Kubernetes cannot create pods, and no pending change could make room for one.

    A pod that terminates, or that becomes available so that an old one can terminate, may free
    quota.
    """
    refusal, under_way = workload.pod_refusal, any(pod.terminating for pod in own)
    if not refusal or under_way or workload.available < workload.updated:
        return None
    stands = look.at - refusal.since >= REFUSAL_LIMIT
    return f"this has stood since {format_timestamp(refusal.since)}" if stands else None


def _where_to_look(workload: Workload) -> str:
    """The place where Kubernetes reports the cause: a pod that was never created has no events."""
    if workload.pod_refusal:
        return "kubectl describe replicasets; kubectl describe resourcequotas"
    if workload.updated < workload.desired:
        return f"kubectl describe {workload.argument}; kubectl describe replicasets"
    return f"kubectl describe {workload.argument}; kubectl describe pods"


def _stalled(workload: Workload) -> bool:
    """Whether Kubernetes gave the rollout up.

    The condition of an earlier rollout may still be set when a new one is observed, so one check
    alone does not count.
    """
    observed = workload.generation <= workload.observed_generation
    return observed and workload.progress_reason == "ProgressDeadlineExceeded"


def _controller_waits(workload: Workload, new: Sequence[Pod]) -> str | None:
    """The work that the workload's own controller still has to do."""
    return _argo_waits(workload, new) if workload.kind == "Rollout" else _kubectl_waits(workload)


def _argo_waits(workload: Workload, new: Sequence[Pod]) -> str | None:
    """The reasons to wait for a restart.

    An update in progress or paused is not waited for. `settled` is set with the last eviction, and
    the counters may be older. So the pods themselves are counted as well.
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
    """Why waiting cannot help, if it cannot."""
    if not stamp.is_on(workload) and workload.kind == "Rollout":
        return Failed(
            errors.RestartOverwritten,
            "spec.restartAt or the annotations are no longer this run's, so another writer"
            " changed them after the restart. Find it:"
            f" kubectl get {workload.argument} -o yaml --show-managed-fields",
        )
    if not stamp.is_on(workload):
        return Failed(
            errors.RestartOverwritten,
            "the pod template no longer has this run's annotations, so another writer changed"
            f" it after the restart. Find it: kubectl rollout history {workload.argument}",
        )
    if blocker := restart_blocker(workload, look.at):
        return blocker
    return next((failure for pod in new if (failure := _pod_failure(pod, look))), None)


def _pod_failure(pod: Pod, look: RolloutContext) -> Failed | None:
    """Why a new pod will not start by itself, if it will not."""
    terminal = TERMINAL_WAITING_REASONS.intersection(pod.waiting_reasons)
    if terminal and not look.may_be_tried_again(pod):
        return Failed(
            errors.RolloutFailed,
            f"new pod {pod.name} cannot start: {', '.join(sorted(terminal))}."
            f" See: kubectl describe pod {pod.name}",
        )
    if pod.restarts > CRASHES_ALLOWED and look.is_of_this_run(pod.crashed):
        return Failed(
            errors.RolloutFailed,
            f"new pod {pod.name} crashed (restarts: {pod.restarts})."
            f" See: kubectl logs -p {pod.name}",
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
