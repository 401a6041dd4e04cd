"""Count the pods' annotations: the answer of `check_rollout` to the drift check of `watch_key`."""

from collections.abc import Iterable
from typing import Any

from keyturn.rollout.restart import Cluster
from keyturn.rollout.status import own_pods
from keyturn.secret import staging_labels
from keyturn.secret.staging_labels import LabelStore


def inspect_pods(store: LabelStore, cluster: Cluster, services: Iterable[str]) -> dict[str, Any]:
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
) -> dict[str, dict[str, int]]:
    """Count a service's pods that are annotated with a version, with others, and not at all.

    The version alone counts: `deliver_key` checks later deliveries.
    """
    counted = {}
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
