"""A watch: the changes of a resource as the events that a client sees through its selectors."""

import time
from collections.abc import Iterator

from local.cluster.errors import StatusError
from local.cluster.objects import Change, ObjectStore
from local.cluster.requests import Request
from local.cluster.resources import Json
from local.cluster.selectors import Predicate, field_selector, label_selector

_DEFAULT_SECONDS = 300


def watch(store: ObjectStore, request: Request) -> Iterator[Json]:
    """Yield watch events until the time asked for is over or the store closes.

    From `resourceVersion` on; without one, first ADDED for all that is there. A version whose
    history is gone ends the watch with an ERROR event of code 410, as the real server's does.
    Raises `StatusError` 400 before the first event for a request that cannot be read.
    """
    fits = _filter(request)
    start = request.number("resourceVersion") or 0
    seconds = request.number("timeoutSeconds") or _DEFAULT_SECONDS
    return _events(store, request, fits, start, time.monotonic() + seconds)


def _filter(request: Request) -> Predicate:
    fits_labels = label_selector(request.query.get("labelSelector", ""))
    fits_fields = field_selector(request.resource.plural, request.query.get("fieldSelector", ""))

    def fits(item: Json) -> bool:
        here = request.namespace in {"", item["metadata"].get("namespace", "")}
        return here and fits_labels(item) and fits_fields(item)

    return fits


def _events(
    store: ObjectStore, request: Request, fits: Predicate, version: int, deadline: float
) -> Iterator[Json]:
    if not version:
        items, version = store.list(request.resource, request.namespace)
        yield from ({"type": "ADDED", "object": item} for item in items if fits(item))
    while (left := deadline - time.monotonic()) > 0 and not store.closed:
        try:
            changes = store.changes_since(version, left)
        except StatusError as error:
            yield {"type": "ERROR", "object": error.body()}
            return
        for change in changes:
            version = change.version
            if change.resource is request.resource and (found := event(change, fits)):
                yield found


def event(change: Change, fits: Predicate) -> Json | None:
    """Return what a filter shows of a change: an object may come into view, or leave."""
    before = change.before is not None and fits(change.before)
    after = change.after is not None and fits(change.after)
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": change.after}
    if not before or change.before is None:
        return None
    version = {**change.before["metadata"], "resourceVersion": str(change.version)}
    return {"type": "DELETED", "object": {**change.before, "metadata": version}}
