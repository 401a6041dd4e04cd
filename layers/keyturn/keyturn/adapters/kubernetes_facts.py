"""What Kubernetes objects (as JSON) say, in the nouns' own terms. Pure."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from keyturn.rollout import KEY_VERSION, Deployment, Pod

if TYPE_CHECKING:
    from keyturn.settings import DeliverySettings

Object = Mapping[str, Any]


def deployment(found: Object, delivery: "DeliverySettings | None") -> Deployment:
    """A Deployment (apps/v1). Absent status counters are zero, absent replicas are one."""
    spec, status = found["spec"], found.get("status", {})
    annotations = spec["template"].get("metadata", {}).get("annotations") or {}
    return Deployment(
        name=found["metadata"]["name"],
        generation=found["metadata"].get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        paused=bool(spec.get("paused")),
        wanted=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("availableReplicas", 0),
        key_version=annotations.get(KEY_VERSION),
        progress_reason=_condition_reason(status, "Progressing"),
        refers_to_key=delivery is None or refers_to_key(spec["template"]["spec"], delivery),
    )


def pod(found: Object) -> Pod:
    """A Pod (v1)."""
    statuses = list(_container_statuses(found))
    waiting = (status.get("state", {}).get("waiting", {}).get("reason") for status in statuses)
    return Pod(
        name=found["metadata"]["name"],
        key_version=(found["metadata"].get("annotations") or {}).get(KEY_VERSION),
        terminating="deletionTimestamp" in found["metadata"],
        waiting_reasons=tuple(reason for reason in waiting if reason),
        restarts=max((status.get("restartCount", 0) for status in statuses), default=0),
    )


def ended(found: Object) -> bool:
    """Whether all containers of a Pod are gone for good: an evicted pod stays listed for days."""
    return found.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def containers(found: Object) -> Iterator[tuple[str, bool]]:
    """Every started container of a pod by name, and whether it was restarted."""
    for status in _container_statuses(found):
        if "waiting" not in status.get("state", {}) or status.get("restartCount", 0):
            yield status["name"], status.get("restartCount", 0) > 0


def refers_to_key(pod_spec: Object, delivery: "DeliverySettings") -> bool:
    """Whether any container gets the delivered key by env, envFrom or a mounted volume."""
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
    return any(
        _reads(container, secret, field, volumes) for container in pod_spec.get("containers", ())
    )


def selector_text(selector: Object) -> str:
    """A LabelSelector as the API's `labelSelector` parameter wants it."""
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


def owner(found: Object) -> str | None:
    """The controller that an object belongs to: 'ExternalSecret web-console'."""
    for reference in found["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference['kind']} {reference['name']}"
    return None


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


def _container_statuses(found: Object) -> Iterator[Object]:
    status = found.get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        yield from status.get(kind) or ()


def _condition_reason(status: Object, kind: str) -> str | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            return str(condition.get("reason"))
    return None
