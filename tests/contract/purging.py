"""Purges that something happens to: calls that are repeated as the state machine repeats them.

Run as a program it purges a server and keeps its ledger in a file, so that a test can kill it:
`python -m tests.contract.purging PORT LEDGER`. In the file is also who works and at which call.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from keyturn import errors
from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.run import times
from keyturn.sessions import progress as purge_progress
from keyturn.sessions import purge
from keyturn.sessions import store as session_store
from keyturn.sessions.purge import PurgeOptions
from keyturn.sessions.store import Pace
from tests.contract.session_stores import settings_of

Ledger = dict[str, Any]
Keep = Callable[[Ledger], object]

PATIENCE_SECONDS = 120.0  # a hang; on a busy machine a purge may take its time
# Ten keys a page: some seconds for some ten thousand sessions, so that a fault is always in time.
SMALL_PAGES = PurgeOptions(Pace(page_seconds=0.005, least_keys=10, most_keys=10, rest=0.0))
# How much faster than time a clock runs: slices of a tenth, and of a fiftieth, of a second.
SHORT_SLICES, SHORTER_SLICES = 200.0, 1000.0
SHORT_CALLS = 3
LOOKS_A_PAGE = 3  # at the clock: before it, at its start and at its end


class HurriedClock:
    """A clock that runs faster than time, so that slices end sooner."""

    def __init__(self, speed: float) -> None:
        self.speed = speed

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds / self.speed)


class ActingClock(HurriedClock):
    """Acts at certain pages of a purge, on the purge's own thread: never before, never too late."""

    def __init__(self, pages: Sequence[int], act: Callable[[], object]) -> None:
        super().__init__(1.0)
        self._looks, self._pages, self._act = 0, pages, act

    def monotonic(self) -> float:
        self._looks += 1
        if self._looks in {page * LOOKS_A_PAGE for page in self._pages}:
            self._act()
        return super().monotonic()


class Purging:
    """A purge in the making: the ledger after its last call, and the errors that calls ended in."""

    def __init__(
        self, store: session_store.SessionStore, ledger: Ledger | None = None, speed: float = 1.0
    ) -> None:
        self.store, self.ledger, self.clock = store, ledger or {}, HurriedClock(speed)
        self.calls, self.problems = 0, list[errors.RetryMe]()

    @property
    def entry(self) -> dict[str, Any]:
        """What the last call that had an answer returned."""
        found: dict[str, Any] = self.ledger.get("purge_sessions", {})
        return found

    @property
    def finished(self) -> bool:
        return bool(self.entry.get("finished"))

    def call(self) -> None:
        """What one call of the function does; a ledger travels as JSON."""
        ledger = json.loads(json.dumps(self.ledger))
        done = purge.next_slice(ledger, self.store, SMALL_PAGES, self.clock, times.now())
        self.ledger = {"purge_sessions": purge_progress.progress_entry(done, times.now())}
        self.calls += 1

    def to_the_end(self) -> Any:
        """Call until it is finished, again after what the state machine retries."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.finished:
            try:
                self.call()
            except errors.RetryMe as problem:
                self.problems.append(problem)
                time.sleep(0.02)
            assert time.monotonic() < deadline, f"the purge never ends: {self.problems[-1:]}"
        return self.entry


class Running:
    """A purge on a thread of its own, which meets what the test does meanwhile."""

    def __init__(self, purging: Purging) -> None:
        self.purging = purging
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._future: Future[dict[str, Any]] = self._pool.submit(purging.to_the_end)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown()

    @property
    def over(self) -> bool:
        return self._future.done()

    def end(self) -> dict[str, Any]:
        """Its last entry."""
        return self._future.result(PATIENCE_SECONDS)


def main(port: int, path: Path) -> None:
    """Purge on from the ledger in the file: a few short calls, then one that takes its time."""
    store = RedisSessions(settings_of("127.0.0.1", port))
    purging = Purging(store, json.loads(path.read_text()) if path.exists() else {}, SHORTER_SLICES)
    while not purging.finished:
        purging.call()
        keep(path, {**purging.ledger, "process": os.getpid(), "calls": purging.calls})
        if purging.calls == SHORT_CALLS:
            purging.clock = HurriedClock(1.0)


def keep(path: Path, ledger: Ledger) -> None:
    """Write the ledger so that a reader never sees a part of it."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(ledger))
    written.replace(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
