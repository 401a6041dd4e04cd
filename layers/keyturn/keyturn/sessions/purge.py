"""End the sessions of the old key, in bounded slices that can be lost, repeated and resumed.

Two passes over each primary. The first deletes: SCAN returns every key that exists from its start
to its end at least once, so every session that existed when the pass began is gone when it ends.
The second only counts: its keys were created since, by pods that run the new key, or could not be
deleted, which the first pass has counted. A restart, a failover or moving slots invalidate cursors:
that primary is scanned again; while slots are moving nothing is counted, because keys move without
notice. So the claim holds for all primaries as they are at the end.

One call works for a bounded time and returns its progress; the state machine calls again. The very
first call only counts, so that the keyspace before the purge is on record: losses without an
acknowledged deletion are then a known number, and do not count as ended sessions. A call that fails
after it has deleted something returns its progress; if the error lasts, the next call raises it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from keyturn import errors
from keyturn.run.ledger import Ledger
from keyturn.run.times import format_timestamp
from keyturn.sessions.progress import Pass, PrimaryProgress, PurgeProgress, parse_progress
from keyturn.sessions.store import (
    SLICE_SECONDS,
    START_CURSOR,
    Clock,
    Pace,
    Primary,
    SessionStore,
    map_concurrently,
    refuse_foreign_keys,
    throttle,
)

RESTARTS_ALLOWED = 5  # of each primary, on average


@dataclass(frozen=True)
class PurgeOptions:
    """How to purge: page after page at a pace, or by emptying the database."""

    pace: Pace
    flush: bool = False


@dataclass(frozen=True)
class SliceResult:
    """The result of one slice on one primary, and the error that ended it early."""

    walk: PrimaryProgress
    deleted: int = 0
    problem: errors.KeyturnError | None = None


def next_slice(
    ledger: Ledger, store: SessionStore, options: PurgeOptions, clock: Clock, at: datetime
) -> PurgeProgress:
    """Start a purge, or continue where the last call stopped.

    Raises SessionStoreUnavailable, SessionStoreRefused, SessionCommandRefused,
    SessionDatabaseMissing, FlushRefused, and RequestRefused for malformed progress.
    """
    done = parse_progress(ledger)
    return purge_slice(store, done, options, clock) if done else begin_purge(store, at)


def begin_purge(store: SessionStore, at: datetime) -> PurgeProgress:
    """Inspect every primary, and delete nothing yet."""
    primaries = store.primaries()
    keys = sum(primary.keys for primary in primaries)
    walks = tuple(PrimaryProgress(primary.name, primary.identity) for primary in primaries)
    return PurgeProgress(format_timestamp(at), keys, keys, walks)


def purge_slice(
    store: SessionStore, done: PurgeProgress, options: PurgeOptions, clock: Clock
) -> PurgeProgress:
    """Continue for one slice."""
    if done.finished:
        return done
    end = clock.monotonic() + SLICE_SECONDS
    primaries = store.primaries()
    met = reconcile_primaries(done, primaries)
    current = {primary.name: primary for primary in primaries}

    def walk_on(walk: PrimaryProgress) -> SliceResult:
        return _walk_on(current[walk.primary], walk, options, clock, end)

    strides = map_concurrently(walk_on, met.walks)
    worked = replace(
        met,
        walks=tuple(stride.walk for stride in strides),
        acknowledged=met.acknowledged + sum(stride.deleted for stride in strides),
    )
    problems = [stride.problem for stride in strides if stride.problem]
    if problems and worked == met:
        raise problems[0]
    # A primary may have failed over during the last page.
    return reconcile_primaries(worked, store.primaries()) if worked.finished else worked


def reconcile_primaries(done: PurgeProgress, primaries: Sequence[Primary]) -> PurgeProgress:
    """Start again on each primary that was replaced. Pure."""
    known = {(walk.primary, walk.identity): walk for walk in done.walks}
    walks, restarts = [], done.restarts
    for primary in primaries:
        walk = known.get((primary.name, primary.identity))
        restarts += walk is None
        walks.append(walk or PrimaryProgress(primary.name, primary.identity))
    if restarts > RESTARTS_ALLOWED * len(primaries):
        raise errors.SessionStoreUnavailable(
            f"Redis restarted, failed over or moved slots too often during the purge ({restarts}"
            f" times). Deleted sessions: {done.acknowledged}; others may remain. Repair Redis, then"
            " retry the run."
        )
    keys = sum(primary.keys for primary in primaries)
    return replace(done, walks=tuple(walks), restarts=restarts, keysAfter=keys)


def _walk_on(
    primary: Primary, walk: PrimaryProgress, options: PurgeOptions, clock: Clock, end: float
) -> SliceResult:
    """Scan pages on one primary until the slice ends, both passes are complete, or it fails."""
    stride, keys = SliceResult(walk), options.pace.least_keys
    try:
        latency = primary.latency()
        if options.flush and walk.phase == "delete":
            stride = _flush(primary, stride)
        while stride.walk.phase != "finished" and clock.monotonic() < end:
            begun = clock.monotonic()
            stride = _turn_page(primary, stride, keys)
            keys = throttle(options.pace, keys, clock.monotonic() - begun, latency, clock)
    except errors.KeyturnError as problem:
        return replace(stride, problem=problem)
    return stride


def _flush(primary: Primary, stride: SliceResult) -> SliceResult:
    refuse_foreign_keys(primary)
    keys = primary.keys  # a flush acknowledges itself, and not how many it has deleted
    primary.flush()
    return SliceResult(replace(stride.walk, phase="count", cursor=START_CURSOR), keys)


def _turn_page(primary: Primary, stride: SliceResult, keys: int) -> SliceResult:
    walk = stride.walk
    if walk.phase == "delete":
        page = primary.delete_page(walk.cursor, keys)
        walk = replace(walk, cursor=page.cursor, left=walk.left + page.left)
        following: Pass = "count"
    else:
        primary.check_settled()
        page = primary.count_page(walk.cursor, keys)
        walk = replace(walk, cursor=page.cursor, found=walk.found + page.matched)
        following = "finished"
    if page.cursor == START_CURSOR:
        walk = replace(walk, phase=following)
    return SliceResult(walk, stride.deleted + page.deleted)
