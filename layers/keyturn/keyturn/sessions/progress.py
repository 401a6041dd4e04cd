"""The progress of a purge: plain values in the ledger, and their meaning.

Only deletions that the server acknowledged count as ended sessions. The very first entry holds the
keyspace before anything was deleted. Other losses are a separate number, since keys expire, others
delete, and the response of a call that deleted may be lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from keyturn import errors
from keyturn.run.ledger import Ledger, PrimaryEntry, PurgeSessionsEntry
from keyturn.run.times import parse_timestamp
from keyturn.sessions.store import START_CURSOR

Pass = Literal["delete", "count", "finished"]


@dataclass(frozen=True)
class PrimaryProgress:
    """The progress of the two passes over one primary."""

    primary: str
    identity: str
    phase: Pass = "delete"
    cursor: str = START_CURSOR
    left: int = 0
    found: int = 0


@dataclass(frozen=True)
class PurgeProgress:
    """The progress of a purge: plain values in the ledger."""

    startedAt: str  # noqa: N815 - the name in the ledger and the record
    keysBefore: int  # noqa: N815
    keysAfter: int  # noqa: N815
    walks: tuple[PrimaryProgress, ...]
    acknowledged: int = 0
    restarts: int = 0

    @property
    def finished(self) -> bool:
        """Whether both passes are complete on every primary."""
        return all(walk.phase == "finished" for walk in self.walks)


def parse_progress(ledger: Ledger) -> PurgeProgress | None:
    """The progress of the last call; None before the first one. Raises RequestRefused."""
    entry = ledger.get("purge_sessions")
    if not entry:
        return None
    try:
        walks = tuple(PrimaryProgress(**_fields(PrimaryProgress, walk)) for walk in entry["walks"])
        return PurgeProgress(**{**_fields(PurgeProgress, entry), "walks": walks})
    except KeyError as missing:
        raise errors.RequestRefused(
            f"The purge's progress has no {missing}. Nothing was done."
        ) from None
    except TypeError:
        raise errors.RequestRefused(
            "The purge's progress is malformed. Nothing was done."
        ) from None


def progress_entry(
    done: PurgeProgress, at: datetime, sessions: int | None = None
) -> PurgeSessionsEntry:
    """The ledger's entry: the progress, and its meaning so far.

    `deleted` counts the deletions that the server acknowledged; a session that a restart restores
    is deleted, and counted, twice. `vanished` is the number of sessions and other keys that the
    database lost in another way, known at the end: keys that expired, that others deleted, and that
    a call deleted whose response was lost. Keys that others create meanwhile make it smaller.

    `before` is the sessions that the purge found. `sessions` is their number when the run began.
    """
    seconds = (at - parse_timestamp(done.startedAt)).total_seconds()
    left = sum(walk.left for walk in done.walks)
    found_keys = sum(walk.found for walk in done.walks)
    created = max(0, found_keys - left)
    deleted = done.acknowledged
    lost = done.keysBefore - done.keysAfter + created if done.finished else 0
    sessions_to_go, seconds_to_go = _outlook(done, deleted, seconds, sessions)
    return {
        "startedAt": done.startedAt,
        "keysBefore": done.keysBefore,
        "keysAfter": done.keysAfter,
        "walks": [_primary_entry(walk) for walk in done.walks],
        "acknowledged": done.acknowledged,
        "restarts": done.restarts,
        "finished": done.finished,
        "before": deleted + left,
        "deleted": deleted,
        "vanished": max(0, lost - deleted),
        "left": left,
        "createdSince": created,
        "createdPerSecond": _rate(created, seconds),
        "perSecond": _rate(deleted, seconds),
        "seconds": round(seconds, 3),
        "sessionsToGo": sessions_to_go,
        "secondsToGo": seconds_to_go,
    }


def purge_summary(purged: PurgeSessionsEntry) -> str:
    """A sentence with exactly the facts that a finished purge has proved. Pure."""
    left, created, vanished = purged["left"], purged["createdSince"], purged["vanished"]
    kept = f"{left} could not be deleted" if left else "none is left"
    besides = (
        f"; {vanished} disappeared otherwise (expired, deleted by others, or by a call whose"
        " response was lost)"
    )
    since = f"; {created} created since ({purged['createdPerSecond']:g} a second)"
    return (
        f"{purged['deleted']} ended; of those that existed when the purge began, {kept}"
        f"{since if created else ''}{besides if vanished else ''}"
    )


def _outlook(
    done: PurgeProgress, deleted: int, seconds: float, sessions: int | None
) -> tuple[int | None, float | None]:
    """The number of sessions still to delete, and the expected time; None without a count."""
    if done.finished:
        return 0, 0.0
    if sessions is None:
        return None, None
    to_go, rate = max(0, sessions - deleted), _rate(deleted, seconds)
    return to_go, round(to_go / rate, 1) if rate else None


def _primary_entry(walk: PrimaryProgress) -> PrimaryEntry:
    return {
        "primary": walk.primary,
        "identity": walk.identity,
        "phase": walk.phase,
        "cursor": walk.cursor,
        "left": walk.left,
        "found": walk.found,
    }


def _rate(number: int, seconds: float) -> float:
    return round(number / seconds, 1) if seconds > 0 else 0.0


def _fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
