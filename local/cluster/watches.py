"""A watch: the changes of a resource as the events that a client sees."""

import time
from collections.abc import Iterator

from local.cluster.errors import StatusError, bad_request
from local.cluster.objects import Change, ObjectStore
from local.cluster.requests import Request
from local.cluster.resources import Json

_DEFAULT_SECONDS = 300


def watch(store: ObjectStore, request: Request) -> Iterator[Json]:
    """Yield watch events until the time asked for is over or the store closes.

    From `resourceVersion` on; without one, first ADDED for all that is there. A version whose
    history is gone ends the watch with an ERROR event of code 410, as the real server's does.
    Raises `StatusError` 400 before the first event for a request that cannot be read.
    """
    if request.query.keys() & {"labelSelector", "fieldSelector"}:
        raise bad_request("a watch with selectors is not served")
    start = request.number("resourceVersion") or 0
    seconds = request.number("timeoutSeconds") or _DEFAULT_SECONDS
    return _events(store, request, start, time.monotonic() + seconds)


def _events(store: ObjectStore, request: Request, version: int, deadline: float) -> Iterator[Json]:
    if not version:
        items, version = store.list(request.resource, request.namespace)
        yield from ({"type": "ADDED", "object": item} for item in items)
    while (left := deadline - time.monotonic()) > 0 and not store.closed:
        try:
            changes = store.changes_since(version, left)
        except StatusError as error:
            yield {"type": "ERROR", "object": error.body()}
            return
        for change in changes:
            version, item = change.version, change.after or change.before or {}
            here = request.namespace in {"", item["metadata"].get("namespace", "")}
            if change.resource is request.resource and here:
                yield event(change, item)


def event(change: Change, item: Json) -> Json:
    """Return a change as the event of a watch; a deleted object has the version of its deletion."""
    if change.after is not None:
        return {"type": "MODIFIED" if change.before else "ADDED", "object": item}
    version = {**item["metadata"], "resourceVersion": str(change.version)}
    return {"type": "DELETED", "object": {**item, "metadata": version}}
