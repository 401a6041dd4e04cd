"""The record of a run: one JSON document for every outcome, and the messages made of it.

It is composed from the ledger alone, so that a run which stopped anywhere has one, and it holds
facts only: ids, fingerprints, names, counts and times. It is the state machine's output.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from keyturn import errors, purge_progress
from keyturn.run import Ledger, Run, moment, timestamp

Outcome = Literal["succeeded", "failed", "superseded"]

# The states in order, and the entry that each writes into the ledger.
STEPS = {
    "BeginRotation": "begin_rotation",
    "DeliverKey": "deliver_key",
    "RestartServices": "restart_services",
    "ConfirmDelivery": "confirm_delivery",
    "PurgeSessions": "purge_sessions",
    "ValidateRotation": "validate_rotation",
}
SAYS_LENGTH = 1000


@dataclass(frozen=True)
class Message:
    """What people are told. A subject fits an e-mail's: ASCII, below 100 characters."""

    kind: str
    subject: str
    text: str
    facts: Mapping[str, Any]


class Notifier(Protocol):
    """Tells people and other systems. Raises a KeyturnError where it cannot."""

    def tell(self, message: Message) -> None:
        """Send one message everywhere."""


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


def started_message(run: Run, begun: Mapping[str, Any], at: datetime) -> Message:
    """What people are told when a run begins: when, what for, what it does to users."""
    services = ", ".join(begun["services"])
    users = f"{'' if begun['counted'] else 'more than '}{begun['sessions']} sessions"
    return Message(
        kind="Session Key Rotation Started",
        subject="Session key rotation started: users will have to log in again",
        text=(
            f"A {run.mode} rotation of the session encryption key has started.\n\n"
            f"When:    {timestamp(at)}\n"
            f"Impact:  {users} will end. Users have to log in again.\n"
            f"Restart: {services}, one rolling restart each.\n"
            f"Reason:  the rotation schedule of {run.secret_arn}\n"
            f"Run:     {run.execution_name}\n\n"
            "You need not do anything. Another message follows when it is over."
        ),
        facts={"rotationId": run.rotation_id, "mode": run.mode, **begun},
    )


def finished_message(run: Run, record: Mapping[str, Any]) -> Message:
    """What people are told when a run is over: what is true now and what to do next."""
    subject, text = {
        "succeeded": ("succeeded", _succeeded_text),
        "failed": ("FAILED", _failed_text),
        "superseded": ("was overtaken by another", _superseded_text),
    }[record["outcome"]]
    return Message(
        kind=f"Session Key Rotation {record['outcome'].capitalize()}",
        subject=f"Session key rotation {subject}",
        text=f"{text(run, record)}\n\nRun: {run.execution_name}, {record['seconds']} s",
        facts=record,
    )


def tell(notifier: Notifier, message: Message) -> bool:
    """Send a message; that it could not be sent is a fact of the record, never a failed run."""
    try:
        notifier.tell(message)
    except errors.KeyturnError:
        return False
    return True


def _succeeded_text(_run: Run, record: Mapping[str, Any]) -> str:
    services = "\n".join(
        f"  {service['name']}: {len(service['podsAfter'])} new pods, none of the old ones is left"
        for service in record["services"]
    )
    return (
        "Every service runs the new session key, and login works.\n\n"
        f"Key:      {record['fingerprints']['new']} (was {record['fingerprints']['previous']})\n"
        f"Services:\n{services}\n"
        f"Sessions: {record['sessions']['claim']}\n\n"
        "You need not do anything."
    )


def _failed_text(run: Run, record: Mapping[str, Any]) -> str:
    failure = record["failure"]
    names = [step["name"] for step in record["steps"] if step["name"] != failure["step"]]
    done = ", ".join(names) or "nothing"
    previous = record["versions"]["previous"] or "the version that carries AWSPREVIOUS"
    return (
        f"The rotation stopped at {failure['step']}.\n\n"
        f"Error:    {failure['error']}: {failure['says']}\n"
        f"Done:     {done}\n"
        f"Key:      AWSCURRENT is the new version, {record['versions']['new']}. The old one is"
        f" {previous}.\n"
        f"Next:     mend the cause (docs/operations.md, {failure['error']}), then run it again;"
        " what is done is not repeated:\n"
        "  aws stepfunctions start-execution --state-machine-arn <StateMachineArn of the stack>"
        f" --name {run.execution_name}-again --input '{json.dumps(run.as_ledger())}'"
    )


def _superseded_text(_run: Run, record: Mapping[str, Any]) -> str:
    return (
        f"Version {record['versions']['new']} is no longer AWSCURRENT: another rotation has"
        " overtaken this run, which has stopped and undone nothing. Follow the other run."
    )


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
