"""When the rollouts of a rotation began and ended, as the cluster shows it.

Neither Keyturn's record nor the runbook's output is believed: two watches of the Kubernetes API
note each change with its time, and the moments are found in those afterwards.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from local.cluster.client import ClusterClient
from local.cluster.reflector import Reflector
from local.cluster.resources import DEPLOYMENTS, PODS, Json

SYNC_SECONDS = 10.0


@dataclass(frozen=True)
class Change:
    """An object as the watch of a resource ("pods") showed it, and when (Unix time)."""

    at: float
    resource: str
    type: str
    item: Json


@dataclass(frozen=True)
class Rollouts:
    """The moments of all rollouts of one rotation, as Unix times.

    `complete` is when `kubectl rollout status` would have returned for the last service; then old
    pods may still be there, terminating. `old_pods_gone` has the end of each, sorted.
    """

    restarted: float
    complete: float
    old_pods_gone: tuple[float, ...]

    @property
    def last_pod_gone(self) -> float:
        """When the last pod with the old key was gone."""
        return self.old_pods_gone[-1]

    def old_pods_left(self, moment: float) -> int:
        """How many pods with the old key were still there."""
        return sum(gone > moment for gone in self.old_pods_gone)


def is_rolled_out(deployment: Json) -> bool:
    """Whether `kubectl rollout status` calls a Deployment rolled out (rollout_status.go)."""
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    updated = status.get("updatedReplicas", 0)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and updated >= wanted
        and status.get("replicas", 0) <= updated
        and status.get("availableReplicas", 0) >= updated
    )


def rollouts_of(changes: Sequence[Change], before: Sequence[Change]) -> Rollouts | None:
    """Find the moments; None while a rollout is still under way.

    `before` is what the watches showed at first: every Deployment and every pod with the old key.
    """
    generations = {
        change.item["metadata"]["name"]: change.item["metadata"]["generation"]
        for change in before
        if change.resource == DEPLOYMENTS.plural
    }
    old_pods = {one.item["metadata"]["uid"] for one in before if one.resource == PODS.plural}
    restarts: dict[str, float] = {}
    completions: dict[str, float] = {}
    gone: list[float] = []
    for change in changes:
        metadata = change.item["metadata"]
        name = metadata["name"]
        if change.resource == PODS.plural:
            if change.type == "DELETED" and metadata["uid"] in old_pods:
                gone.append(change.at)
        elif metadata["generation"] > generations[name]:
            restarts.setdefault(name, change.at)
            if is_rolled_out(change.item):
                completions.setdefault(name, change.at)
    if completions.keys() != generations.keys() or len(gone) < len(old_pods):
        return None
    return Rollouts(min(restarts.values()), max(completions.values()), tuple(sorted(gone)))


class RolloutWatch:
    """Notes every change of Deployments and pods from entering the `with` block to leaving it."""

    def __init__(self, cluster: ClusterClient, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._changes: list[Change] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "RolloutWatch":
        self._reflectors = [
            Reflector(
                self._cluster, resource, self._namespace, partial(self._note, resource.plural)
            )
            for resource in (DEPLOYMENTS, PODS)
        ]
        for reflector in self._reflectors:
            if not reflector.synced.wait(SYNC_SECONDS):
                self._close()
                raise TimeoutError(f"The cluster was not listed within {SYNC_SECONDS:.0f} s.")
        self._before = self._seen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._close()

    def rollouts(self) -> Rollouts | None:
        """The rollouts since the start, once they are over."""
        return rollouts_of(self._seen()[len(self._before) :], self._before)

    def _seen(self) -> list[Change]:
        with self._lock:
            return list(self._changes)

    def _note(self, resource: str, kind: str, item: Json) -> None:
        with self._lock:
            self._changes.append(Change(time.time(), resource, kind, item))

    def _close(self) -> None:
        for reflector in self._reflectors:
            reflector.close()
