"""Kubernetes objects (as JSON) parsed into the types of the phases. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keyturn.adapters.kubernetes import reloader
from keyturn.rollout.pod_annotations import KEY_DELIVERY, KEY_VERSION
from keyturn.rollout.status import Pod, PodRefusal, Workload

if TYPE_CHECKING:
    from keyturn.settings.loading import PodKeySettings

Object = Mapping[str, Any]

# The admission's text: "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1".
_QUOTA = re.compile(
    r"exceeded quota: [a-z0-9.-]{1,253}(, (requested|used|limited): [A-Za-z0-9./=,_-]{1,200}){3}"
)
# The label that distinguishes the pods of a workload's ReplicaSets, and that ends their names.
TEMPLATE_HASHES = {"Deployment": "pod-template-hash", "Rollout": "rollouts-pod-template-hash"}


def workload(
    item: Object,
    delivery: "PodKeySettings | None",
    *,
    restarts_itself: bool | None = False,
    pause: reloader.Pause = reloader.NO_PAUSE,
) -> Workload:
    """A Deployment or a StatefulSet (apps/v1).

    Absent status counters are zero, absent replicas are one. As kubectl does, a StatefulSet counts
    its ready pods and a Deployment its available ones.
    """
    spec, status = item["spec"], item.get("status", {})
    stateful = item["kind"] == "StatefulSet"
    return Workload(
        name=item["metadata"]["name"],
        kind="StatefulSet" if stateful else "Deployment",
        generation=item["metadata"].get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        paused=bool(spec.get("paused")),
        desired=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("readyReplicas" if stateful else "availableReplicas", 0),
        key_version=_annotations(spec["template"]).get(KEY_VERSION),
        progress_reason=condition(status, "Progressing").get("reason"),
        refers_to_key=_takes_key(spec["template"]["spec"], delivery),
        keeps_old=_keeps_old(spec) if stateful else None,
        settled=status.get("updateRevision") == status.get("currentRevision"),
        restarts_itself=restarts_itself,
        key_delivery=_annotations(spec["template"]).get(KEY_DELIVERY),
        resource_version=item["metadata"].get("resourceVersion", ""),
        pod_refusal=_pod_refusal(status),
        pause_period=pause.period,
        resumes_at=pause.ends,
    )


def pod(item: Object, workload: Object | None = None) -> Pod:
    """A Pod (v1), one of those that the selector of `workload` matches."""
    statuses = list(container_statuses(item))
    waiting = (status.get("state", {}).get("waiting", {}).get("reason") for status in statuses)
    return Pod(
        name=item["metadata"]["name"],
        key_version=_annotations(item).get(KEY_VERSION),
        terminating="deletionTimestamp" in item["metadata"],
        waiting_reasons=tuple(reason for reason in waiting if reason),
        restarts=max((status.get("restartCount", 0) for status in statuses), default=0),
        uid=item["metadata"]["uid"],
        key_delivery=_annotations(item).get(KEY_DELIVERY),
        created=_moment(item["metadata"].get("creationTimestamp")),
        crashed=max(filter(None, map(ended_at, statuses)), default=None),
        other_owner=None if workload is None or is_of(workload, item) else _controller(item),
        ready=condition(item.get("status", {}), "Ready").get("status") == "True",
    )


def ended(item: Object) -> bool:
    """Whether all containers of a Pod are gone for good: an evicted pod stays listed for days."""
    return item.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def refers_to_key(pod_spec: Object, delivery: "PodKeySettings") -> bool:
    """Whether any container gets the delivered key by env, envFrom or a mounted volume."""
    named = {container["name"] for container in pod_spec.get("containers", ())}
    return bool(named & containers_that_refer(pod_spec, delivery))


def containers_that_refer(pod_spec: Object, delivery: "PodKeySettings") -> set[str]:
    """The names of the containers, those for the start included, that get the delivered key."""
    secret, field = delivery.kubernetes_secret, delivery.kubernetes_secret_key
    volumes = {
        volume["name"]
        for volume in pod_spec.get("volumes", ())
        if volume.get("secret", {}).get("secretName") == secret
        or any(
            source.get("secret", {}).get("name") == secret
            for source in volume.get("projected", {}).get("sources", ())
        )
    }
    return {
        container["name"]
        for kind in ("initContainers", "containers")
        for container in pod_spec.get(kind, ())
        if _reads(container, secret, field, volumes)
    }


def is_of(workload: Object, item: Object) -> bool:
    """Whether a pod that the selector matches is the workload's own, by its controller.

    A Deployment's or a Rollout's ReplicaSet has its name and the hash that labels its pods.
    """
    name = workload["metadata"]["name"]
    if workload["kind"] == "StatefulSet":
        return _controller(item) == f"StatefulSet {name}"
    label = (item["metadata"].get("labels") or {}).get(TEMPLATE_HASHES[workload["kind"]])
    return _controller(item) == f"ReplicaSet {name}-{label}"


def selector_text(selector: Object) -> str:
    """A LabelSelector in the form of the API's `labelSelector` parameter."""
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        values = ",".join(rule.get("values") or ())
        parts.append(
            {
                "In": f"{rule['key']} in ({values})",
                "NotIn": f"{rule['key']} notin ({values})",
                "Exists": rule["key"],
                "DoesNotExist": f"!{rule['key']}",
            }[rule["operator"]]
        )
    return ",".join(parts)


def owner(item: Object) -> str | None:
    """Other writers of a Secret: 'ExternalSecret web-console', or the operator in its labels."""
    for reference in item["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference['kind']} {reference['name']}"
    labels = item["metadata"].get("labels") or {}
    if labels.get("reconcile.external-secrets.io/managed") == "true":
        return "the External Secrets Operator"
    if labels.get("app.kubernetes.io/managed-by") == "hashicorp-vso":
        return "the Vault Secrets Operator"
    if labels.get("secrets-store.csi.k8s.io/managed") == "true":
        return "the Secrets Store CSI driver"
    return None


def ended_at(status: Object) -> datetime | None:
    """When a container ended last: it waits to start again, or has."""
    kept = (status.get(name) or {} for name in ("state", "lastState"))
    ended = (_moment((state.get("terminated") or {}).get("finishedAt")) for state in kept)
    return max(filter(None, ended), default=None)


def container_statuses(item: Object) -> Iterator[Object]:
    """The statuses of all containers of a Pod."""
    status = item.get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        yield from status.get(kind) or ()


def condition(status: Object, kind: str) -> Object:
    """A condition of a status, or an empty object."""
    conditions: list[Object] = status.get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def _controller(item: Object) -> str:
    """The controller of a pod: 'ReplicaSet web-7d4b', or 'no controller'."""
    references = item["metadata"].get("ownerReferences") or ()
    controller: Object | None = next(
        (reference for reference in references if reference.get("controller")), None
    )
    return f"{controller['kind']} {controller['name']}" if controller else "no controller"


def _pod_refusal(status: Object) -> PodRefusal | None:
    """Why a Deployment lacks pods that could not be created.

    Only the quota's part of the message is used: an admission webhook may write anything.
    """
    failure = condition(status, "ReplicaFailure")
    since = _moment(failure.get("lastTransitionTime"))
    if failure.get("status") != "True" or since is None:
        return None
    quota = _QUOTA.search(failure.get("message") or "")
    reason = failure.get("reason") or "ReplicaFailure"
    return PodRefusal(f"{reason}: {quota[0]}" if quota else reason, since)


def _takes_key(pod_spec: Object, delivery: "PodKeySettings | None") -> bool:
    if delivery is None or not delivery.reads_kubernetes_secret:
        return True
    return refers_to_key(pod_spec, delivery)


def _keeps_old(spec: Object) -> str | None:
    """Why a StatefulSet's update strategy would leave old pods."""
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return f"update strategy {strategy['type']}"
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    return f"an update partition of {partition}" if partition else None


def _annotations(item: Object) -> Object:
    annotations: Object = (item.get("metadata") or {}).get("annotations") or {}
    return annotations


def _reads(container: Object, secret: str, field: str, volumes: set[str]) -> bool:
    by_name = (
        variable.get("valueFrom", {}).get("secretKeyRef", {})
        for variable in container.get("env", ())
    )
    whole = (source.get("secretRef", {}).get("name") for source in container.get("envFrom", ()))
    mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
    return (
        any(ref.get("name") == secret and ref.get("key") == field for ref in by_name)
        or secret in whole
        or bool(volumes & mounts)
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
