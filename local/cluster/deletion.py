"""Deletion: at once for most objects, in two steps for a pod that runs on a node.

Such a pod only gets a deletion time-stamp. It is removed when its kubelet, having ended the
processes, deletes it again with a grace period of 0. Source: Kubernetes, "Pod Lifecycle:
Termination of Pods".
"""

from local.cluster.objects import ObjectStore
from local.cluster.resources import PODS, Json, Resource

_DEFAULT_GRACE_SECONDS = 30


def delete(
    store: ObjectStore,
    resource: Resource,
    namespace: str,
    name: str,
    asked_grace_seconds: int | None = None,
) -> Json:
    """Delete an object, or begin to; return its last state. Raises `StatusError` 404."""
    grace = grace_seconds(store.get(resource, namespace, name), asked_grace_seconds)
    if grace:
        return store.mark_deleted(resource, namespace, name, grace)
    return store.remove(resource, namespace, name)


def grace_seconds(item: Json, asked: int | None) -> int:
    """Return how long a deleted object stays for its kubelet to end it: only a pod on a node."""
    if item["kind"] != PODS.kind or not item["spec"].get("nodeName"):
        return 0
    if item["status"].get("phase") in {"Succeeded", "Failed"}:
        return 0
    default = item["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
    return int(default if asked is None else asked)
