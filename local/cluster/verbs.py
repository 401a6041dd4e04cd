"""What the API server does with a request that is permitted, other than watch and log."""

import json
from typing import Any

from local.cluster import errors
from local.cluster.deletion import delete
from local.cluster.objects import ObjectStore
from local.cluster.patches import PATCHES, STRATEGIC
from local.cluster.requests import Request
from local.cluster.resources import PODS, Json
from local.cluster.selectors import label_selector


def execute(store: ObjectStore, request: Request) -> tuple[int, Json]:
    """Carry out a request; returns the HTTP code and the body. Raises `StatusError`."""
    if request.resource.namespaced and not request.namespace and request.verb != "list":
        raise errors.method_not_allowed()
    match request.verb:
        case "get":
            found = store.get(request.resource, request.namespace, request.name)
            return 200, _metadata_of(found) if request.metadata_only else found
        case "list":
            return 200, _list(store, request)
        case "create":
            return 201, _create(store, request)
        case "update":
            manifest = request.manifest()
            return 200, _modify(store, request, lambda _: manifest)
        case "patch":
            return 200, _patch(store, request)
        case _:
            return 200, _delete(store, request)


def _metadata_of(found: Json) -> Json:
    """An object as the real server shows it where its metadata alone is asked for."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": found["metadata"],
    }


def _list(store: ObjectStore, request: Request) -> Json:
    resource = request.resource
    fits_labels = label_selector(request.query.get("labelSelector", ""))
    if "fieldSelector" in request.query:
        raise errors.bad_request("field selectors are not served")
    found, version = store.list(resource, request.namespace)
    items = [item for item in found if fits_labels(item)]
    for item in items:  # the list says it once for all of them
        del item["kind"], item["apiVersion"]
    first, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0"))
    page = items[first : first + limit] if limit else items[first:]
    metadata = {"resourceVersion": str(version)}
    if first + len(page) < len(items):  # pages are of the moment in which each is read
        metadata["continue"] = str(first + len(page))
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": page,
    }


def _create(store: ObjectStore, request: Request) -> Json:
    manifest = request.manifest()
    if request.subresource == "binding":
        return _bind(store, request, manifest)
    if request.name:
        raise errors.method_not_allowed()
    return store.create(
        request.resource,
        request.namespace,
        manifest,
        dry_run=request.dry_run,
        manager=request.manager,
    )


def _bind(store: ObjectStore, request: Request, binding: Json) -> Json:
    node = (binding.get("target") or {}).get("name")
    if not node:
        raise errors.bad_request("target.name is required: the node to bind the pod to")

    def assign(pod: Json) -> Json:
        taken = pod["spec"].get("nodeName")
        if taken:
            why = f"pod {request.name} is already assigned to node {json.dumps(taken)}"
            raise errors.conflict(PODS, request.name, why)
        pod["spec"]["nodeName"] = node
        return pod

    pod = _modify(store, request, assign)
    return errors.success(PODS, request.name, pod["metadata"]["uid"])


def _modify(store: ObjectStore, request: Request, change: Any) -> Json:
    return store.modify(
        request.resource,
        request.namespace,
        request.name,
        change,
        subresource=request.subresource,
        dry_run=request.dry_run,
        manager=request.manager,
    )


def _patch(store: ObjectStore, request: Request) -> Json:
    served = {**PATCHES}
    if request.resource.custom:  # a strategic merge patch needs the types' own merge keys
        del served[STRATEGIC]
    apply = served.get(request.content_type)
    if apply is None:
        raise errors.unsupported_media_type(served)
    patch = request.document()

    def patched(current: Json) -> Json:
        result = apply(current, patch)
        if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
            raise errors.bad_request("the patch does not leave an object with metadata")
        return result

    return _modify(store, request, patched)


def _delete(store: ObjectStore, request: Request) -> Json:
    options = request.delete_options()
    current = store.get(request.resource, request.namespace, request.name)
    _check_preconditions(request, options.get("preconditions") or {}, current)
    if options.get("propagationPolicy") == "Orphan":
        raise errors.bad_request("propagationPolicy Orphan is not served: use Background")
    if request.dry_run or options.get("dryRun"):
        return current
    last = delete(
        store,
        request.resource,
        request.namespace,
        request.name,
        options.get("gracePeriodSeconds"),
    )
    if request.resource is PODS:
        return last
    return errors.success(request.resource, request.name, last["metadata"]["uid"])


def _check_preconditions(request: Request, wanted: Json, current: Json) -> None:
    for field, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        here = current["metadata"][field]
        if wanted.get(field, here) != here:
            why = (
                f"Precondition failed: {title} in precondition: {wanted[field]}, "
                f"{title} in object meta: {here}"
            )
            raise errors.conflict(request.resource, request.name, why)
