"""The two limits of an execution, as AWS enforces them. `terminal_errors` has who may catch them.

- A payload has at most 262,144 bytes, as compact JSON in UTF-8: a function's result, a state's
  output, and a task's input after `Parameters`. One byte more is States.DataLimitExceeded.
- A history has at most 25,000 events. The last one is ExecutionFailed with States.Runtime, whatever
  the execution was doing.

moto enforces a part of the first limit and does not know the second.
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""

import functools
import json
import threading
from collections.abc import Callable
from typing import Any

PAYLOAD_BYTES = 262_144
HISTORY_EVENTS = 25_000
HISTORY_FULL = {
    "error": "States.Runtime",
    "cause": f"The execution reached the maximum number of history events ({HISTORY_EVENTS}).",
}


def payload_bytes(value: Any) -> int:
    """The size of a payload as Step Functions counts it."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode())


def is_within(value: Any) -> bool:
    """Whether a payload may be handed on."""
    return payload_bytes(value) <= PAYLOAD_BYTES


def enforce() -> None:
    """Have moto's interpreter enforce both limits; to be called once a process."""
    _enforce_payload()
    _enforce_history()


def _enforce_payload() -> None:
    from moto.stepfunctions.parser.asl.component.state import state  # noqa: PLC0415  importing the interpreter takes two seconds
    from moto.stepfunctions.parser.asl.component.state.exec.state_task import (  # noqa: PLC0415  the same
        state_task_lambda,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (  # noqa: PLC0415  the same
        state_task_service,
    )

    state.is_within_size_quota = is_within
    state_task_service.is_within_size_quota = is_within
    # Of what moto's Lambda answers, the result alone is a payload.
    state_task_lambda.is_within_size_quota = _is_result_within
    for task in (state_task_lambda.StateTaskLambda, state_task_service.StateTaskService):
        task._eval_parameters = _limited_parameters(task._eval_parameters)  # noqa: SLF001  moto offers no other way


def _is_result_within(value: Any) -> bool:
    return is_within(value["Payload"] if isinstance(value, dict) and "Payload" in value else value)


def _limited_parameters(original: Callable[..., Any]) -> Callable[..., Any]:
    from moto.stepfunctions.parser.asl.component.state.state import CommonStateField  # noqa: PLC0415  as above

    def parameters(task: Any, env: Any) -> Any:
        given = original(task, env)
        if not is_within(given.get("Payload", given)):
            # Its message names the state; that of a function's result would name the function.
            CommonStateField._verify_size_quota(task, env, given)  # noqa: SLF001  as above
        return given

    return parameters


def _enforce_history() -> None:
    from moto.stepfunctions.parser.asl.eval.environment import Environment  # noqa: PLC0415  as above
    from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager  # noqa: PLC0415  the same
    from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker  # noqa: PLC0415  the same

    EventManager.is_full = False
    EventManager.add_event = _until_full(EventManager.add_event)
    Environment.set_error = _keeping_the_end(Environment.set_error)
    ExecutionWorker._get_evaluation_environment = _known_to_its_history(  # noqa: SLF001  as above
        ExecutionWorker._get_evaluation_environment  # noqa: SLF001  the same
    )


def _known_to_its_history(original: Callable[..., Any]) -> Callable[..., Any]:
    def environment(worker: Any) -> Any:
        made = original(worker)
        made.event_manager.environment = made
        return made

    return environment


def _keeping_the_end(original: Callable[..., Any]) -> Callable[..., Any]:
    """What a state meets that goes on for a moment after the last event is not how it ended."""

    def set_error(environment: Any, error: Any) -> None:
        full = environment.event_manager.is_full
        original(environment, error=dict(HISTORY_FULL) if full else error)

    return set_error


def _until_full(original: Callable[..., Any]) -> Callable[..., Any]:
    """Record events up to the last but one; then the execution has failed, and nothing is added."""
    lock = threading.Lock()

    @functools.wraps(original)
    def add_event(manager: Any, context: Any, event_type: Any, *given: Any, **named: Any) -> int:
        with lock:
            number: int = manager._event_id_gen._next_id  # noqa: SLF001  as above
            if number < HISTORY_EVENTS:
                added: int = original(manager, context, event_type, *given, **named)
                return added
            if number == HISTORY_EVENTS:
                details = {"executionFailedEventDetails": dict(HISTORY_FULL)}
                original(manager, context, "ExecutionFailed", details)
                manager.is_full = True
        if number == HISTORY_EVENTS:
            manager.environment.set_error(dict(HISTORY_FULL))
        return HISTORY_EVENTS

    return add_event
