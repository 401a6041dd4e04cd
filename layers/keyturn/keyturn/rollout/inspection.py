"""Count the pods' annotations: the answer of `check_rollout` to the drift check of `watch_key`."""

from collections.abc import Iterable
from typing import TypedDict

from keyturn.rollout.restart import Cluster
from keyturn.rollout.status import own_pods
from keyturn.secret import staging_labels
from keyturn.secret.staging_labels import LabelStore


class PodCounts(TypedDict):
    """How many pods of a service are annotated with the current version, with others, or not."""

    current: int
    others: int
    unstamped: int


class PodsAnswer(TypedDict):
    """The pods of each service, and the version that was current when they were counted."""

    function: str
    current: str | None
    pods: dict[str, PodCounts]


def inspect_pods(store: LabelStore, cluster: Cluster, services: Iterable[str]) -> PodsAnswer:
    """The whole answer: the pods of each service, and the version that was current then.

    Raises ServiceNotFound, and what the cluster raises.
    """
    current = staging_labels.labelled(store.labels(), staging_labels.AWSCURRENT)
    return {
        "function": "check_rollout",
        "current": current,
        "pods": count_stamps(cluster, services, current),
    }


def count_stamps(
    cluster: Cluster, services: Iterable[str], version: str | None
) -> dict[str, PodCounts]:
    """Count a service's pods that are annotated with a version, with others, and not at all.

    The version alone counts: `deliver_key` checks later deliveries.
    """
    counted: dict[str, PodCounts] = {}
    for service in services:
        stamps = [pod.key_version for pod in own_pods(cluster.pods(service))]
        unstamped = sum(stamp is None for stamp in stamps)
        current = sum(stamp == version for stamp in stamps) if version else 0
        counted[service] = {
            "current": current,
            "others": len(stamps) - current - unstamped,
            "unstamped": unstamped,
        }
    return counted
