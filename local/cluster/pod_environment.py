"""A container's environment: from its spec, its pod and the Secrets that it refers to. Pure.

A Secret is read when a container starts and never again, as in Kubernetes: that is why a new key
needs new pods.
"""

import base64
from collections.abc import Callable

from local.cluster.resources import Json

SecretLookup = Callable[[str], Json | None]

_FIELDS: dict[str, Callable[[Json], str]] = {
    "metadata.name": lambda pod: str(pod["metadata"]["name"]),
    "metadata.namespace": lambda pod: str(pod["metadata"]["namespace"]),
    "metadata.uid": lambda pod: str(pod["metadata"]["uid"]),
    "spec.nodeName": lambda pod: str(pod["spec"].get("nodeName", "")),
    "status.podIP": lambda _: "127.0.0.1",
    "status.hostIP": lambda _: "127.0.0.1",
}


class ConfigError(Exception):
    """The container cannot be configured: CreateContainerConfigError. Never quotes a value."""


def environment_of(container: Json, pod: Json, secret: SecretLookup) -> dict[str, str]:
    """Return the variables of a container's spec, those of `env`: `envFrom` is not served.

    `secret` returns a Secret of the pod's namespace by name, or None. Raises `ConfigError`.
    """
    variables: dict[str, str] = {}
    if container.get("envFrom"):
        raise ConfigError("envFrom is not served by this kubelet")
    for variable in container.get("env", []):
        value = _value_of(variable, pod, secret)
        if value is not None:
            variables[variable["name"]] = value
    return variables


def _value_of(variable: Json, pod: Json, secret: SecretLookup) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return str(variable.get("value", ""))
    if "secretKeyRef" in source:
        return _key_of(source["secretKeyRef"], pod, secret)
    path = source.get("fieldRef", {}).get("fieldPath", "")
    if path not in _FIELDS:
        raise ConfigError(f"env {variable['name']}: its source is not served by this kubelet")
    return _FIELDS[path](pod)


def _key_of(reference: Json, pod: Json, secret: SecretLookup) -> str | None:
    found = _secret(reference, secret)
    key, data = reference["key"], (found or {}).get("data") or {}
    if key in data:
        return _decoded(data[key])
    if reference.get("optional"):
        return None
    namespace = pod["metadata"]["namespace"]
    raise ConfigError(f"couldn't find key {key} in Secret {namespace}/{reference['name']}")


def _secret(reference: Json, secret: SecretLookup) -> Json | None:
    found = secret(reference["name"])
    if found is None and not reference.get("optional"):
        raise ConfigError(f'secret "{reference["name"]}" not found')
    return found


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace")
