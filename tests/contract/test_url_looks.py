"""`keyturn.adapters.http`: how the health and login URLs are looked at, on a real web server."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keyturn import errors
from keyturn.adapters import http
from keyturn.validation.endpoints import Answer

HUGE = 64 * 1024 * 1024


class Site(ThreadingHTTPServer):
    """Answers by path, and remembers each request with the port that it came from."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, int]] = []
        self.sent = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        """Answer 200, or as the path says."""
        self.server.asked.append((self.path, self.client_address[1]))
        if self.path == "/slow":
            self.server.over.wait(5)
        if self.path in {"/slow", "/silent"}:
            self.close_connection = True
            return
        self.send_response(302 if self.path == "/login" else 200)
        if self.path == "/login":
            self.send_header("Location", f"{self.server.url}/elsewhere")
        length = HUGE if self.path == "/huge" else 0
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(length // http.BODY_BYTES):
                self.server.sent += self.wfile.write(bytes(http.BODY_BYTES))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_redirect_is_told_and_not_followed(site: Site) -> None:
    found = http.UrllibWeb().look(f"{site.url}/login")
    assert found == Answer(f"{site.url}/login", 302, f"{site.url}/elsewhere")
    assert [path for path, _ in site.asked] == ["/login"]


def test_every_look_is_a_connection_of_its_own_so_that_any_pod_may_answer(site: Site) -> None:
    web = http.UrllibWeb()
    for _ in range(3):
        assert web.look(f"{site.url}/healthz").status == 200
    assert len({port for _, port in site.asked}) == 3


def test_a_huge_answer_is_not_read_to_its_end(site: Site) -> None:
    """What the sockets hold besides is a few megabytes."""
    assert http.UrllibWeb().look(f"{site.url}/huge").status == 200
    assert site.sent < HUGE


def test_a_server_that_closes_without_an_answer_is_unhealthy_and_asked_once(site: Site) -> None:
    with pytest.raises(errors.ServiceUnhealthy, match="/silent does not answer"):
        http.UrllibWeb().look(f"{site.url}/silent")
    assert [path for path, _ in site.asked] == ["/silent"]


def test_a_silent_server_is_given_up_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.05)
    with pytest.raises(
        errors.ServiceUnhealthy, match=r"does not send a complete response within 0\.05 s"
    ):
        http.UrllibWeb().look(f"{site.url}/slow")
    site.over.set()
