"""Keeps urllib3's connections within the limit of the operation that uses them, see `deadline`.

All HTTP uses urllib3: directly, and below boto3, requests and the Kubernetes client. Each has a
pool manager, whose classes of pools and connections are extended here. Nothing is decompressed:
compression is never requested, and a small response could become a huge one.
"""

import functools
import io
import socket
from http.client import HTTPResponse
from typing import Any

from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection

from keyturn.adapters import deadline
from keyturn.adapters.deadline import Limit


def bound(manager: PoolManager) -> None:
    """Make the connections that a pool manager creates from now on keep the limit."""
    manager.pool_classes_by_scheme = {
        scheme: _bounded(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


@functools.cache
def _bounded(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection = type(f"Bounded{pool.ConnectionCls.__name__}", (_Bounded, pool.ConnectionCls), {})
    return type(f"Bounded{pool.__name__}", (pool,), {"ConnectionCls": connection})


class _Response(HTTPResponse):
    """A response that is read within its limit, the headers included."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if limit := deadline.current():
            self.fp = io.BufferedReader(_Reader(self.fp.detach(), limit))

    def begin(self) -> None:
        """Read the status and the headers."""
        super().begin()
        del self.headers["content-encoding"]


class _Reader(io.RawIOBase):
    """The bytes that a socket reads, within the limit."""

    def __init__(self, raw: io.RawIOBase, limit: Limit) -> None:
        self._raw, self._limit = raw, limit

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer. Raises DeadlineExpired, TooMuch."""
        self._limit.remaining()
        read: int = self._raw.readinto(buffer)
        self._limit.took(read)
        return read

    def close(self) -> None:
        """Close the socket's own reader too."""
        self._raw.close()
        super().close()


class _Bounded(HTTPConnection):
    """A connection whose socket the limit can shut down, from before the TLS handshake on."""

    response_class = _Response

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if limit := deadline.current():
            try:
                limit.watch(connected)
            except deadline.DeadlineExpired:
                connected.close()
                raise
        return connected

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any
    ) -> None:
        """Send a request, over a socket that an earlier operation may have used.

        botocore first asks S3 whether it accepts the body (`Expect`), and reads the answer outside
        the limit. Records are short: they are sent without asking.
        """
        if self.sock is not None and (limit := deadline.current()):
            limit.watch(self.sock)
        kept = {name: value for name, value in (headers or {}).items() if name != "Expect"}
        super().request(method, url, body, kept, **options)
