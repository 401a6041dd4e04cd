"""Stands between the functions and what they reach by address: Redis, and the services' URLs.

Every call that passes is named, and may be dropped before it arrives or robbed of its answer. What
a client sends at once is one call: these clients wait for each answer before they go on.
"""

import contextlib
import re
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

from tests.e2e.call_faults import Fate

Judge = Callable[[str], Fate | None]
_COMMAND = re.compile(rb"\*\d+\r\n\$\d+\r\n(\w+)\r\n")
_GET = re.compile(rb"GET (\S+) ")


class Relay:
    """Listens at `port` from the start; where it leads to is told later, as `target`."""

    def __init__(self) -> None:
        self.target = ("", 0)
        self.judge: Judge = lambda _call: None
        handler = type("Handler", (_Handler,), {"relay": self})
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(socketserver.BaseRequestHandler):
    relay: Relay

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self.relay.target) as server:
            self._relay(self.request, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what either side sends, until one ends or a call is to be lost."""
        lost = False
        while True:
            for ready in select.select([client, server], [], [])[0]:
                sent = ready.recv(65536)
                if not sent or (lost and ready is server):
                    return
                if ready is server:
                    client.sendall(sent)
                    continue
                fate = self.relay.judge(_name(sent))
                if fate is Fate.BEFORE:
                    return
                lost = fate is not None
                server.sendall(sent)


def _name(sent: bytes) -> str:
    """'redis EVAL' or 'GET /healthz'."""
    if command := _COMMAND.match(sent):
        return f"redis {command[1].decode()}"
    found = _GET.match(sent)
    return f"GET {found[1].decode()}" if found else "the rest of a call"


@contextlib.contextmanager
def relays(count: int) -> Iterator[list[Relay]]:
    """So many relays; they are gone afterwards."""
    made = [Relay() for _ in range(count)]
    try:
        yield made
    finally:
        for relay in made:
            relay.close()
