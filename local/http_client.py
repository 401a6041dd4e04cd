"""A lean HTTP/1.1 client with kept connections, for the stack's many small requests.

It parses with httptools, which uvicorn brings along, and costs a fraction of the processor time
of the usual clients: the users' requests must not slow down the services that they measure.
Like a browser, it sends a request again if the other side closed the kept connection before any
of the answer came (RFC 9112 section 9.3.1); no request of the stack does harm when it comes twice.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

import httptools

TIMEOUT_SECONDS = 10.0
READ_BYTES = 64 * 1024


class HttpError(Exception):
    """No whole answer came; the message says why."""


class _StaleConnectionError(Exception):
    """A kept connection turned out to be closed."""


@dataclass(slots=True)
class Reply:
    """An answer. Header names are in lower case."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the first header of this name, or an empty string."""
        return next((value for header, value in self.headers if header == name), "")


class _ReplyParser:
    """Makes a reply of what comes in; its `on_` methods are called by httptools."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.complete = self.keep_alive = False
        self._parser = httptools.HttpResponseParser(self)
        self.feed_data = self._parser.feed_data

    def on_header(self, name: bytes, value: bytes) -> None:
        header = name.decode("latin-1").lower(), value.decode("latin-1")
        self.reply.headers.append(header)

    def on_headers_complete(self) -> None:
        self.reply.status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()  # it no longer knows at the end

    def on_body(self, body: bytes) -> None:
        self.reply.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kept: bool = False


class HttpClient:
    """Sends requests over plain HTTP and keeps connections for the next ones."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._idle: dict[str, list[_Connection]] = defaultdict(list)

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET a URL; raises `HttpError`."""
        return await self._request("GET", url, headers or {}, b"")

    async def post_form(
        self, url: str, form: str, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """POST a URL-encoded form; raises `HttpError`."""
        content_type = {"content-type": "application/x-www-form-urlencoded"}
        return await self._request("POST", url, {**content_type, **(headers or {})}, form.encode())

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"content-length: {len(body)}")
        message = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(parts.netloc, message)
        except TimeoutError:
            raise HttpError(f"no answer within {self._timeout_seconds:g} seconds") from None
        except OSError as error:
            raise HttpError(f"connection failed: {error.strerror or error}") from error
        except httptools.HttpParserError as error:
            raise HttpError("the answer is not HTTP") from error

    async def _exchange(self, netloc: str, message: bytes) -> Reply:
        while True:
            connection = await self._connect(netloc)
            keep = False
            try:
                reply, keep = await _send_and_receive(connection, message)
            except _StaleConnectionError:
                continue
            finally:
                if keep:
                    kept = _Connection(connection.reader, connection.writer, kept=True)
                    self._idle[netloc].append(kept)
                else:
                    connection.writer.close()
            return reply

    async def _connect(self, netloc: str) -> _Connection:
        idle = self._idle[netloc]
        while idle:
            connection = idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        host, _, port = netloc.partition(":")
        return _Connection(*await asyncio.open_connection(host, int(port or 80)))

    async def aclose(self) -> None:
        """Close the kept connections, and return once they are closed."""
        kept = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for connection in kept:
            connection.writer.close()
        for connection in kept:
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()


async def _send_and_receive(connection: _Connection, message: bytes) -> tuple[Reply, bool]:
    """Return the answer, and whether the connection can be kept."""
    parser = _ReplyParser()
    started = False
    with contextlib.suppress(ConnectionError):
        connection.writer.write(message)
        while not parser.complete and (received := await connection.reader.read(READ_BYTES)):
            started = True
            parser.feed_data(received)
    if parser.complete:
        return parser.reply, parser.keep_alive
    if connection.kept and not started:
        raise _StaleConnectionError
    where = "in the middle of the answer" if started else "without an answer"
    raise HttpError(f"the connection was closed {where}")
