"""The record of a run: one JSON document for every outcome.

It is composed from the ledger alone, so that a run which stopped anywhere has one, and it holds
facts only: ids, fingerprints, names, counts and times. It is the state machine's output.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from keyturn.rotation.preflight import Problem
from keyturn.run.ledger import Ledger, entry
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp, parse_timestamp
from keyturn.sessions import progress as purge_progress

Outcome = Literal["succeeded", "restored", "failed", "superseded"]

# The states in order, and the entry that each writes into the ledger.
STEPS = {
    "BeginRotation": "begin_rotation",
    "DeliverKey": "deliver_key",
    "RestartServices": "restart_services",
    "ConfirmDelivery": "confirm_delivery",
    "PurgeSessions": "purge_sessions",
    "ValidateRotation": "validate_rotation",
}
# Where the state machine puts what it caught: on the way, in the purge, at the turn, in Vault, and
# where an emergency could not rule out what it has replaced.
CAUGHT = ("failure", "purge_failure", "restore_failure", "destroy_failure", "mark_failure")
EXPOSED = ("exposed", "unlabelled", "otherFieldsChanged")
SAYS_LENGTH = 1000
VAULT_VERSIONS = ("vaultVersion", "vaultVersionBefore")
VAULT_DESTROYED = ("destroyed", "unreadable", "says")


class RecordStore(Protocol):
    """Keeps records."""

    def keep(self, name: str, document: str) -> str | None:
        """Store a record once; returns where, or None where no bucket is configured."""

    def check_ready(self) -> None:
        """Prove that the bucket can be reached."""


def name_of(run: Run, ledger: Ledger) -> str:
    """The name of the record: the rotation id, with what tells a later execution from the first."""
    execution = str(ledger.get("execution", "")).rpartition(":")[2]
    return run.rotation_id + execution.removeprefix(run.execution_name)


def compose(
    ledger: Ledger, run: Run, at: datetime, problems: Sequence[Problem] = ()
) -> dict[str, Any]:
    """The record of a run from its ledger. Pure.

    `problems` is what the functions answered that were asked while an emergency went on.
    """
    forward = ledger.get("forward") or ledger
    begun = forward.get("begin_rotation") or {}
    delivered = forward.get("deliver_key") or {}
    started = parse_timestamp(begun.get("startedAt", format_timestamp(at)))
    return {
        "rotationId": run.rotation_id,
        "mode": entry(forward, "rotation")["mode"],
        "outcome": outcome(ledger),
        "trigger": {**run.origin.facts, "reason": run.origin.reason},
        "versions": {"new": run.rotation_id, "previous": run.previous},
        "sessions": _sessions(ledger),
        "services": _services(ledger),
        "steps": [*_steps(forward), *_steps_back(ledger)],
        "timings": _timings(forward, run),
        "fingerprints": {
            "new": delivered.get("fingerprint"),
            "previous": delivered.get("previousFingerprint"),
        },
        "delivery": _delivery(forward),
        "exposure": _exposure(forward),
        "validation": _without_times(ledger.get("validate_rotation") or {}),
        "failedChecks": [f"{problem.error}: {problem.message}" for problem in problems],
        "failure": _failure(forward),
        "restored": _restored(ledger),
        "restoreFailure": _restore_failure(ledger),
        "secretArn": run.secret_arn,
        "startedAt": format_timestamp(started),
        "finishedAt": format_timestamp(at),
        "seconds": round((at - started).total_seconds(), 3),
    }


def outcome(ledger: Ledger) -> Outcome:
    """How the run ended, from what the state machine caught, on the way and on the way back."""
    caught = [ledger[name] for name in CAUGHT if name in ledger]
    if any(failure.get("Error") == "Superseded" for failure in caught):
        return "superseded"
    if caught or _service_failures(ledger):
        return "failed"
    return "restored" if "forward" in ledger else "succeeded"


def _delivery(ledger: Ledger) -> dict[str, Any]:
    """Where the key went; in Vault, to which version upon which, and which ones were destroyed."""
    delivered = ledger.get("deliver_key") or {}
    told = {name: delivered.get(name) for name in ("target", "written")}
    told |= {name: delivered[name] for name in VAULT_VERSIONS if name in delivered}
    destroyed = ledger.get("destroy_exposed_versions") or {}
    return told | {name: destroyed[name] for name in VAULT_DESTROYED if name in destroyed}


def _exposure(ledger: Ledger) -> dict[str, Any] | None:
    """What an emergency has marked and unlabelled, and whether other fields changed with it."""
    marked = ledger.get("mark_exposed")
    return {name: marked.get(name) for name in EXPOSED} if marked else None


def _sessions(ledger: Ledger) -> dict[str, Any]:
    """What the purge did; none of it where it was not reached."""
    purged = ledger.get("purge_sessions") or {}
    counts = ("before", "deleted", "left", "createdSince", "createdPerSecond", "perSecond")
    keyspace = ("keysBefore", "keysAfter", "vanished")
    claimed = purge_progress.purge_summary(purged) if purged.get("finished") else None
    first = (ledger.get("early_purge") or {}).get("deleted")
    return {
        **{name: purged.get(name) for name in (*counts, *keyspace)},
        "claim": claimed,
        "endedFirst": first,
    }


def _services(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "name": rolled["service"],
            "replicas": rolled["replicas"],
            "podsBefore": rolled["podsBefore"],
            "podsAfter": rolled["podsAfter"],
            "alsoRestartedBy": rolled.get("alsoRestartedBy"),
            "notRestarted": rolled.get("notRestarted"),
            "seconds": rolled["seconds"],
        }
        for rolled in _restarted(ledger)
    ]


def _restarted(ledger: Ledger) -> list[Mapping[str, Any]]:
    """The services whose last old pod is gone."""
    return [one for one in ledger.get("restart_services") or () if "failure" not in one]


def _service_failures(ledger: Ledger) -> list[Mapping[str, Any]]:
    """The services that an emergency went on without."""
    return [one for one in ledger.get("restart_services") or () if "failure" in one]


def _steps(ledger: Ledger) -> Iterator[dict[str, Any]]:
    for name, key in STEPS.items():
        found = ledger.get(key)
        if isinstance(found, Mapping):
            if "seconds" in found:
                yield {"name": name, "startedAt": found["startedAt"], "seconds": found["seconds"]}
        elif found and (rolled := _restarted(ledger)):
            starts = [parse_timestamp(one["startedAt"]) for one in rolled]
            seconds = max(one["seconds"] for one in rolled)
            yield {"name": name, "startedAt": format_timestamp(min(starts)), "seconds": seconds}


def _steps_back(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """The steps of the way back, by the same names, marked."""
    if "forward" in ledger:
        turned = ledger["restore_previous_key"]
        times = {name: turned[name] for name in ("startedAt", "seconds")}
        yield {"name": "RestorePreviousKey", **times, "wayBack": True}
        back = {name: found for name, found in ledger.items() if name != "begin_rotation"}
        yield from ({**step, "wayBack": True} for step in _steps(back))


def _timings(ledger: Ledger, run: Run) -> dict[str, float | None]:
    """How long after the request the key was current, and the last old pod and session were gone.

    The first execution of a run starts with the promotion; a later one says nothing of it. A pod
    may be left where a service was not restarted.
    """
    first = name_of(run, ledger) == run.rotation_id
    begun, purged = ledger.get("begin_rotation") or {}, ledger.get("purge_sessions") or {}
    pods = [] if _service_failures(ledger) else _restarted(ledger)
    ends = {
        "secondsToPromotion": parse_timestamp(begun["startedAt"]) if first and begun else None,
        "secondsToLastOldPod": max((_end(rolled) for rolled in pods), default=None),
        "secondsToLastOldSession": _end(purged) if purged.get("finished") else None,
    }
    asked = run.origin.at
    return {
        name: round((end - parse_timestamp(asked)).total_seconds(), 3) if end and asked else None
        for name, end in ends.items()
    }


def _end(found: Mapping[str, Any]) -> datetime:
    return parse_timestamp(found["startedAt"]) + timedelta(seconds=found["seconds"])


def _failure(ledger: Ledger) -> dict[str, Any] | None:
    """Which step stopped the run first, with which error, in its own words."""
    step: str | None
    if failed := _service_failures(ledger):
        return _failure_of_services(failed)
    if failure := ledger.get("failure"):
        step = next((name for name, key in STEPS.items() if not _finished(ledger, key)), None)
    elif failure := ledger.get("destroy_failure"):
        step = "DestroyExposedVersions"
    elif failure := ledger.get("purge_failure"):
        step = "PurgeSessions"
    elif failure := ledger.get("mark_failure"):
        step = "MarkExposed"
    else:
        return None
    return {"step": step, "error": failure.get("Error"), "says": _says(failure.get("Cause", ""))}


def _failure_of_services(failed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an emergency's restarts met: the first error, and every service's own words."""
    said = {one["service"]: _says(one["failure"].get("Cause", "")) for one in failed}
    told = (text if name in text else f"{name}: {text}" for name, text in said.items())
    return {
        "step": "RestartServices",
        "error": failed[0]["failure"].get("Error"),
        "says": "; ".join(told)[:SAYS_LENGTH],
    }


def _restored(ledger: Ledger) -> dict[str, Any] | None:
    """Which key is current again, and whether it was brought to the services."""
    turned = ledger.get("restore_previous_key")
    if not turned:
        return None
    return {name: turned[name] for name in ("from", "to", "deliver", "restart")}


def _restore_failure(ledger: Ledger) -> dict[str, Any] | None:
    """What stopped the way back, or refused it."""
    if "forward" in ledger:
        return _failure(ledger)
    if refused := ledger.get("restore_failure"):
        summary = _says(refused.get("Cause", ""))
        return {"step": "RestorePreviousKey", "error": refused.get("Error"), "says": summary}
    return None


def _finished(ledger: Ledger, key: str) -> bool:
    """Whether a step is through; a purge or a delivery may have stopped between two calls.

    The rotation begins with an entry that says what it needs; an emergency is announced meanwhile.
    """
    found = ledger.get(key)
    if not found or not isinstance(found, Mapping):
        return bool(found)
    if key == "begin_rotation":
        return "announced" in found or entry(ledger, "rotation").get("mode") != "scheduled"
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
