"""Logins while pods of two keys serve side by side: sent in circles, and told apart from failures.

The server here answers as the two services do then: what one pod has sealed, the next one cannot
open, so `/callback` begins the login anew.
"""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.browser import MAX_REDIRECTS, Browser, LoginLoopError, UnexpectedAnswerError
from local.http_client import HttpClient
from local.services.session_store import COOKIE
from local.traffic import Visitors
from tests.local_services import wait_for


class TwoKeys(ThreadingHTTPServer):
    """A console whose logins go in circles while `mixed` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mixed = True
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TwoKeys

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        logged_in = f"{COOKIE}=new" in self.headers.get("Cookie", "")
        following = {"/": "/login", "/login": "/callback", "/callback": "/login"}[path]
        finished = path == "/callback" and not self.server.mixed
        self.send_response(200 if path == "/" and logged_in else 302)
        self.send_header("Location", "/" if finished else following)
        if finished:
            self.send_header("Set-Cookie", f"{COOKIE}=new; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def console() -> Iterator[TwoKeys]:
    with TwoKeys() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


async def log_in(url: str) -> str:
    async with HttpClient() as http:
        return await Browser(http, url, user="somebody").log_in()


def test_a_login_in_circles_ends_after_as_many_redirects_as_in_a_browser(
    console: TwoKeys,
) -> None:
    with pytest.raises(LoginLoopError, match=f"more than {MAX_REDIRECTS} redirects"):
        asyncio.run(log_in(console.url))
    assert len(console.asked) == MAX_REDIRECTS


def test_a_loop_is_an_answer_that_no_user_should_see() -> None:
    assert issubclass(LoginLoopError, UnexpectedAnswerError)


def test_a_login_gets_through_once_all_pods_have_one_key(console: TwoKeys) -> None:
    console.mixed = False
    assert asyncio.run(log_in(console.url)) == "new"


def test_visitors_count_loops_apart_from_failures_and_try_again(console: TwoKeys) -> None:
    with Visitors(console.url, ["old"], pause_seconds=0.01) as visitors:
        wait_for(lambda: visitors.report().login_loops >= 2, "loops")
        assert visitors.report().logged_in_again == 0
        console.mixed = False
        wait_for(lambda: visitors.report().pages >= 2, "pages")
    report = visitors.report()
    assert (report.logged_out, report.logged_in_again, report.failed) == (1, 1, 0)
