"""One lasting address per service: a small HTTP proxy to the service's ready pods.

Each request is balanced on its own, over a connection of its own to a pod, so a client that keeps
its connection never clings to a pod that ends. A pod that refuses or resets the connection before
the first byte of its answer is passed over for the next one: during a rollout no request is lost
between a pod's last breath and the news of it.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

from local.cluster.client import ClusterClient
from local.cluster.endpoints import Endpoint, Endpoints
from local.cluster.http_messages import MAX_HEAD, Head, MessageError, read_body, read_head

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 60.0
_IDLE_SECONDS = 120.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ingress:
    """Serves each service of a namespace on a loopback port, until `close`."""

    def __init__(self, client: ClusterClient, namespace: str) -> None:
        self._endpoints = Endpoints(client, namespace)
        self._lock = threading.Lock()
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ingress", daemon=True)
        self._thread.start()

    def url(self, service: str, port: int = 0) -> str:
        """Return the service's address, the same each time; it answers 503 without ready pods.

        `port` is where the first call makes it listen; 0 leaves the choice to the system.
        """
        with self._lock:
            if service not in self._servers:
                listening = asyncio.run_coroutine_threadsafe(
                    self._listen(service, port), self._loop
                )
                self._servers[service] = listening.result(_CONNECT_SECONDS)
            address = self._servers[service].sockets[0].getsockname()
        return f"http://127.0.0.1:{address[1]}"

    def close(self) -> None:
        """Stop listening and end all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_ANSWER_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._endpoints.close()

    async def _listen(self, service: str, port: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await self._serve(service, reader, writer)

        return await asyncio.start_server(serve, "127.0.0.1", port, limit=MAX_HEAD, backlog=512)

    async def _end(self) -> None:
        for server in self._servers.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a client's connection, request by request, until either side ends it."""
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            try:
                while await self._serve_request(service, reader, writer):
                    pass
            except MessageError:
                await _refuse(writer, "400 Bad Request", "the request cannot be read")
            finally:
                writer.close()
                await writer.wait_closed()

    async def _serve_request(
        self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Serve one request; returns whether the connection can serve another."""
        head = await asyncio.wait_for(read_head(reader), _IDLE_SECONDS)
        if head is None:
            return False
        if head.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = head.for_next_hop("close") + await read_body(reader, head)
        answered = await self._ask(service, request)
        if answered is None:
            await _refuse(writer, "503 Service Unavailable", f"no pod of {service} is ready")
            return head.keeps_alive
        answer, (pod_reader, pod_writer) = answered
        try:
            bodiless = head.first_line.startswith("HEAD ")
            return await _pass_on(answer, pod_reader, writer, head, bodiless=bodiless)
        finally:
            pod_writer.close()

    async def _ask(self, service: str, request: bytes) -> tuple[Head, Stream] | None:
        """Send the request to one pod after another until one begins to answer."""
        tried: set[Endpoint] = set()
        while left := [one for one in self._endpoints.of(service) if one not in tried]:
            tried.add(left[0])
            with contextlib.suppress(OSError, TimeoutError, MessageError):
                return await _ask_pod(left[0][1], request)
        return None


async def _ask_pod(port: int, request: bytes) -> tuple[Head, Stream]:
    """Send the request and read the head of the answer. Raises `OSError` if there is none."""
    opening = asyncio.open_connection("127.0.0.1", port, limit=MAX_HEAD)
    reader, writer = await asyncio.wait_for(opening, _CONNECT_SECONDS)
    try:
        writer.write(request)
        await writer.drain()
        head = await asyncio.wait_for(_read_answer_head(reader), _ANSWER_SECONDS)
    except BaseException:
        writer.close()
        raise
    return head, (reader, writer)


async def _read_answer_head(reader: asyncio.StreamReader) -> Head:
    """Read the head of the answer proper, past heads like 100 Continue."""
    while head := await read_head(reader):
        if not head.status.startswith("1"):
            return head
    raise ConnectionResetError


async def _pass_on(
    answer: Head,
    pod: asyncio.StreamReader,
    client: asyncio.StreamWriter,
    request: Head,
    *,
    bodiless: bool,
) -> bool:
    """Pass an answer on; returns whether the client's connection can serve another request."""
    bodiless = bodiless or answer.status in {"204", "304"}
    framed = bodiless or answer.length is not None
    keep = framed and request.keeps_alive
    client.write(answer.for_next_hop("keep-alive" if keep else "close"))
    if not bodiless:
        with contextlib.suppress(MessageError):
            async for piece in _body(answer, pod):
                client.write(piece)
                await client.drain()
            await client.drain()
            return keep
        return False  # the pod broke off: the client must see that too
    await client.drain()
    return keep


async def _body(answer: Head, pod: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the parts of an answer's body. Raises `MessageError` if it breaks off."""
    left = answer.length
    while left is None or left > 0:
        piece = await pod.read(65536 if left is None else min(left, 65536))
        if not piece and left:
            raise MessageError("the body breaks off")
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


async def _refuse(writer: asyncio.StreamWriter, status: str, why: str) -> None:
    body = f"{why}\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    await writer.drain()
