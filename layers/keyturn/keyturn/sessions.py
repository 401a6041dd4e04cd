"""End the sessions that were encrypted under the old key, in bounded slices.

Two passes over the database. The first deletes: SCAN returns every key that stays there from the
scan's start to its end at least once, so what existed when the pass began is gone when it ends. The
second only counts: what it finds was created since, by pods that run the new key, or could not be
deleted, which the first pass has counted. A restart or failover of the server changes its run id
and makes cursors meaningless, so the pass begins again.

One call works for a bounded time and returns its progress; the state machine calls again. The size
of a page follows the time that the last one took, so that other clients keep their latency.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from keyturn import errors
from keyturn.run import Ledger, moment, timestamp

SLICE_SECONDS = 20.0
PAGE_TARGET_SECONDS = 0.005
PAGE_KEYS_START, PAGE_KEYS_LEAST, PAGE_KEYS_MOST = 500, 100, 1000
RESTARTS_ALLOWED = 5

Pass = Literal["delete", "count", "finished"]


@dataclass(frozen=True)
class Page:
    """What one SCAN and its UNLINK did."""

    cursor: int
    matched: int
    deleted: int = 0
    left: int = 0


@dataclass(frozen=True)
class Purge:
    """How far a purge has come: plain values that travel through the state machine."""

    working: Pass
    startedAt: str  # noqa: N815 - the name in the ledger and the record
    server: str
    cursor: int = 0
    deleted: int = 0
    left: int = 0
    found: int = 0
    restarts: int = 0

    @property
    def finished(self) -> bool:
        """Whether both passes are through."""
        return self.working == "finished"


class SessionStore(Protocol):
    """What a purge needs of a Redis database."""

    def server_id(self) -> str:
        """The run id of the server: it changes with a restart or a failover."""

    def delete_page(self, cursor: int, keys: int) -> Page:
        """One SCAN of about `keys` keys, deleting those that match."""

    def count_page(self, cursor: int, keys: int) -> Page:
        """One SCAN of about `keys` keys, deleting none."""


class Stopwatch(Protocol):
    """A clock; tests move it."""

    def __call__(self) -> float:
        """Monotonic seconds."""


def check_ready(store: SessionStore) -> None:
    """Prove that the session store answers; delete none."""
    store.server_id()
    store.count_page(0, PAGE_KEYS_LEAST)


def count(store: SessionStore, watch: Stopwatch) -> dict[str, Any]:
    """How many sessions there are now: the number of users that a rotation logs out.

    Counts for one slice at the most; `counted` is false where the database is larger than that.
    """
    end, page, sessions = watch() + SLICE_SECONDS, Page(cursor=-1, matched=0), 0
    while page.cursor != 0 and watch() < end:
        page = store.count_page(max(0, page.cursor), PAGE_KEYS_MOST)
        sessions += page.matched
    return {"sessions": sessions, "counted": page.cursor == 0}


def progress(ledger: Ledger, store: SessionStore, at: datetime) -> Purge:
    """Where the last call stopped, or the beginning of a new purge."""
    found = ledger.get("purge_sessions")
    if found is None:
        return Purge("delete", timestamp(at), store.server_id())
    try:
        known = {name: found[name] for name in Purge.__dataclass_fields__}
    except KeyError as missing:
        raise errors.RequestRefused(f"The purge's progress has no {missing}.") from None
    return Purge(**known)


def purge(store: SessionStore, done: Purge, watch: Stopwatch) -> Purge:
    """Work on for one slice. Raises SessionStoreUnavailable or SessionStoreRefused."""
    end, keys = watch() + SLICE_SECONDS, PAGE_KEYS_START
    done = _same_server(store, done)
    while not done.finished and watch() < end:
        begun = watch()
        done = _turn_page(store, done, keys)
        keys = next_page_size(keys, watch() - begun)
        if done.cursor == 0:
            checked = _same_server(store, done)
            done = _next_pass(done) if checked.server == done.server else checked
    return done


def next_page_size(keys: int, seconds: float) -> int:
    """Halve the page when a call took too long for other clients, double it when it was quick."""
    if seconds > PAGE_TARGET_SECONDS:
        return max(PAGE_KEYS_LEAST, keys // 2)
    if seconds < PAGE_TARGET_SECONDS / 2:
        return min(PAGE_KEYS_MOST, keys * 2)
    return keys


def as_entry(done: Purge, at: datetime) -> dict[str, Any]:
    """The ledger's entry: the progress, and what it means so far."""
    return {
        **asdict(done),
        "finished": done.finished,
        "before": done.deleted + done.left,
        "createdSince": max(0, done.found - done.left),
        "seconds": round((at - moment(done.startedAt)).total_seconds(), 3),
    }


def _turn_page(store: SessionStore, done: Purge, keys: int) -> Purge:
    if done.working == "delete":
        page = store.delete_page(done.cursor, keys)
        deleted, left = done.deleted + page.deleted, done.left + page.left
        return replace(done, cursor=page.cursor, deleted=deleted, left=left)
    page = store.count_page(done.cursor, keys)
    return replace(done, cursor=page.cursor, found=done.found + page.matched)


def _next_pass(done: Purge) -> Purge:
    if done.working == "delete":
        return replace(done, working="count")
    return replace(done, working="finished")


def _same_server(store: SessionStore, done: Purge) -> Purge:
    """Begin the pass again where the server is another one than at its start."""
    server = store.server_id()
    if server == done.server:
        return done
    if done.restarts == RESTARTS_ALLOWED:
        raise errors.SessionStoreUnavailable(
            f"Redis restarted {RESTARTS_ALLOWED + 1} times during the purge. {done.deleted}"
            " sessions are deleted; the rest may still be there. See to Redis, then run it again."
        )
    return replace(
        done, server=server, working="delete", cursor=0, left=0, found=0, restarts=done.restarts + 1
    )
