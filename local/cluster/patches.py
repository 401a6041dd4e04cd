"""The three patches of the Kubernetes API, as pure functions: object and patch in, new object out.

A strategic merge patch merges some lists by a key of their elements, where a plain merge patch
replaces them: the difference between restarting a pod and dropping its sidecar. Source: Kubernetes,
`sig-api-machinery/strategic-merge-patch.md`; the merge keys are the `patchMergeKey` tags of its API
types. Nothing that is passed in is changed.
"""

import copy
from collections.abc import Callable
from typing import Any

from local.cluster.errors import bad_request, unprocessable
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


def json_patch(target: Json, operations: Any) -> Json:
    """Apply a JSON patch (RFC 6902).

    Raises `StatusError` 400 for what is no JSON patch, 422 when an operation does not fit the
    object.
    """
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    document: dict[str, Any] = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _OPERATIONS[operation["op"]](document, operation)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise unprocessable(
                "the server rejected our request due to an error in our request"
            ) from error
    patched: Json = document[""]
    return patched


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _place(document: Any, pointer: str) -> tuple[Any, Any]:
    """Return the container that holds what the pointer names, and its key or index in it."""
    *path, last = _steps(pointer)
    for step in path:
        document = document[int(step)] if isinstance(document, list) else document[step]
    if not isinstance(document, list):
        return document, last
    return document, len(document) if last == "-" else int(last)


def _read(document: Any, operation: Json, field: str = "path") -> Any:
    holder, key = _place(document, operation[field])
    return holder[key]


def _write(document: Any, pointer: str, value: Any) -> None:
    holder, key = _place(document, pointer)
    if isinstance(holder, list):
        if key > len(holder):
            raise IndexError(key)
        holder.insert(key, copy.deepcopy(value))
    else:
        holder[key] = copy.deepcopy(value)


def _add(document: Json, operation: Json) -> None:
    _write(document, operation["path"], operation["value"])


def _remove(document: Json, operation: Json) -> None:
    holder, key = _place(document, operation["path"])
    del holder[key]


def _replace(document: Json, operation: Json) -> None:
    _read(document, operation)
    holder, key = _place(document, operation["path"])
    holder[key] = copy.deepcopy(operation["value"])


def _move(document: Json, operation: Json) -> None:
    value = _read(document, operation, "from")
    _remove(document, {"path": operation["from"]})
    _write(document, operation["path"], value)


def _copy(document: Json, operation: Json) -> None:
    _write(document, operation["path"], _read(document, operation, "from"))


def _test(document: Json, operation: Json) -> None:
    if _read(document, operation) != operation["value"]:
        raise ValueError(operation["path"])


_OPERATIONS: dict[str, Callable[[Json, Json], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}

STRATEGIC = "application/strategic-merge-patch+json"
PATCHES: dict[str, Callable[[Json, Any], Any]] = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge_patch,
    STRATEGIC: strategic_merge_patch,
}
