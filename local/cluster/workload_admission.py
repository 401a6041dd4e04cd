"""The rules of Deployments, ReplicaSets and Pods: their defaults, what they may not be. Pure."""

import copy

from local.cluster.errors import invalid
from local.cluster.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Json, Resource

_QUARTER = "25%"
_NONE = (0, "0%")


def complete_deployment(deployment: Json, current: Json | None) -> None:
    """Fill a Deployment's defaults in. Raises `StatusError` 422."""
    spec = deployment.setdefault("spec", {})
    _complete_workload(DEPLOYMENTS, deployment, current)
    name = deployment["metadata"]["name"]
    spec.setdefault("revisionHistoryLimit", 10)
    deadline = spec.setdefault("progressDeadlineSeconds", 600)
    if deadline <= spec.get("minReadySeconds", 0):
        why = f"Invalid value: {deadline}: must be greater than minReadySeconds"
        raise invalid(DEPLOYMENTS, name, "spec.progressDeadlineSeconds", why)
    _complete_strategy(name, spec.setdefault("strategy", {}))


def complete_replica_set(replica_set: Json, current: Json | None) -> None:
    """Fill a ReplicaSet's defaults in. Raises `StatusError` 422."""
    _complete_workload(REPLICA_SETS, replica_set, current)


def complete_pod(pod: Json, current: Json | None) -> None:
    """Fill a Pod's defaults in. Raises `StatusError` 422."""
    name = pod["metadata"]["name"]
    _complete_pod_spec(PODS, name, "spec", pod.setdefault("spec", {}))
    pod.setdefault("status", {"phase": "Pending"})
    if current and _fixed(pod) != _fixed(current):
        why = "Forbidden: pod updates may not change fields other than the containers' images"
        raise invalid(PODS, name, "spec", why)


def _complete_strategy(name: str, strategy: Json) -> None:
    if strategy.setdefault("type", "RollingUpdate") != "RollingUpdate":
        why = f'Unsupported value: "{strategy["type"]}": the only strategy served is RollingUpdate'
        raise invalid(DEPLOYMENTS, name, "spec.strategy.type", why)
    rolling = strategy.setdefault("rollingUpdate", {})
    surge = rolling.setdefault("maxSurge", _QUARTER)
    if rolling.setdefault("maxUnavailable", _QUARTER) in _NONE and surge in _NONE:
        why = "Invalid value: may not be 0 when `maxSurge` is 0"
        raise invalid(DEPLOYMENTS, name, "spec.strategy.rollingUpdate.maxUnavailable", why)


def _complete_workload(resource: Resource, workload: Json, current: Json | None) -> None:
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
    pod_spec, field = template.setdefault("spec", {}), "spec.template.spec"
    _complete_pod_spec(resource, name, field, pod_spec)
    if pod_spec["restartPolicy"] != "Always":
        why = f'Unsupported value: "{pod_spec["restartPolicy"]}": supported values: "Always"'
        raise invalid(resource, name, f"{field}.restartPolicy", why)


def _fixed(pod: Json) -> Json:
    """Return the part of a pod's spec that never changes once it is created."""
    spec = copy.deepcopy(pod["spec"])
    for container in spec.get("containers", []):
        container.pop("image", None)
    return dict(spec)


def _complete_pod_spec(resource: Resource, name: str, field: str, spec: Json) -> None:
    if not spec.get("containers"):
        raise invalid(resource, name, f"{field}.containers", "Required value")
    seen: set[str] = set()
    for index, container in enumerate(spec["containers"]):
        at = f"{field}.containers[{index}]"
        _check_container(resource, name, at, container)
        if container["name"] in seen:
            raise invalid(resource, name, f"{at}.name", f'Duplicate value: "{container["name"]}"')
        seen.add(container["name"])
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)


def _check_container(resource: Resource, name: str, at: str, container: Json) -> None:
    for wanted in ("name", "image"):
        if not container.get(wanted):
            raise invalid(resource, name, f"{at}.{wanted}", "Required value")
    for index, variable in enumerate(container.get("env") or []):
        if variable.get("value") and variable.get("valueFrom"):
            why = 'Invalid value: "": may not be specified when `value` is not empty'
            raise invalid(resource, name, f"{at}.env[{index}].valueFrom", why)
    action = (container.get("readinessProbe") or {}).get("httpGet")
    port = (action or {}).get("port", 0)
    if action is not None and isinstance(port, int) and not 0 < port < 65536:
        why = f"Invalid value: {port}: must be between 1 and 65535, inclusive"
        raise invalid(resource, name, f"{at}.readinessProbe.httpGet.port", why)
