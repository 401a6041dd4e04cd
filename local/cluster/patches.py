"""The two merge patches of the Kubernetes API, as pure functions: each returns a new object.

A strategic merge patch merges some lists by a key of their elements, where a plain merge patch
replaces them: the difference between restarting a pod and dropping its sidecar. Source: Kubernetes,
`sig-api-machinery/strategic-merge-patch.md`; the merge keys are the `patchMergeKey` tags of its API
types. Nothing that is passed in is changed.
"""

import copy
from collections.abc import Callable
from typing import Any

from local.cluster.errors import bad_request
from local.cluster.resources import Json

MERGE_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386): null removes, lists are replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(target: Any, patch: Any) -> Any:
    """Apply a strategic merge patch to an object or to a part of it.

    Raises `StatusError` 400 when a list element lacks its merge key, and for a directive such as
    `$patch`: none is served.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            raise bad_request(f"the directive {key} of strategic merge patches is not served")
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _merge_list(key, merged.get(key) or [], value)
        else:
            merged[key] = strategic_merge_patch(merged.get(key), value)
    return merged


def _merge_list(field: str, target: list[Any], patch: list[Any]) -> list[Any]:
    merge_key = _merge_key(field, [*target, *patch])
    if merge_key is None:
        return copy.deepcopy(patch)
    merged = {item.get(merge_key): item for item in target}
    for item in patch:
        if merge_key not in item:
            raise bad_request(f"map: {field} does not contain declared merge key: {merge_key}")
        name = item[merge_key]
        merged[name] = strategic_merge_patch(merged.get(name), item)
    return list(merged.values())


def _merge_key(field: str, items: list[Any]) -> str | None:
    if not all(isinstance(item, dict) for item in items):
        return None
    if field == "ports":  # a container's ports and a service's share the name, not the key
        return "containerPort" if any("containerPort" in item for item in items) else "port"
    return MERGE_KEYS.get(field)


STRATEGIC = "application/strategic-merge-patch+json"
PATCHES: dict[str, Callable[[Json, Any], Any]] = {
    "application/merge-patch+json": merge_patch,
    STRATEGIC: strategic_merge_patch,
}
