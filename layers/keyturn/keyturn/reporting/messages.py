"""The messages of a run: at its start and at its end, whatever its outcome."""

from collections.abc import Mapping
from datetime import datetime

from keyturn.reporting import commands
from keyturn.reporting.notifications import Message, heading_of
from keyturn.reporting.record_types import Record, StepFailure
from keyturn.reporting.wording import count_of
from keyturn.run.ledger import SessionCount, Start
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp

NOTHING_TO_DO = "No action is needed."
RESTART_OTHERS = (
    "Pods of another owner were not restarted, see Services: those that read the session key may"
    " still hold the old one. Restart or delete them."
)


def started_message(run: Run, start: Start, count: SessionCount, at: datetime) -> Message:
    """The message when a run begins: when, why, and its effect on users."""
    sessions = count_of(count["sessions"], "session")
    users = sessions if count["counted"] else f"more than {sessions}"
    emergency = run.mode == "emergency"
    return Message(
        kind="Session Key Rotation Started",
        subject=(
            "EMERGENCY session key rotation started: users have to log in again"
            if emergency
            else "Session key rotation started: users will have to log in again"
        ),
        summary=(
            "The session encryption key may be known to others. It has been replaced, and every"
            " session is being ended."
            if emergency
            else "A rotation of the session encryption key has started."
        ),
        fields={
            "When": format_timestamp(at),
            "Impact": f"{users} will end. Users have to log in again.",
            "Reason": run.origin.reason,
            "Mode": run.mode,
            "Restart": f"{', '.join(start['services'])}, one rolling restart each.",
            "Run": run.execution_name,
        },
        next_steps=f"{NOTHING_TO_DO} Another message follows when it is over.",
        facts={"rotationId": run.rotation_id, "mode": run.mode, **start, **count},
    )


def finished_message(run: Run, record: Record, state_machine_arn: str) -> Message:
    """The message when a run has ended: the current state and the next steps."""
    again = commands.run_again(run, state_machine_arn)
    message_of = {
        "succeeded": _succeeded,
        "rolled-back": _rolled_back,
        "failed": _failed_in_an_emergency if _is_emergency(record) else _failed,
        "superseded": _superseded,
    }[record["outcome"]]
    return message_of(run, record, again)


def _succeeded(run: Run, record: Record, _again: str) -> Message:
    services = (
        f"{service['name']}: {service['podsAfter']} new pods, none of the old ones is left"
        + (f", not restarted: {service['notRestarted']}" if service["notRestarted"] else "")
        for service in record["services"]
    )
    key = record["fingerprints"]
    fields = {
        "Services": "; ".join(services),
        "Key": f"{key['new']} (was {key['previous']})",
    }
    summary = "Every service runs the new session key, and login works."
    others = any(service["notRestarted"] for service in record["services"])
    if not _is_emergency(record):
        next_steps = RESTART_OTHERS if others else NOTHING_TO_DO
        return _ended(run, record, "succeeded", (summary, next_steps), fields)
    summary += " The old key no longer decrypts any session and cannot be restored."
    fields |= _other_fields(record)
    if vault := record["delivery"].get("says"):
        fields["Vault"] = vault
    next_steps = (
        "The key is safe. Continue the incident response: find out how the old key was exposed."
    )
    next_steps = f"{RESTART_OTHERS} {next_steps}" if others else next_steps
    return _ended(
        run, record, "succeeded (emergency)", (summary, next_steps), fields | _timings(record)
    )


def _rolled_back(run: Run, record: Record, _again: str) -> Message:
    failure = _failure(record)
    summary = f"The rotation stopped at {failure['step']} and was rolled back: " + (
        "every service runs the previous session key again, and login works. All sessions ended."
        if record["rollback"] and record["rollback"]["restart"]
        else "no pod was restarted, and no session ended. Services run the previous session key."
    )
    fields = _error(record) | {
        "Key": f"AWSCURRENT is the previous version again, {_previous(record)}.",
    }
    next_steps = (
        f"Fix the cause (docs/operations.md, {heading_of(failure['error'])}), then rotate again at"
        " a time that suits your users:"
    )
    command = commands.rotate(run.secret_arn)
    return _ended(
        run, record, "FAILED, previous key restored", (summary, next_steps), fields, command
    )


def _failed(run: Run, record: Record, again: str) -> Message:
    failure, stopped = _failure(record), record["rollbackFailure"]
    summary = f"The rotation stopped at {failure['step']}."
    if not stopped:
        fields = _error(record) | _stays(record)
        return _ended(run, record, "FAILED", (summary, _fix_and_retry(failure)), fields, again)
    summary += (
        f" The rollback to the previous key stopped too, at {stopped['step']}: services may run"
        " different keys, and users may be asked to log in repeatedly."
    )
    fields = _error(record) | {
        "Rollback": f"{stopped['error']}: {stopped['says']}",
        "Key": f"The new version is {_new(record)}, the old one {_previous(record)}. The command"
        " below shows which of them is AWSCURRENT.",
    }
    next_steps = (
        f"Fix the cause (docs/operations.md, {heading_of(stopped['error'])}), see which version"
        " is current, and deliver it to the services (docs/operations.md, The commands):"
    )
    command = f"aws secretsmanager describe-secret --secret-id {run.secret_arn}"
    return _ended(
        run, record, "FAILED, and the rollback failed", (summary, next_steps), fields, command
    )


def _failed_in_an_emergency(run: Run, record: Record, again: str) -> Message:
    failure = _failure(record)
    summary = (
        f"The emergency rotation stopped at {failure['step']}. The new session key stays: the old"
        " one may be known to others and is never restored. A pod that was not restarted still runs"
        " the old key."
    )
    if failure["step"] == "MarkExposed":
        summary = (
            "Every step of the emergency rotation succeeded but MarkExposed: the previous version"
            " may still carry AWSPREVIOUS, or lack its mark of exposure."
        )
    fields = _error(record) | _stays(record) | _other_fields(record) | _timings(record)
    next_steps = f"Act now. {_fix_and_retry(failure)}"
    return _ended(run, record, "FAILED IN AN EMERGENCY", (summary, next_steps), fields, again)


def _superseded(run: Run, record: Record, _again: str) -> Message:
    summary = (
        f"Version {_new(record)} is no longer AWSCURRENT: another rotation has overtaken this run,"
        " which stopped and changed nothing more."
    )
    return _ended(run, record, "was overtaken by another", (summary, "Follow the other run."), {})


def _ended(
    run: Run,
    record: Record,
    subject: str,
    words: tuple[str, str],
    fields: Mapping[str, str],
    command: str = "",
) -> Message:
    """The message of a run that has ended; `words` are the summary and the next steps."""
    summary, next_steps = words
    return Message(
        kind=f"Session Key Rotation {record['outcome'].replace('-', ' ').title()}",
        subject=f"Session key rotation {subject}",
        summary=summary,
        fields={
            "When": f"{record['finishedAt']}, {record['seconds']} s after its start",
            "Impact": _impact(record),
            "Reason": run.origin.reason,
            **_checks(record),
            **fields,
            **_logs(record),
            "Run": run.execution_name,
        },
        next_steps=next_steps,
        facts={**record},
        command=command,
    )


def _is_emergency(record: Record) -> bool:
    return record["mode"] == "emergency"


def _failure(record: Record) -> StepFailure:
    """The failure of a run that failed; one whose step is not known has no known text either."""
    return record["failure"] or {"step": "an unknown step", "error": "Unknown", "says": ""}


def _new(record: Record) -> str:
    return str(record["versions"]["new"])


def _previous(record: Record) -> str:
    return str(record["versions"]["previous"] or "the version that carries AWSPREVIOUS")


def _checks(record: Record) -> dict[str, str]:
    """The checks that would have stopped a scheduled rotation, and did not stop an emergency."""
    if not record["failedChecks"]:
        return {}
    return {"Checks": f"failed, and did not stop the rotation: {'; '.join(record['failedChecks'])}"}


def _logs(record: Record) -> dict[str, str]:
    logs = record["validation"].get("logs")
    return {"Logs": logs["says"]} if logs and logs["says"] else {}


def _impact(record: Record) -> str:
    """The effect of the run on users so far."""
    claim, deleted = record["sessions"]["claim"], record["sessions"]["deleted"]
    if claim:
        return f"Users have to log in again. Sessions: {claim}."
    if deleted:
        return f"Sessions ended so far: {deleted}. Their users have to log in again."
    if record["services"]:
        return "Users have to log in again where services run the new key; no session was deleted."
    return "None known: no restart completed, and no session was deleted."


def _error(record: Record) -> dict[str, str]:
    failure = _failure(record)
    completed = (step["name"] for step in record["steps"] if not step.get("rollback"))
    done = [name for name in completed if name != failure["step"]]
    return {
        "Error": f"{failure['error']}: {failure['says']}",
        "Done": ", ".join(done) or "nothing",
    }


def _stays(record: Record) -> dict[str, str]:
    new, old = _new(record), _previous(record)
    return {"Key": f"AWSCURRENT is the new version, {new}. The old one is {old}."}


def _other_fields(record: Record) -> dict[str, str]:
    """Whether an emergency has reverted other fields of the secret, which does not stop it."""
    if not record["exposure"] or not record["exposure"]["otherFieldsChanged"]:
        return {}
    difference = (
        f"those of {_new(record)} differ from those of {_previous(record)}: they were changed"
        " during the rotation, or by whoever stored the value. Compare both versions and store the"
        " fields to keep again"
    )
    return {"Other fields": difference}


def _timings(record: Record) -> dict[str, str]:
    """The time from the trigger until the old key was out of use, if that is confirmed."""
    timings = record["timings"]
    reached = {
        "Pods": ("the last old pod", timings["secondsToLastOldPod"]),
        "Sessions": ("the last old session", timings["secondsToLastOldSession"]),
    }
    return {
        name: f"{what} was gone {seconds:g} s after the trigger"
        if seconds is not None
        else f"{what}: not yet confirmed gone"
        for name, (what, seconds) in reached.items()
    }


def _fix_and_retry(failure: StepFailure) -> str:
    return (
        f"Fix the cause (docs/operations.md, {heading_of(failure['error'])}), then retry the run;"
        " completed steps are not repeated:"
    )
