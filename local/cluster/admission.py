"""The rules of each kind: defaults that are filled in, and what an object may not be.

Pure: the wanted object in, the object to store out, or a `StatusError`. Only rules that a client
of this cluster can meet are here; the wording is Kubernetes' own.
"""

import base64
import binascii
import copy
import re
from collections.abc import Callable

from local.cluster.errors import StatusError, bad_request, invalid
from local.cluster.resources import DEPLOYMENTS, PODS, REPLICA_SETS, SECRETS, Json, Resource

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_QUARTER = "25%"


def admitted(resource: Resource, wanted: Json, current: Json | None) -> Json:
    """Return the object as it will be stored, defaults filled in.

    `current` is what it replaces, None on creation. Raises `StatusError` 400 or 422.
    """
    admitted_object = copy.deepcopy(wanted)
    name = admitted_object["metadata"]["name"]
    if not _NAME.match(name) or len(name) > 253:
        raise invalid(resource, name, "metadata.name", "Invalid value: not a DNS subdomain")
    rule = _RULES.get(resource.plural)
    if rule:
        rule(admitted_object, current)
    return admitted_object


def _secret(secret: Json, current: Json | None) -> None:
    name = secret["metadata"]["name"]
    secret.setdefault("type", "Opaque")
    data = secret.get("data") or {}
    for key, text in (secret.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(str(text).encode()).decode()
    for key, value in data.items():
        _check_base64(key, value)
    if data or "data" in secret:
        secret["data"] = data
    if not current:
        return
    if secret["type"] != current["type"]:
        raise invalid(SECRETS, name, "type", "Invalid value: field is immutable")
    if current.get("immutable"):
        frozen = "Forbidden: field is immutable when `immutable` is set"
        for field in ("immutable", "data"):
            if secret.get(field) != current.get(field):
                raise invalid(SECRETS, name, field, frozen)


def _check_base64(key: str, value: object) -> None:
    refusal: StatusError | None = None
    try:
        base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):  # its message may quote the value: it is not chained
        refusal = bad_request(f"Secret in version v1 cannot be handled: data[{key}] is not base64")
    if refusal:
        raise refusal


def _deployment(deployment: Json, current: Json | None) -> None:
    spec = deployment.setdefault("spec", {})
    _workload(DEPLOYMENTS, deployment, current)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", _QUARTER)
        rolling.setdefault("maxUnavailable", _QUARTER)
    elif "rollingUpdate" in strategy:
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        raise invalid(
            DEPLOYMENTS, deployment["metadata"]["name"], "spec.strategy.rollingUpdate", why
        )


def _replica_set(replica_set: Json, current: Json | None) -> None:
    _workload(REPLICA_SETS, replica_set, current)


def _workload(resource: Resource, workload: Json, current: Json | None) -> None:
    name, spec = workload["metadata"]["name"], workload.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if not isinstance(spec["replicas"], int) or spec["replicas"] < 0:
        raise invalid(resource, name, "spec.replicas", "Invalid value: must be 0 or more")
    wanted = (spec.get("selector") or {}).get("matchLabels")
    if not wanted:
        raise invalid(resource, name, "spec.selector", "Required value")
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).get("labels") or {}
    if not wanted.items() <= labels.items():
        why = "Invalid value: `selector` does not match template `labels`"
        raise invalid(resource, name, "spec.template.metadata.labels", why)
    if current and current["spec"]["selector"] != spec["selector"]:
        raise invalid(resource, name, "spec.selector", "Invalid value: field is immutable")
    _pod_spec(resource, name, "spec.template.spec", template.setdefault("spec", {}))


def _pod(pod: Json, current: Json | None) -> None:
    name = pod["metadata"]["name"]
    _pod_spec(PODS, name, "spec", pod.setdefault("spec", {}))
    pod.setdefault("status", {"phase": "Pending"})
    if current and _fixed(pod) != _fixed(current):
        why = "Forbidden: pod updates may not change fields other than the containers' images"
        raise invalid(PODS, name, "spec", why)


def _fixed(pod: Json) -> Json:
    """Return the part of a pod's spec that never changes once it is created."""
    spec = copy.deepcopy(pod["spec"])
    for container in spec.get("containers", []):
        container.pop("image", None)
    return dict(spec)


def _pod_spec(resource: Resource, name: str, field: str, spec: Json) -> None:
    containers = spec.get("containers")
    if not containers:
        raise invalid(resource, name, f"{field}.containers", "Required value")
    for index, container in enumerate(containers):
        for wanted in ("name", "image"):
            if not container.get(wanted):
                at = f"{field}.containers[{index}].{wanted}"
                raise invalid(resource, name, at, "Required value")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)


_RULES: dict[str, Callable[[Json, Json | None], None]] = {
    "secrets": _secret,
    "deployments": _deployment,
    "replicasets": _replica_set,
    "pods": _pod,
}
