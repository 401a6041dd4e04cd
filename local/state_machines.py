"""Step Functions on the local stack: moto's interpreter, corrected, and a view of its progress.

moto runs our JSONPath definitions as they are. Nine things differ from AWS and are put right by
`correct_interpreter`, which also has each definition read but once:
- a Lambda call that is refused (throttled, unknown function) ends in the error `Exception`; in AWS
  it is `Lambda.` and the code, such as `Lambda.TooManyRequestsException`, which is what a Retry
  names (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html);
- `$$.Execution.StartTime` is a Python datetime, so that an output which holds it cannot be read
  back; in AWS it is text;
- `lambda:invoke` drops InvocationType, and would wait for a function that is only to be queued;
- a task that starts while its Map iteration is being stopped is scheduled with its input as its
  timeout, and the history can no longer be read; in AWS it is not scheduled;
- a history is answered whole and from its beginning, whatever was asked for; in AWS it comes in
  pages, and the other way round on request;
- an output that is a text is returned bare, and null not at all; in AWS every output is JSON;
- the limits of a payload and of a history are not enforced as in AWS (`execution_limits`);
- what AWS ends an execution for is caught by `States.ALL`, and a path that matches nothing is an
  ordinary error or false (`terminal_errors`);
- EventBridge is not told that an execution has ended (`execution_events`).

`watch` reads the execution history through the public API, so it shows an execution on AWS as well.
"""

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from local import execution_events, execution_limits, terminal_errors

POLL_SECONDS = 0.25
PAGE_EVENTS = 100  # as many as AWS answers where nobody says how many
_correction = threading.Lock()


@dataclass(frozen=True)
class Progress:
    """One event of an execution's history, with the place it belongs to.

    `kind` is the event's type, such as `TaskStateEntered`; `state` the state's name, or None for
    the execution itself; `iterations` the indexes of the Map iterations around it, outermost first.
    `input` and `output` are parsed JSON, or None where the event has none.
    """

    kind: str
    state: str | None
    iterations: tuple[int, ...]
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    error: str | None = None


Place = tuple[str | None, tuple[int, ...]]


def locate(
    events: Iterable[Mapping[str, Any]], places: dict[int, Place] | None = None
) -> list[Progress]:
    """Give each history event its state and its Map iterations.

    An event names its state only on entering and leaving it; the events between are found by
    following `previousEventId`. `places` has those of the events before, if there are any, and gets
    these.
    """
    places = {} if places is None else places
    located = []
    for event in events:
        state, iterations = places.get(event["previousEventId"], (None, ()))
        details = _details(event)
        kind = event["type"]
        if kind.startswith("Execution"):
            state, iterations = None, ()
        elif kind == "MapIterationStarted":
            state, iterations = details["name"], (*iterations, details["index"])
        else:
            state = details.get("name", state)
        leaves = kind.startswith("MapIteration") and kind != "MapIterationStarted"
        places[event["id"]] = (state, iterations[:-1] if leaves else iterations)
        located.append(_progress(event, details, (state, iterations)))
    return located


def watch(
    client: Any,
    execution_arn: str,
    *,
    seconds: float = 3600,
    on_poll: Callable[[], None] = lambda: None,
) -> Iterator[Progress]:
    """Yield an execution's events as they come, until the execution ends.

    `client` is boto3's for Step Functions. `on_poll` is called before each look, and may raise.

    Raises TimeoutError when it has not ended after `seconds`.
    """
    deadline = time.monotonic() + seconds
    places: dict[int, Place] = {}
    while time.monotonic() < deadline:
        on_poll()
        # The status comes first, so that the history of an ended execution is whole.
        status = client.describe_execution(executionArn=execution_arn)["status"]
        yield from locate(_events_after(client, execution_arn, max(places, default=0)), places)
        if status != "RUNNING":
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{execution_arn} has not ended after {seconds:.0f} s")


def _events_after(client: Any, execution_arn: str, seen: int) -> list[Mapping[str, Any]]:
    """The events after the one of a number, in their order; read from the newest back."""
    pages = client.get_paginator("get_execution_history").paginate(
        executionArn=execution_arn, reverseOrder=True, PaginationConfig={"PageSize": PAGE_EVENTS}
    )
    events = (event for page in pages for event in page["events"])
    return list(itertools.takewhile(lambda event: event["id"] > seen, events))[::-1]


def _details(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (value for key, value in event.items() if key.endswith("EventDetails"))
    return next(found, {})


def _progress(event: Mapping[str, Any], details: Mapping[str, Any], place: Place) -> Progress:
    return Progress(
        event["type"],
        *place,
        input=_parsed(details.get("input")),
        output=_parsed(details.get("output")),
        error=details.get("error"),
    )


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def correct_interpreter() -> None:
    """Put moto's interpreter right, once a process; see the module's description."""
    with _correction:
        _correct_once()


@functools.cache
def _correct_once() -> None:
    from moto.stepfunctions.parser.asl.component.common.timeouts.timeout import (  # noqa: PLC0415  importing the interpreter takes two seconds
        Timeout,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (  # noqa: E501, PLC0415  the same
        _SUPPORTED_API_PARAM_BINDINGS,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.state_task_lambda import (  # noqa: PLC0415  the same
        StateTaskLambda,
    )
    from moto.stepfunctions.parser.asl.parse.asl_parser import (  # noqa: PLC0415  the same
        AmazonStateLanguageParser,
    )
    from moto.stepfunctions.parser.backend.execution import Execution  # noqa: PLC0415  the same
    from moto.stepfunctions.responses import StepFunctionResponse  # noqa: PLC0415  the same

    # Nothing of a stopped iteration is evaluated, and what is read instead is what came before.
    Timeout.eval = Timeout._eval_body  # noqa: SLF001  moto offers no other way
    _SUPPORTED_API_PARAM_BINDINGS["invoke"].add("InvocationType")
    StateTaskLambda._from_error = _named_after_the_code(StateTaskLambda._from_error)  # noqa: SLF001  moto offers no other way
    AmazonStateLanguageParser.parse = _read_once(AmazonStateLanguageParser.parse)
    Execution.get_start_execution_details = _with_start_time_as_text(
        Execution.get_start_execution_details
    )
    StepFunctionResponse.get_execution_history = _in_pages(
        StepFunctionResponse.get_execution_history
    )
    # moto assigns the parsed output, and only after the status; what it assigns is not needed.
    Execution.output = property(_output_as_json, lambda _execution, _output: None)
    execution_limits.enforce()
    terminal_errors.enforce()
    execution_events.publish()


def _named_after_the_code(original: Callable[..., Any]) -> Callable[..., Any]:
    from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (  # noqa: PLC0415  as above
        CustomErrorName,
    )

    def from_error(state: Any, env: Any, ex: Exception) -> Any:
        failure = original(state, env, ex)
        if isinstance(ex, ClientError):
            name = f"Lambda.{ex.response['Error']['Code']}"
            failure.error_name = CustomErrorName(name)
            failure.event_details["lambdaFunctionFailedEventDetails"]["error"] = name
        return failure

    return from_error


def _read_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read the text of a definition once: reading ours takes a second, and each execution does."""
    from moto.stepfunctions.parser.asl.parse.preprocessor import (  # noqa: PLC0415  as above
        Preprocessor,
    )

    @functools.cache
    def tree_of(definition: str) -> Any:
        _, tree = original(definition)
        return tree

    return lambda definition: (Preprocessor().visit(tree_of(definition)), tree_of(definition))


def _with_start_time_as_text(original: Callable[..., Any]) -> Callable[..., Any]:
    def details(execution: Any) -> Any:
        found = original(execution)
        started = execution.start_date.astimezone(UTC)
        found.start_time = f"{started:%Y-%m-%dT%H:%M:%S}.{started.microsecond // 1000:03d}Z"
        return found

    return details


def _in_pages(original: Callable[..., Any]) -> Callable[..., Any]:
    def history(response: Any) -> Any:
        """A page of the history; its token is the number of the last event that was given."""
        found, asked = original(response), json.loads(response.body)
        events = found.result["events"]
        if asked.get("reverseOrder"):
            events = events[::-1]
        if "nextToken" in asked:
            numbers = [event["id"] for event in events]
            events = events[numbers.index(int(asked["nextToken"])) + 1 :]
        page = events[: asked.get("maxResults", PAGE_EVENTS)]
        more = {"nextToken": str(page[-1]["id"])} if len(page) < len(events) else {}
        return type(found)({"events": page, **more})

    return history


def _output_as_json(execution: Any) -> str:
    return json.dumps(execution.exec_worker.env.states.get_input())
