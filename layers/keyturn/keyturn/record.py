"""The record of a run: one JSON document for every outcome.

It is composed from the ledger alone, so that a run which stopped anywhere has one, and it holds
facts only: ids, fingerprints, names, counts and times. It is the state machine's output.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from keyturn import purge_progress
from keyturn.run import Ledger, Run, moment, timestamp

Outcome = Literal["succeeded", "failed", "superseded"]

# The states in order, and the entry that each writes into the ledger.
STEPS = {
    "BeginRotation": "begin_rotation",
    "DeliverKey": "deliver_key",
    "RestartServices": "restart_services",
    "PurgeSessions": "purge_sessions",
    "ValidateRotation": "validate_rotation",
}
SAYS_LENGTH = 1000


class RecordStore(Protocol):
    """Keeps records."""

    def keep(self, rotation_id: str, document: str) -> str | None:
        """Store the record; returns where, or None where none is configured."""


def compose(ledger: Ledger, run: Run, at: datetime) -> dict[str, Any]:
    """The record of a run from its ledger. Pure."""
    begun = ledger.get("begin_rotation") or {}
    delivered = ledger.get("deliver_key") or {}
    started = moment(begun.get("startedAt", timestamp(at)))
    return {
        "rotationId": run.rotation_id,
        "mode": run.mode,
        "outcome": outcome(ledger),
        "versions": {"new": run.rotation_id, "previous": begun.get("previousVersion")},
        "sessions": _sessions(ledger),
        "services": _services(ledger),
        "steps": list(_steps(ledger)),
        "fingerprints": {
            "new": delivered.get("fingerprint"),
            "previous": delivered.get("previousFingerprint"),
        },
        "delivery": {"target": delivered.get("target"), "written": delivered.get("written")},
        "validation": _without_times(ledger.get("validate_rotation") or {}),
        "failure": _failure(ledger),
        "secretArn": run.secret_arn,
        "startedAt": timestamp(started),
        "finishedAt": timestamp(at),
        "seconds": round((at - started).total_seconds(), 3),
    }


def outcome(ledger: Ledger) -> Outcome:
    """How the run ended, from whether and what the state machine caught."""
    failure = ledger.get("failure")
    if failure is None:
        return "succeeded"
    return "superseded" if failure.get("Error") == "Superseded" else "failed"


def _sessions(ledger: Ledger) -> dict[str, Any]:
    """What the purge did; none of it where it was not reached."""
    purged = ledger.get("purge_sessions") or {}
    counts = ("before", "deleted", "left", "createdSince", "createdPerSecond", "perSecond")
    keyspace = ("keysBefore", "keysAfter")
    claimed = purge_progress.claim(purged) if purged.get("finished") else None
    return {**{name: purged.get(name) for name in (*counts, *keyspace)}, "claim": claimed}


def _services(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "name": rolled["service"],
            "replicas": rolled["replicas"],
            "podsBefore": rolled["podsBefore"],
            "podsAfter": rolled["podsAfter"],
            "alsoRestartedBy": rolled.get("alsoRestartedBy"),
            "seconds": rolled["seconds"],
        }
        for rolled in ledger.get("restart_services") or ()
    ]


def _steps(ledger: Ledger) -> Iterator[dict[str, Any]]:
    for name, key in STEPS.items():
        found = ledger.get(key)
        if isinstance(found, Mapping):
            yield {"name": name, "startedAt": found["startedAt"], "seconds": found["seconds"]}
        elif found:
            starts = [moment(rolled["startedAt"]) for rolled in found]
            seconds = max(rolled["seconds"] for rolled in found)
            yield {"name": name, "startedAt": timestamp(min(starts)), "seconds": seconds}


def _failure(ledger: Ledger) -> dict[str, Any] | None:
    """Which step stopped the run, with which error, in its own words."""
    failure = ledger.get("failure")
    if failure is None:
        return None
    return {
        "step": next((name for name, key in STEPS.items() if not _finished(ledger, key)), None),
        "error": failure.get("Error"),
        "says": _says(failure.get("Cause", "")),
    }


def _finished(ledger: Ledger, key: str) -> bool:
    """Whether a step is through; a purge or a delivery may have stopped between two calls."""
    found = ledger.get(key)
    if not found or not isinstance(found, Mapping):
        return bool(found)
    return bool(found.get("finished", True)) and found.get("state") != "waiting"


def _says(cause: str) -> str:
    """A function's error message; Lambda wraps it in JSON with a stack trace."""
    try:
        told = json.loads(cause)["errorMessage"]
    except (ValueError, KeyError, TypeError):
        told = cause
    return str(told)[:SAYS_LENGTH]


def _without_times(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found for key, found in entry.items() if key not in {"startedAt", "seconds"}}
