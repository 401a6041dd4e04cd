"""The sessions that were encrypted under the old key: where they are, and how many.

A session store is one database on one primary, or on every primary of a cluster. This module
defines its interface, verifies that a purge would be permitted, and counts. The purge itself is
`sessions.purge`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from keyturn import errors
from keyturn.run.ledger import SessionCount

SLICE_SECONDS = 20.0
EMERGENCY_COUNT_SECONDS = 1.0
START_CURSOR = "0"  # a SCAN begins with this cursor, and ends when the server returns it
SAMPLES = 1000

Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class ScanPage:
    """The result of one SCAN and, if it deletes, its UNLINK. `cursor` is that of the next SCAN."""

    cursor: str
    matched: int
    deleted: int = 0
    left: int = 0


@dataclass(frozen=True)
class Pace:
    """The load of a purge on a primary, which does nothing else during a page.

    A page is halved if it took longer than `page_seconds` and doubled if it took less than half of
    that. After each page the purge pauses for `rest` times as long as the page took.
    """

    page_seconds: float
    least_keys: int
    most_keys: int
    rest: float

    def next_keys(self, keys: int, seconds: float) -> int:
        """The size of the next page, from that of the last one and the time it took."""
        if seconds > self.page_seconds:
            return max(self.least_keys, keys // 2)
        if seconds < self.page_seconds / 2:
            return min(self.most_keys, keys * 2)
        return keys


# The server's work is the limit: more than 1,000 keys a page gain nothing, and others wait longer.
PACES = {
    "fast": Pace(page_seconds=0.01, least_keys=100, most_keys=1000, rest=0.0),
    "gentle": Pace(page_seconds=0.00025, least_keys=16, most_keys=128, rest=1.0),
}


class Primary(Protocol):
    """One server that holds sessions, as it was when the store was asked for its primaries."""

    @property
    def name(self) -> str:
        """Its address."""

    @property
    def identity(self) -> str:
        """Changes with a restart, with a failover, and when slots come or go."""

    @property
    def keys(self) -> int:
        """All keys of the database, sessions or not (INFO keyspace)."""

    def check_settled(self) -> None:
        """Raise SessionStoreUnavailable while keys are moving between primaries."""

    def latency(self) -> float:
        """The seconds that a call takes which does nothing."""

    def count_page(self, cursor: str, keys: int) -> ScanPage:
        """One SCAN of about `keys` keys, deleting none."""

    def delete_page(self, cursor: str, keys: int) -> ScanPage:
        """One SCAN of about `keys` keys, deleting those that match."""

    def has_foreign_keys(self, samples: int) -> bool:
        """Whether one of so many random keys is not a session."""

    def flush(self) -> None:
        """Empty the whole database, at once and in the background."""


class SessionStore(Protocol):
    """The database that holds the sessions."""

    def primaries(self) -> Sequence[Primary]:
        """Every primary, as it is now.

        Raises SessionStoreUnavailable where one is missing, SessionDatabaseMissing where the server
        has no such database.
        """

    def check_permissions(self, *, flush: bool) -> None:
        """Prove that a purge is permitted, deleting none. Raises SessionCommandRefused."""


class Clock(Protocol):
    """The module `time`; tests replace it."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


def check_ready(store: SessionStore, *, flush: bool) -> None:
    """Prove that the sessions can be purged as configured; delete none."""
    primaries = store.primaries()
    store.check_permissions(flush=flush)
    for primary in primaries:
        primary.check_settled()
        if flush:
            refuse_foreign_keys(primary)


def refuse_foreign_keys(primary: Primary) -> None:
    """Raise FlushRefused if the database holds keys other than sessions."""
    if primary.has_foreign_keys(SAMPLES):
        raise errors.FlushRefused(
            f"The database on {primary.name} holds keys that are not sessions. Nothing was flushed."
            " Set PurgeMode to scan, or move the sessions to a separate database."
        )


def count_for(mode: str, store: SessionStore, pace: Pace, clock: Clock) -> SessionCount:
    """Count for as long as a run of this mode permits: an emergency does not wait for a number."""
    if mode != "emergency":
        return count_sessions(store, pace, clock)
    try:
        return count_sessions(store, pace, clock, EMERGENCY_COUNT_SECONDS)
    except errors.KeyturnError as problem:
        return {"sessions": 0, "counted": False, "problem": f"{type(problem).__name__}: {problem}"}


def count_sessions(
    store: SessionStore, pace: Pace, clock: Clock, seconds: float = SLICE_SECONDS
) -> SessionCount:
    """The current number of sessions, which is the number of users that a rotation logs out.

    Counts for a limited time; `counted` is false if the database is larger than that.
    """
    end = clock.monotonic() + seconds

    def count_on(primary: Primary) -> tuple[int, bool]:
        sessions, cursor, keys, latency = 0, "", pace.least_keys, primary.latency()
        while cursor != START_CURSOR and clock.monotonic() < end:
            begun = clock.monotonic()
            page = primary.count_page(cursor or START_CURSOR, keys)
            keys = throttle(pace, keys, clock.monotonic() - begun, latency, clock)
            sessions, cursor = sessions + page.matched, page.cursor
        return sessions, cursor == START_CURSOR

    counts = map_concurrently(count_on, store.primaries())
    return {
        "sessions": sum(sessions for sessions, _ in counts),
        "counted": all(whole for _, whole in counts),
    }


def throttle(pace: Pace, keys: int, seconds: float, latency: float, clock: Clock) -> int:
    """Pause as the pace requires after a page, and return the size of the next one.

    The round trip is not the server's work: `latency` is subtracted from the page's time.
    """
    worked = max(0.0, seconds - latency)
    if pace.rest:
        clock.sleep(pace.rest * worked)
    return pace.next_keys(keys, worked)


def map_concurrently(work: Callable[[Given], Found], items: Sequence[Given]) -> list[Found]:
    """Process all items in parallel: each waits for another server."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        return list(pool.map(work, items))
