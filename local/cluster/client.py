"""A small client of the Kubernetes API, objects as dicts: for the stack's own parts and its tests.

It speaks to any API server, this package's and the real one alike.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import urllib3

from local.cluster.certificates import client_context
from local.cluster.errors import StatusError
from local.cluster.resources import PODS, Json, Objects, Resource

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_READ_SECONDS = 15


class ClusterClient:
    """Talks to the API server at `url` as the owner of `token`."""

    def __init__(self, url: str, ca_pem: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(ssl_context=client_context(ca_pem), maxsize=16)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return one object. Raises `StatusError`, or urllib3's `HTTPError` without an answer."""
        return self._json("GET", resource.path(namespace, name))

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
    ) -> Objects:
        """Return the objects of a namespace ('': of all) that fit the selector."""
        return self.list_with_version(resource, namespace, label_selector=label_selector)[0]

    def list_with_version(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
    ) -> tuple[Objects, str]:
        """Return the objects and the resource version to watch from."""
        query = {"labelSelector": label_selector} if label_selector else {}
        found = self._json("GET", resource.path(namespace), query=query)
        return found["items"], str(found["metadata"]["resourceVersion"])

    def create(
        self,
        resource: Resource,
        namespace: str,
        manifest: Json,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Json:
        """Create an object, or post to a subresource of the named one."""
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **manifest}
        return self._json("POST", resource.path(namespace, name, subresource), body)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        *,
        content_type: str = "",
        subresource: str = "",
    ) -> Json:
        """Patch an object, or its status: as kubectl does, strategically what is not custom."""
        content_type = content_type or (MERGE if resource.custom else STRATEGIC)
        path = resource.path(namespace, name, subresource)
        return self._json("PATCH", path, patch, content_type=content_type)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace_seconds: int | None = None,
        uid: str = "",
    ) -> Json:
        """Delete an object; with `uid` only if it is still that one."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid:
            options["preconditions"] = {"uid": uid}
        return self._json("DELETE", resource.path(namespace, name), options)

    def log(self, namespace: str, pod: str, container: str = "", **options: str) -> str:
        """Return a container's log; options as in the API: sinceTime, previous."""
        query = {"container": container, **options}
        answer = self._send("GET", PODS.path(namespace, pod, "log"), query=query)
        return answer.data.decode("utf-8", "replace")

    def watch(
        self, resource: Resource, namespace: str, version: str, seconds: int = 60
    ) -> "WatchStream":
        """Watch the changes after a version, for so many seconds."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        path = resource.path(namespace)
        return WatchStream(self._send("GET", path, query=query, stream_seconds=seconds))

    def server_version(self) -> str:
        """Return the server's version: 'v1.33.0'."""
        return str(self._json("GET", "/version")["gitVersion"])

    def close(self) -> None:
        """End the connections that are kept."""
        self._pool.clear()

    def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        answer = self._send(method, path, body, query=query, content_type=content_type)
        document: Json = answer.json()
        return document

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        stream_seconds: int = 0,
    ) -> urllib3.BaseHTTPResponse:
        given = {key: value for key, value in (query or {}).items() if value}
        url = f"{self._url}{path}?{urlencode(given)}" if given else f"{self._url}{path}"
        answer = self._pool.request(
            method,
            url,
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Content-Type": content_type},
            timeout=urllib3.Timeout(connect=2, read=_READ_SECONDS + stream_seconds),
            retries=False,
            preload_content=not stream_seconds,
        )
        if answer.status >= 300:
            try:
                raise StatusError.of(answer.status, answer.json())
            except ValueError:
                message = f"the API server answered {answer.status}"
                raise StatusError(answer.status, "", message) from None
        return answer


class WatchStream:
    """The events of one watch; iterating ends when the server ends it or `close` is called."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[Json]:
        rest = b""
        try:
            for piece in self._answer.stream(65536):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            self._answer.close()

    def close(self) -> None:
        """End the watch, also from another thread while it waits."""
        with contextlib.suppress(RuntimeError, ValueError):  # it has ended already
            self._answer.shutdown()
