"""A server that answers nobody as a server should: in HTTP or RESP, in TLS or not."""

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Literal

MANNERS = ("drips-headers", "drips-body", "stalls", "never-ends", "floods", "silent")
DRIP_SECONDS = 0.02
HUGE = 8 * 1024**3
MEGABYTE = bytes(1024 * 1024)
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Language = Literal["http", "resp"]

BEGINNINGS: dict[tuple[Language, str], bytes] = {
    ("http", "drips-headers"): b"HTTP/1.1 200 OK\r\nX-Drip: ",
    ("http", "drips-body"): HEADERS + b"Content-Length: 60000\r\n\r\n{",
    ("http", "stalls"): HEADERS + b"Content-Length: 60000\r\n\r\n",
    ("http", "never-ends"): HEADERS + b"Transfer-Encoding: chunked\r\n\r\n",
    ("http", "floods"): HEADERS + b"Content-Length: %d\r\n\r\n" % HUGE,
    ("resp", "drips-headers"): b"+",
    ("resp", "drips-body"): b"$60000\r\n",
    ("resp", "stalls"): b"$60000\r\n",
    ("resp", "never-ends"): b"*1000000\r\n",
    ("resp", "floods"): b"$%d\r\n" % HUGE,
}
PIECES = {"http": b"1\r\n \r\n", "resp": b":1\r\n"}


class HostileServer:
    """Answers each connection in one manner until the client has gone. Ends with its block.

    With `good` it first answers one request of each connection with that.
    """

    def __init__(
        self,
        manner: str,
        language: Language = "http",
        tls: ssl.SSLContext | None = None,
        good: bytes = b"",
    ) -> None:
        self._manner, self._language, self._tls = manner, language, tls
        self._good = good
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port: int = self._listening.getsockname()[1]
        self.sent = 0

    def __enter__(self) -> "HostileServer":
        self._start(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                self._start(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            if self._manner == "silent":
                self._over.wait()
                return
            accepted.settimeout(1)
            with self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted as it:
                it.recv(65536)
                if self._good:
                    it.sendall(self._good)
                    it.recv(65536)
                for piece in self._answer():
                    it.sendall(piece)
                    self.sent += len(piece)

    def _answer(self) -> Iterator[bytes]:
        yield BEGINNINGS[self._language, self._manner]
        if self._manner == "floods":
            for _ in range(HUGE // len(MEGABYTE)):
                if self._over.is_set():
                    return
                yield MEGABYTE
        piece = PIECES[self._language] if self._manner == "never-ends" else b"a"
        for _ in itertools.count():
            if self._over.wait(DRIP_SECONDS):
                return
            if self._manner != "stalls":
                yield piece
