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
MERGED_PRIMITIVES = frozenset({"finalizers"})
DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"


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

    Raises `StatusError` 400 when a list element lacks its merge key.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return copy.deepcopy({key: value for key, value in patch.items() if key != "$patch"})
    merged = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        merged = {key: value for key, value in merged.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith(DELETE_PRIMITIVES):
            field = key.removeprefix(DELETE_PRIMITIVES)
            merged[field] = [item for item in merged.get(field, []) if item not in value]
        elif not key.startswith("$"):
            _merge_field(merged, key, value, patch.get(f"$setElementOrder/{key}"))
    return merged


def _merge_field(merged: Json, key: str, value: Any, order: list[Any] | None) -> None:
    if value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
        merged.pop(key, None)
    elif isinstance(value, list):
        merged[key] = _merge_list(key, merged.get(key) or [], value, order)
    else:
        merged[key] = strategic_merge_patch(merged.get(key), value)


def _merge_list(
    field: str, target: list[Any], patch: list[Any], order: list[Any] | None
) -> list[Any]:
    if field in MERGED_PRIMITIVES:
        return target + [item for item in patch if item not in target]
    merge_key = _merge_key(field, [*target, *patch])
    if merge_key is None:
        return copy.deepcopy(patch)
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if item.get("$patch") != "replace"]
    merged = {item.get(merge_key): item for item in target}
    for item in patch:
        if merge_key not in item:
            raise bad_request(f"map: {field} does not contain declared merge key: {merge_key}")
        name = item[merge_key]
        if item.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge_patch(merged.get(name), item)
    wanted = [item.get(merge_key) for item in order or []]
    ranked = sorted(merged, key=lambda name: wanted.index(name) if name in wanted else len(wanted))
    return [merged[name] for name in ranked]


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
