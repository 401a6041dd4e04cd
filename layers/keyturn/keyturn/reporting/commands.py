"""The shell commands in messages."""

import json
import shlex
from datetime import datetime, timedelta

from keyturn.run.run import Run
from keyturn.run.times import format_timestamp


def rotate(secret_arn: str, why: str = "planned") -> str:
    """Rotate now; `why` begins the token: `planned` or `emergency`."""
    return (
        f"aws secretsmanager rotate-secret --secret-id {secret_arn}"
        f" --region {secret_arn.split(':')[3]}"
        f' --client-request-token "{why}-$(uuidgen)"'
    )


def restore_secret(secret_arn: str) -> str:
    """Cancel the deletion of the secret."""
    return f"aws secretsmanager restore-secret --secret-id {secret_arn}"


def schedule(secret_arn: str, expression: str, duration: str) -> str:
    """Turn the rotation schedule on again, without a rotation."""
    rules = {"ScheduleExpression": expression, "Duration": duration}
    given = json.dumps({name: value for name, value in rules.items() if value})
    with_rules = f" --rotation-rules {shlex.quote(given)}" if expression else ""
    return (
        f"aws secretsmanager rotate-secret --secret-id {secret_arn}"
        f" --no-rotate-immediately{with_rules}"
    )


def who_called(name: str, at: datetime) -> str:
    """Have CloudTrail list the calls of a name around a moment."""
    around = timedelta(minutes=5)
    return (
        f"aws cloudtrail lookup-events --start-time {format_timestamp(at - around)}"
        f" --end-time {format_timestamp(at + around)}"
        f" --lookup-attributes AttributeKey=EventName,AttributeValue={name}"
    )


def recent_runs(state_machine_arn: str) -> str:
    """List the latest executions of a state machine."""
    return (
        f"aws stepfunctions list-executions --state-machine-arn {state_machine_arn} --max-items 5"
    )


def end_of_run(execution_arn: str) -> str:
    """List the last events of an execution."""
    return (
        f"aws stepfunctions get-execution-history --execution-arn {execution_arn}"
        " --reverse-order --max-items 5"
    )


def dry_run(secret_arn: str) -> str:
    """Check whether a scheduled rotation would be refused; nothing is rotated."""
    return f"aws secretsmanager rotate-secret --secret-id {secret_arn} --no-rotate-immediately"


def show_finding(finding_id: str, region: str) -> str:
    """Show a GuardDuty finding; an account has one detector in a Region."""
    detector = f"aws guardduty list-detectors --region {region} --query 'DetectorIds[0]'"
    return (
        f"aws guardduty get-findings --region {region} --finding-ids {finding_id}"
        f' --detector-id "$({detector} --output text)"'
    )


def run_again(run: Run, state_machine_arn: str) -> str:
    """Retry a run with the same input; the command can be repeated."""
    return _start(run, state_machine_arn, shlex.quote(json.dumps(run.as_ledger())))


def run_again_as(run: Run, execution_arn: str, state_machine_arn: str) -> str:
    """Retry a run with the input of one of its executions; the command can be repeated."""
    had = f"aws stepfunctions describe-execution --execution-arn {execution_arn}"
    return _start(run, state_machine_arn, f'"$({had} --query input --output text)"')


def _start(run: Run, state_machine_arn: str, given: str) -> str:
    """Start an execution again; `given` is its input as a word of the shell.

    A name can be used once, so the shell adds ten random digits each time the command is entered: a
    message may be read days later, and its cause may not be the only one. The time could be the
    same twice within a second. A rotation id of 64 characters leaves room for eleven.
    """
    return (
        f"aws stepfunctions start-execution --state-machine-arn {state_machine_arn}"
        f' --name "{run.execution_name}-$(uuidgen | tr -d - | cut -c1-10)" --input {given}'
    )
