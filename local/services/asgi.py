"""The few lines of ASGI that the services share: requests, responses, routes."""

import html
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from local.services import access_log

MAX_BODY_BYTES = 16 * 1024

Scope = Mapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class UnavailableError(Exception):
    """Something that the service depends on does not answer; the client gets a 503."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a route sees of a request."""

    query: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers."""

    status: int
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def with_cookie(self, name: str, value: str, *, max_age: int) -> "Response":
        """Return the same response that also sets a cookie; a `max_age` of 0 seconds deletes it.

        Not `Secure`, because the local stack speaks plain HTTP on the loopback interface.
        """
        cookie = f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax"
        return replace(self, headers=(*self.headers, ("set-cookie", cookie)))


Route = Callable[[Request], Awaitable[Response]]


def redirect(url: str, **query: str) -> Response:
    """Answer with a 302 to `url`, with those query parameters that are not empty."""
    present = {name: value for name, value in query.items() if value}
    separator = "&" if "?" in url else "?"
    location = f"{url}{separator}{urlencode(present)}" if present else url
    return Response(302, headers=(("location", location),))


def page(text: str, status: int = 200, *, markup: str = "") -> Response:
    """Answer with a page: a line of text, which is escaped, and markup, which is not."""
    line = html.escape(text)
    return Response(status, f"<!doctype html><title>{line}</title><p>{line}</p>{markup}\n".encode())


def json_response(document: Mapping[str, object], status: int = 200) -> Response:
    """Answer with a JSON document."""
    return Response(status, json.dumps(document).encode(), "application/json")


class Application:
    """An ASGI application: routes by method and path.

    While `draining`, each response asks its client to close the connection, so that clients with
    kept connections move on to another process before this one ends. With `logs_access`, each
    request is a line on the standard output.
    """

    def __init__(
        self, routes: Mapping[tuple[str, str], Route], *, logs_access: bool = False
    ) -> None:
        self.draining = False
        self._logs_access = logs_access
        self._routes = routes
        self._paths = {path for _, path in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the ASGI interface)."""
        response = await self._respond(scope, receive)
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            (b"cache-control", b"no-store"),
            *((name.encode(), value.encode("latin-1")) for name, value in response.headers),
        ]
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        if self._logs_access:
            access_log.write(scope, response.status, len(response.body))

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = self._routes.get((method, scope["path"]))
        if route is None:
            known = scope["path"] in self._paths
            return page("Method not allowed", 405) if known else page("Not found", 404)
        body = await _read_body(receive)
        if body is None:
            return page("Request too large", 413)
        try:
            return await route(_request(scope, body))
        except UnavailableError as error:
            return page(f"{error}. Please try again in a moment.", 503)


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if it is larger than any the services expect."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _request(scope: Scope, body: bytes) -> Request:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    pairs = (pair.partition("=") for pair in headers.get(b"cookie", "").split("; "))
    return Request(
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
        cookies={name: value for name, _, value in pairs},
        form=dict(parse_qsl(body.decode("latin-1"))),
    )
