"""Nothing answers that an emergency could wait for: health drips, login hangs, channels are silent.

It lasts until the pods are replaced, so that the rotation can be validated then. What is claimed is
that nothing of it held up the new key, and that the record says what did not answer.
"""

import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from local.checks import Claim
from local.stack import LocalStack

SERVICE = "auth-service"
SILENT = ("sns", "events")
DRIP_SECONDS = 1.0
PROMOTED_WITHIN_SECONDS = 5.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = ""
        self.relieved = threading.Event()
        self.relieved.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    """Drips or hangs until the server is relieved; then it answers as the real service does."""

    server: _Server

    def handle(self) -> None:
        path = self.request.recv(65536).split(b" ")[1:2]
        where = path[0].decode() if path else "/"
        try:
            if where.startswith("/health") and not self.server.relieved.is_set():
                self._drip()
            self.server.relieved.wait()
            self.request.sendall(_answer(self.server.upstream, where))
        except OSError:
            return  # who asked has gone

    def _drip(self) -> None:
        self.request.sendall(HEAD)
        while not self.server.relieved.wait(DRIP_SECONDS):
            self.request.sendall(b".")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is the answer."""
        return


def _answer(upstream: str, path: str) -> bytes:
    """What the real service answers; before there is one, that all is well."""
    if not upstream:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    try:
        found = urllib.request.build_opener(_NoRedirect).open(f"{upstream}{path}", timeout=5)
        status, location = found.status, ""
    except urllib.error.HTTPError as error:
        status, location = error.code, error.headers.get("location", "")
    head = f"HTTP/1.1 {status} -\r\nLocation: {location}\r\nContent-Length: 0\r\n"
    return f"{head}Connection: close\r\n\r\n".encode()


_SERVER: list[_Server] = []


def options() -> Mapping[str, Any]:
    """The stack's parameters: what is looked at is here."""
    _SERVER.append(_Server())
    url = _SERVER[-1].url
    return {"parameters": {"HealthUrls": f"{url}/healthz", "LoginUrl": f"{url}/login"}}


def begin(stack: LocalStack) -> None:
    """Let nothing answer any more."""
    server = _SERVER[-1]
    server.upstream = stack.urls[SERVICE]
    server.relieved.clear()
    for service in SILENT:
        stack.cloud.silence(service)


def end(stack: LocalStack) -> None:
    """Let everything answer again."""
    _SERVER[-1].relieved.set()
    for service in SILENT:
        stack.cloud.unsilence(service)


def claims(_stack: LocalStack, record: Mapping[str, Any]) -> list[Claim]:
    """The key was not held up, and the record says what did not answer."""
    seconds = record["timings"]["secondsToPromotion"]
    named = [said for said in record["failedChecks"] if "validate_rotation" in said]
    unanswered = any(said.startswith("PreflightUnanswered") for said in record["failedChecks"])
    return [
        Claim(
            f"the new key was current {seconds:g} s after RotateSecret",
            0 <= seconds <= PROMOTED_WITHIN_SECONDS,
        ),
        Claim(
            "the record names the checks that failed and stopped nothing",
            bool(named) or unanswered,
        ),
    ]
