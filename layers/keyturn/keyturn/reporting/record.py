"""The record of a run: one JSON document for every outcome.

It is composed from the ledger alone, so that a run which stopped anywhere has one, and it holds
facts only: ids, fingerprints, names, counts and times. It is the state machine's output.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, cast

from keyturn.reporting.record_types import (
    Delivery,
    Exposure,
    Outcome,
    Record,
    Rollback,
    Service,
    Sessions,
    Step,
    StepFailure,
    Timings,
    Validation,
)
from keyturn.rotation.preflight import Problem
from keyturn.run.ledger import (
    STEPS,
    CheckRolloutEntry,
    Failure,
    Ledger,
    ServiceFailure,
    Timed,
)
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp, parse_timestamp
from keyturn.sessions import progress as purge_progress

SUMMARY_LENGTH = 1000

# The states whose failure fails the run, the most telling first. A purge before the restart is
# repeated after it, and the record is composed before its own failures are known.
DECISIVE = {
    "begin_rotation": "BeginRotation",
    "deliver_key": "DeliverKey",
    "restart_services": "RestartServices",
    "confirm_delivery": "ConfirmDelivery",
    "validate_rotation": "ValidateRotation",
    "destroy_exposed_versions": "DestroyExposedVersions",
    "purge_sessions": "PurgeSessions",
    "mark_exposed": "MarkExposed",
    "restore_previous_key": "RestorePreviousKey",
}


class RecordStore(Protocol):
    """Keeps records."""

    def keep(self, name: str, document: str) -> str | None:
        """Store a record once; returns where, or None where no bucket is configured."""

    def check_ready(self) -> None:
        """Prove that the bucket can be reached."""


def name_of(run: Run, ledger: Ledger) -> str:
    """The name of the record: the rotation id, with what tells a later execution from the first."""
    execution = ledger.get("execution", "").rpartition(":")[2]
    return run.rotation_id + execution.removeprefix(run.execution_name)


def compose(ledger: Ledger, run: Run, at: datetime, problems: Sequence[Problem] = ()) -> Record:
    """The record of a run from its ledger. Pure.

    `problems` are those of the preflight that ran beside an emergency.
    """
    first = ledger.get("before_rollback") or ledger
    delivered = first.get("deliver_key") or {}
    started = parse_timestamp(first["start"]["startedAt"]) if "start" in first else at
    return {
        "rotationId": run.rotation_id,
        "mode": first["rotation"]["mode"],
        "outcome": outcome(ledger),
        "trigger": {**run.origin.facts, "reason": run.origin.reason},
        "versions": {"new": run.rotation_id, "previous": run.previous},
        "sessions": _sessions(ledger),
        "services": _services(ledger),
        "steps": [*_steps(first), *_rollback_steps(ledger)],
        "timings": _timings(first, run),
        "fingerprints": {
            "new": delivered.get("fingerprint"),
            "previous": delivered.get("previousFingerprint"),
        },
        "delivery": _delivery(first),
        "exposure": _exposure(first),
        "validation": _validation(ledger),
        "failedChecks": [f"{problem.error}: {problem.message}" for problem in problems],
        "failure": _failure(first),
        "rollback": _rollback(ledger),
        "rollbackFailure": _rollback_failure(ledger),
        "secretArn": run.secret_arn,
        "startedAt": format_timestamp(started),
        "finishedAt": format_timestamp(at),
        "seconds": round((at - started).total_seconds(), 3),
    }


def outcome(ledger: Ledger) -> Outcome:
    """How the run ended, from what the state machine caught, in the run or in its rollback."""
    failures = ledger.get("failures", {})
    if any(failure["Error"] == "Superseded" for failure in failures.values()):
        return "superseded"
    if failures.keys() & DECISIVE.keys() or _service_failures(ledger):
        return "failed"
    return "rolled-back" if "before_rollback" in ledger else "succeeded"


def _delivery(ledger: Ledger) -> Delivery:
    delivered = ledger.get("deliver_key") or {}
    delivery: Delivery = {"target": delivered.get("target"), "written": delivered.get("written")}
    if "vaultVersion" in delivered:
        delivery["vaultVersion"] = delivered["vaultVersion"]
        delivery["vaultVersionBefore"] = delivered["vaultVersionBefore"]
    if destroyed := ledger.get("destroy_exposed_versions"):
        delivery["destroyed"] = destroyed["destroyed"]
        delivery["unreadable"] = destroyed["unreadable"]
        delivery["says"] = destroyed["says"]
    return delivery


def _exposure(ledger: Ledger) -> Exposure | None:
    marked = ledger.get("mark_exposed")
    if not marked:
        return None
    return {
        "exposed": marked["exposed"],
        "unlabelled": marked["unlabelled"],
        "otherFieldsChanged": marked["otherFieldsChanged"],
    }


def _sessions(ledger: Ledger) -> Sessions:
    purged = ledger.get("purge_sessions") or {}
    return {
        "before": purged.get("before"),
        "deleted": purged.get("deleted"),
        "left": purged.get("left"),
        "createdSince": purged.get("createdSince"),
        "createdPerSecond": purged.get("createdPerSecond"),
        "perSecond": purged.get("perSecond"),
        "keysBefore": purged.get("keysBefore"),
        "keysAfter": purged.get("keysAfter"),
        "vanished": purged.get("vanished"),
        "claim": purge_progress.purge_summary(purged) if purged.get("finished") else None,
        "endedFirst": (ledger.get("purge_before_restart") or {}).get("deleted"),
    }


def _services(ledger: Ledger) -> list[Service]:
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


def _restarted(ledger: Ledger) -> list[CheckRolloutEntry]:
    """The services whose last old pod is gone."""
    services = ledger.get("restart_services", [])
    return [service for service in services if "failure" not in service]


def _service_failures(ledger: Ledger) -> list[ServiceFailure]:
    """The services that an emergency could not restart."""
    services = ledger.get("restart_services", [])
    return [cast("ServiceFailure", service) for service in services if "failure" in service]


def _steps(ledger: Ledger) -> Iterator[Step]:
    for name, key in STEPS.items():
        if key == "restart_services":
            if rolled := _restarted(ledger):
                starts = [parse_timestamp(service["startedAt"]) for service in rolled]
                seconds = max(service["seconds"] for service in rolled)
                yield {"name": name, "startedAt": format_timestamp(min(starts)), "seconds": seconds}
        elif (step_entry := ledger.get(key)) and "seconds" in step_entry:
            yield {
                "name": name,
                "startedAt": step_entry["startedAt"],
                "seconds": step_entry["seconds"],
            }


def _rollback_steps(ledger: Ledger) -> Iterator[Step]:
    """The steps of the rollback, by the same names, marked."""
    if "before_rollback" in ledger:
        restored = ledger["restore_previous_key"]
        yield {
            "name": "RestorePreviousKey",
            "startedAt": restored["startedAt"],
            "seconds": restored["seconds"],
            "rollback": True,
        }
        for step in _steps(ledger):
            step["rollback"] = True
            yield step


def _timings(ledger: Ledger, run: Run) -> Timings:
    """The first execution of a run starts with the promotion; a later one shows nothing of it.

    A pod may be left where a service was not restarted.
    """
    is_first = name_of(run, ledger) == run.rotation_id
    purged = ledger.get("purge_sessions") or {}
    pods = [] if _service_failures(ledger) else _restarted(ledger)
    is_known = is_first and "start" in ledger
    promoted = parse_timestamp(ledger["start"]["startedAt"]) if is_known else None
    return {
        "secondsToPromotion": _since(run, promoted),
        "secondsToLastOldPod": _since(run, max(map(_end, pods), default=None)),
        "secondsToLastOldSession": _since(run, _end(purged) if purged.get("finished") else None),
    }


def _since(run: Run, end: datetime | None) -> float | None:
    requested = run.origin.at
    if not end or not requested:
        return None
    return round((end - parse_timestamp(requested)).total_seconds(), 3)


def _end(step: Timed) -> datetime:
    return parse_timestamp(step["startedAt"]) + timedelta(seconds=step["seconds"])


def _failure(ledger: Ledger) -> StepFailure | None:
    """The step that stopped the run, with its error, as the state machine caught it."""
    if failed := _service_failures(ledger):
        return _failure_of_services(failed)
    failures = ledger.get("failures", {})
    for key, step in DECISIVE.items():
        if key in failures:
            return _failed(step, failures[key])
    return None


def _failed(step: str, failure: Failure) -> StepFailure:
    return {"step": step, "error": failure["Error"], "says": _summary(failure.get("Cause", ""))}


def _failure_of_services(failed: Sequence[ServiceFailure]) -> StepFailure:
    """The failed restarts of an emergency: the first error, and the text of every service."""
    texts = {
        service["service"]: _summary(service["failure"].get("Cause", "")) for service in failed
    }
    named = (text if name in text else f"{name}: {text}" for name, text in texts.items())
    return {
        "step": "RestartServices",
        "error": failed[0]["failure"]["Error"],
        "says": "; ".join(named)[:SUMMARY_LENGTH],
    }


def _rollback(ledger: Ledger) -> Rollback | None:
    """Which key is current again, and whether it was delivered to the services."""
    restored = ledger.get("restore_previous_key")
    if not restored:
        return None
    return {
        "from": restored["from"],
        "to": restored["to"],
        "deliver": restored["deliver"],
        "restart": restored["restart"],
    }


def _rollback_failure(ledger: Ledger) -> StepFailure | None:
    """What stopped the rollback, or refused it."""
    if "before_rollback" in ledger:
        return _failure(ledger)
    refused = ledger.get("failures", {}).get("restore_previous_key")
    return _failed("RestorePreviousKey", refused) if refused else None


def _summary(cause: str) -> str:
    """A function's error message; Lambda wraps it in JSON with a stack trace."""
    try:
        text = json.loads(cause)["errorMessage"]
    except (ValueError, KeyError, TypeError):
        text = cause
    return str(text)[:SUMMARY_LENGTH]


def _validation(ledger: Ledger) -> Validation:
    validated = ledger.get("validate_rotation")
    if not validated:
        return {}
    return {"health": validated["health"], "login": validated["login"], "logs": validated["logs"]}
