"""Keeps a listener up to date with the objects of a resource: list, watch, list again if need be.

Kubernetes' own clients call this a reflector. Whatever ends a watch (its time is over, the server
restarted, its history is gone), the next list brings the listener up to date, deletions included.
"""

import logging
import threading
from collections.abc import Callable

import urllib3

from local.cluster.client import ClusterClient, WatchStream
from local.cluster.errors import StatusError
from local.cluster.resources import Json, Resource

log = logging.getLogger(__name__)

Listener = Callable[[str, Json], None]
_PAUSE_SECONDS = 0.2


class Reflector:
    """Calls `listener(type, object)` on a thread of its own, type as in a watch event."""

    def __init__(
        self, client: ClusterClient, resource: Resource, namespace: str, listener: Listener
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._listener = listener
        self._known: dict[str, Json] = {}
        self._closed = threading.Event()
        self._stream: WatchStream | None = None
        self.synced = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"reflect {resource.plural}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        stream = self._stream
        if stream:
            stream.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._follow(self._list())
            except (StatusError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if not self._closed.is_set():
                    log.debug("watch of %s ended: %s", self._resource.plural, error)
                    self._closed.wait(_PAUSE_SECONDS)

    def _list(self) -> str:
        items, version = self._client.list_with_version(self._resource, self._namespace)
        found = {item["metadata"]["uid"]: item for item in items}
        for uid in self._known.keys() - found.keys():
            self._tell("DELETED", self._known[uid])
        for uid, item in found.items():
            known = self._known.get(uid)
            if known is None or _version(known) != _version(item):
                self._tell("MODIFIED" if known else "ADDED", item)
        self.synced.set()
        return version

    def _follow(self, version: str) -> None:
        self._stream = self._client.watch(self._resource, self._namespace, version)
        if self._closed.is_set():  # closed in between: nobody else would end it
            self._stream.close()
        for event in self._stream:
            if event["type"] == "ERROR":
                return
            self._tell(event["type"], event["object"])

    def _tell(self, kind: str, item: Json) -> None:
        uid = item["metadata"]["uid"]
        if kind == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = item
        self._listener(kind, item)


def _version(item: Json) -> str:
    return str(item["metadata"]["resourceVersion"])
