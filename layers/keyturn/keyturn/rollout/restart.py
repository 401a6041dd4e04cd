"""Restart a workload and check its rollout.

A restart is one patch of the pod template, which annotates it with the run's key version and with
the revision of the delivered object. A template that already has the annotations is not patched
again, so a repeated restart starts one rollout. If the key had to be delivered again, the
annotations differ. An Argo Rollout is annotated itself, with the moment after which its pods must
be created.

The ledger counts pods and never names them: its size does not grow with the fleet. The functions
log the names.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from keyturn import errors
from keyturn.rollout.pod_annotations import KEY_VERSION, Stamp
from keyturn.rollout.status import (
    Done,
    Failed,
    Pod,
    RolloutContext,
    Waiting,
    Workload,
    judge_rollout,
    not_restarted,
    own_pods,
    restart_blocker,
)
from keyturn.run.ledger import (
    CheckRolloutEntry,
    Ledger,
    RestartServiceEntry,
    restart_of,
    started_at,
)
from keyturn.run.times import format_timestamp, now, parse_timestamp

Entry = TypeVar("Entry", RestartServiceEntry, CheckRolloutEntry)
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True)
class CountedPods(Generic[Entry]):
    """An entry of the ledger, and the pods that it counts: each one's uid by its name.

    Those of a StatefulSet have the same names before and after.
    """

    entry: Entry
    pods: dict[str, str]


class Cluster(Protocol):
    """The operations on a Kubernetes cluster that a rollout needs."""

    def workload(self, service: str) -> Workload:
        """Read a Deployment, or a `statefulset/name` or `rollout/name`.

        Raises ServiceNotFound, ServiceUnsupported.
        """

    def pods(self, service: str) -> Sequence[Pod]:
        """Read the pods that a workload's selector matches; those of other owners are marked."""

    def restart(
        self, service: str, annotations: dict[str, str], resource_version: str, *, dry_run: bool
    ) -> Workload:
        """Patch the annotations of the pod template, if the workload is unchanged since the read.

        A Rollout is asked to restart the pods from before RESTARTED_AT, and annotated itself.
        With `dry_run`, only check whether that is possible. Raises DeliveryConflict.
        """

    def secret_matches_reloader(self) -> bool | None:
        """Whether a Reloader that searches finds the Secret; None if that cannot be determined."""


def check_ready(cluster: Cluster, service: str) -> str | None:
    """Verify that a service could be restarted and would read the key; change nothing.

    Returns notes, which do not stop a rotation: pods that a restart does not replace, and a pause
    by Reloader. Raises ServiceNotFound, ServiceUnsupported, ServicePaused, ServiceScaledToZero,
    ServiceKeepsOldPods, KeyNotInjected, RolloutFailed, AccessDenied, DeliveryConflict.
    """
    workload, pods = cluster.workload(service), cluster.pods(service)
    _refuse_unready(workload, now())
    if refusal := workload.pod_refusal:
        raise errors.RolloutFailed(
            f"{workload.title} cannot create its pods ({refusal.reason}), so a"
            " restart would not finish. Nothing was changed. See: kubectl describe replicasets;"
            " kubectl describe resourcequotas"
        )
    if not workload.refers_to_key:
        raise errors.KeyNotInjected(
            f"No container of {workload.title} refers to the delivered key (env, envFrom or a"
            " volume), so a restart would not give it the new one. Nothing was changed."
        )
    annotations = {RESTARTED_AT: format_timestamp(now()), KEY_VERSION: "dry-run"}
    cluster.restart(service, annotations, workload.resource_version, dry_run=True)
    notes = [_note_of_others(workload, pods), _note_of_pause(workload)]
    return " ".join(filter(None, notes)) or None


def check_in_time(cluster: Cluster, service: str, limit: timedelta) -> None:
    """Verify that the rollout of a service can be checked, and can finish in time.

    Raises ServiceNotFound, AccessDenied, and ServicePaused if Reloader would pause it as long as
    the rollout may take.
    """
    workload, _ = cluster.workload(service), cluster.pods(service)
    pause = workload.pause_period
    if workload.restarts_itself and pause and pause >= limit:
        raise errors.ServicePaused(
            f"Reloader pauses {workload.title} for {pause.total_seconds():.0f} s when the Secret"
            f" changes (its pause-period), and a rollout has {limit.total_seconds():.0f} s"
            " (RolloutSeconds). Nothing was changed. Shorten the period, or raise RolloutSeconds."
        )


def restart_workload(
    cluster: Cluster,
    stamp: Stamp,
    service: str,
    begun: datetime,
    confirm: Callable[[], None],
    by_operator: Collection[str] = (),
) -> CountedPods[RestartServiceEntry]:
    """Start the rollout of one service, or find that this run has started it.

    `begun` is when the run began: it makes the patch the same at every attempt. `confirm` verifies
    between the read and the patch that the run's version is current: if a later run restarts the
    service in the meantime, the patch finds another revision and is refused. The pods are read
    first, so that the read and the patch of the workload are close together: during a rollout its
    status changes continuously. `by_operator` are the workloads that an operator restarts after the
    delivery.

    Returns the pods before, whether a restart was needed, and who restarts the service as well.
    Raises Superseded, and the errors of `check_ready`.
    """
    pods = cluster.pods(service)
    before = [pod for pod in own_pods(pods) if not stamp.is_on(pod)]
    workload = cluster.workload(service)
    _refuse_unready(workload, begun)
    by_reloader = workload.restarts_itself
    if by_reloader is None:
        by_reloader = cluster.secret_matches_reloader()
    if needed := not stamp.is_on(workload):
        at = _after(pods) if workload.kind == "Rollout" else begun
        annotations = {RESTARTED_AT: format_timestamp(at), **stamp.annotations()}
        confirm()
        cluster.restart(service, annotations, workload.resource_version, dry_run=False)
    entry: RestartServiceEntry = {
        "service": service,
        "restarted": needed,
        "alsoRestartedBy": _also_restarted_by(workload, by_operator, by_reloader=by_reloader),
        "podsBefore": len(before),
    }
    return CountedPods(entry, _identities(before))


def check_rollout(
    cluster: Cluster, stamp: Stamp, ledger: Ledger, limit: timedelta, at: datetime
) -> CountedPods[CheckRolloutEntry]:
    """Check once a rollout that `restart_workload` started.

    The ledger has its entry, that of the last check, and when the run began. Returns `state`
    'waiting' or 'done' with a sentence, and the new pods. Raises the error of a failed decision.
    """
    restarted, last = restart_of(ledger), ledger.get("check_rollout") or {}
    service, started = restarted["service"], parse_timestamp(restarted["startedAt"])
    workload, pods = cluster.workload(service), cluster.pods(service)
    stalled = last.get("stalled", False)
    look = RolloutContext(at, started + limit, started_at(ledger), stalled_before=stalled)
    answer = judge_rollout(workload, pods, stamp, look)
    if isinstance(answer, Failed):
        raise answer.error(f"{service}: {answer.summary}")
    new = [pod for pod in own_pods(pods) if stamp.is_on(pod)]
    seen: CheckRolloutEntry = {
        "service": service,
        "state": "done" if isinstance(answer, Done) else "waiting",
        "says": answer.summary,
        "stalled": isinstance(answer, Waiting) and answer.stalled,
        "replicas": workload.desired,
        "alsoRestartedBy": restarted.get("alsoRestartedBy"),
        "podsBefore": restarted["podsBefore"],
        "podsAfter": len(new),
        "notRestarted": not_restarted(pods),
        "startedAt": format_timestamp(started),
        "seconds": round((at - started).total_seconds(), 3),
    }
    return CountedPods(seen, _identities(new))


def _after(pods: Iterable[Pod]) -> datetime:
    """A whole second after the creation of every existing pod: pods created from then on are new.

    A Rollout's pods are recognised by their creation, in whole seconds of the API server's clock.
    The delivery was read back before the pods were read, so a pod that is not among these has read
    the new key, whatever this function's clock shows.
    """
    seen = [now(), *(pod.created for pod in pods if pod.created)]
    return max(seen).replace(microsecond=0) + timedelta(seconds=1)


def _also_restarted_by(
    workload: Workload, by_operator: Collection[str], *, by_reloader: bool | None
) -> str | None:
    """The controller that also restarts it when the Secret changes: it rolls out twice."""
    reloader = {
        True: "Reloader",
        None: "perhaps Reloader (restart_service may not read the Secret's annotations)",
    }
    others = [
        *([reloader[by_reloader]] if by_reloader in reloader else []),
        *(["the Vault Secrets Operator"] if workload.argument in by_operator else []),
    ]
    return " and ".join(others) or None


def _identities(pods: Iterable[Pod]) -> dict[str, str]:
    return dict(sorted((pod.name, pod.uid) for pod in pods))


def _note_of_others(workload: Workload, pods: Iterable[Pod]) -> str | None:
    others = not_restarted(pods)
    return others and (
        f"The selector of {workload.title} matches {others}. A rotation does not restart them, and"
        " those that read the session key keep the old one: name their workload in Services, or"
        " delete them."
    )


def _note_of_pause(workload: Workload) -> str | None:
    if workload.pause_period is None or workload.restarts_itself is False:
        return None
    return (
        f"Reloader pauses {workload.title} for {workload.pause_period.total_seconds():.0f} s when"
        " the Secret changes (its pause-period), and the rollout waits for that."
    )


def _refuse_unready(workload: Workload, at: datetime) -> None:
    if blocker := restart_blocker(workload, at):
        raise blocker.error(blocker.summary)
