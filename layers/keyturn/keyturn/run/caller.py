"""Verify the caller: a function changes something only for a running execution.

Otherwise a principal with only lambda:InvokeFunction could move AWSCURRENT back, end all sessions
or overwrite a record with one call. So the state machine gives each call the ARN of its execution,
and the function looks the call up in that execution's history: it must be scheduled there, for this
function, with this input, and not be completed. The input is then the one that the definition of
the state machine has created.

Source: Step Functions API reference, GetExecutionHistory and HistoryEvent.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keyturn import errors
from keyturn.run.ledger import text
from keyturn.run.run import LATER_EXECUTION, Run

EXECUTION_ENDED = re.compile(r"Execution(Succeeded|Failed|TimedOut|Aborted)")
CALL_ENDED = re.compile(r"LambdaFunction(Succeeded|Failed|TimedOut|ScheduleFailed|StartFailed)")


@dataclass(frozen=True)
class HistoryEvent:
    """One event of an execution's history. `function` and `payload` are those of a call."""

    number: int
    follows: int
    kind: str
    function: str = ""
    payload: Any = None


class Executions(Protocol):
    """The executions of the state machine, for a function that one of them has called."""

    @property
    def state_machine_arn(self) -> str:
        """The state machine of this stack."""

    def check_ready(self) -> None:
        """Verify that the history of its executions can be read."""

    def wait_for_call(self, execution_arn: str, function_arn: str, payload: Any) -> bool:
        """Whether `made_call` is true of the history; reads again while events may be missing."""


@dataclass(frozen=True)
class Call:
    """One call of a function: its own ARN, and its input."""

    function_arn: str
    event: Mapping[str, Any]


def confirm_caller(executions: Executions, run: Run, call: Call) -> None:
    """Verify that a running execution of the run has made the call.

    Raises RequestRefused if the input names no execution of the run, CallNotConfirmed if the
    execution has not made the call, or its history does not show it yet.
    """
    execution_arn = text(call.event, "execution")
    name = execution_arn.rpartition(":")[2]
    own = arn_of_execution(executions.state_machine_arn, name)
    if execution_arn != own or not is_execution_of(run, name):
        raise errors.RequestRefused(
            f"The input does not name an execution of {run.execution_name} on"
            f" {executions.state_machine_arn}. Nothing was changed. Start the state machine instead"
            " of this function."
        )
    if not executions.wait_for_call(execution_arn, call.function_arn, call.event):
        raise errors.CallNotConfirmed(
            f"The execution {name} has not made this call, or does not show it yet. Nothing was"
            " changed. The state machine retries its own calls; any other call is refused."
        )


def arn_of_execution(state_machine_arn: str, name: str) -> str:
    """The ARN of the execution of that name. Pure."""
    return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


def is_execution_of(run: Run, name: str) -> bool:
    """Whether an execution of this name is one of the run: its first, or a later one.

    A retried run has random digits in its name (`commands`); one whose name was taken has a number.
    """
    pattern = rf"{re.escape(run.execution_name)}{LATER_EXECUTION}"
    return re.fullmatch(pattern, name) is not None


def made_call(history: Sequence[HistoryEvent], function_arn: str, payload: Any) -> bool:
    """Whether a running execution is waiting for this call, or has queued it. Pure.

    A call that is awaited is scheduled, started and ended by three successive events. A call that
    Lambda only queues (TaskScheduled) is completed for the execution when the function runs.
    """
    if any(EXECUTION_ENDED.fullmatch(event.kind) for event in history):
        return False
    ended = _followed_by_an_end(history)
    return any(
        event.kind == "TaskScheduled" or event.number not in ended
        for event in history
        if event.function == function_arn and event.payload == payload
    )


def _followed_by_an_end(history: Iterable[HistoryEvent]) -> set[int]:
    """The numbers of the events from which a call's end follows, at once or by its start."""
    follows = {event.number: event.follows for event in history}
    ended = {event.follows for event in history if CALL_ENDED.fullmatch(event.kind)}
    return ended | {follows[number] for number in ended if number in follows}


def history_event(entry: Mapping[str, Any]) -> HistoryEvent:
    """An event as GetExecutionHistory shows it. Pure."""
    kind = entry["type"]
    if kind == "LambdaFunctionScheduled":
        details = entry["lambdaFunctionScheduledEventDetails"]
        called = (details["resource"], json.loads(details.get("input") or "null"))
    elif kind == "TaskScheduled":
        given = json.loads(entry["taskScheduledEventDetails"].get("parameters") or "{}")
        called = (str(given.get("FunctionName", "")), given.get("Payload"))
    else:
        called = ("", None)
    return HistoryEvent(entry["id"], entry.get("previousEventId", 0), kind, *called)
