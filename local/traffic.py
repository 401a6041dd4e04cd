"""Users who stay while the key is rotated: what they see is what a rotation does to people.

Each visitor requests the console's page at a gentle rate, as a person with an open browser would,
and logs in again when asked to. Each is a thread with connections of its own.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from local.browser import Browser, LoginLoopError, UnexpectedAnswerError
from local.http_client import HttpClient

PAUSE_SECONDS = 0.25
STOP_SECONDS = 15.0
KEPT_FAILURES = 1000
COUNTED = ("pages", "logged_out", "logged_in_again", "login_loops", "failed")


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that no user should see. `at` is in Unix seconds."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class VisitorsReport:
    """What the visitors met so far, in numbers of requests; `failures` holds the first ones.

    `login_loops` are logins that met pods of both keys and have to be tried again.
    """

    pages: int = 0
    logged_out: int = 0
    logged_in_again: int = 0
    login_loops: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()


class Visitors:
    """Visits the console from `start` to `close`, one visitor for each session cookie."""

    def __init__(
        self, console_url: str, cookies: Sequence[str], *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._console_url = console_url
        self._pause_seconds = pause_seconds
        self._counts = dict.fromkeys(COUNTED, 0)
        self._failures: list[Failure] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit, args=visitor, name="visitor", daemon=True)
            for visitor in enumerate(cookies)
        ]

    def start(self) -> None:
        """Begin to visit."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop visiting; the requests under way are finished. Safe to call twice."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_SECONDS)

    def report(self) -> VisitorsReport:
        """Return what the visitors met so far."""
        with self._lock:
            return VisitorsReport(**self._counts, failures=tuple(self._failures))

    def __enter__(self) -> "Visitors":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _visit(self, number: int, cookie: str) -> None:
        http = HttpClient()
        browser = Browser(http, self._console_url, user=f"visitor-{number}", cookie=cookie)
        with asyncio.Runner() as runner:
            while not self._stop.is_set():
                runner.run(self._look_at_page(browser))
                self._stop.wait(self._pause_seconds)
            runner.run(http.aclose())

    async def _look_at_page(self, browser: Browser) -> None:
        was_logged_in = bool(browser.cookie)
        try:
            if await browser.open_page():
                self._count("pages")
                return
            if was_logged_in:
                self._count("logged_out")
            await browser.log_in()
            self._count("logged_in_again")
        except LoginLoopError:
            self._count("login_loops")
        except UnexpectedAnswerError as error:
            self._fail(str(error))

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._counts["failed"] += 1
            if len(self._failures) < KEPT_FAILURES:
                self._failures.append(Failure(time.time(), reason))
