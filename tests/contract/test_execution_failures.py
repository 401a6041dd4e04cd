"""The local Step Functions ends an execution where AWS ends it, whatever its states catch.

At a payload or a history over the limit, and at a path that matches nothing.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from keyturn.adapters.aws.step_functions import StepFunctionsRuns
from local import execution_limits
from local.cloud import Cloud
from local.execution_limits import PAYLOAD_BYTES, payload_bytes
from local.functions import FunctionSettings
from tests.contract.running_cloud import ACCOUNT, REGION, running_cloud
from tests.contract.waiting import until

SOURCE = """
def text(event, context):
    return "x" * event["characters"]
"""
CATCH_ALL = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Caught"}
CAUGHT = {"Caught": {"Type": "Succeed"}}
States = dict[str, dict[str, Any]]


class NoSecrets:
    def handle(self, operation: str, request: dict[str, Any], /) -> Mapping[str, Any]:
        raise AssertionError(operation)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    code = tmp_path_factory.mktemp("code")
    with running_cloud(code, SOURCE, NoSecrets()) as (front, functions):
        functions.create(FunctionSettings("text", "app.text", code, timeout_seconds=20))
        yield front


@dataclass(frozen=True)
class Ended:
    """An execution that is over, and its events, the newest first."""

    status: str
    error: str | None
    cause: str
    events: list[dict[str, Any]]


def start(client: Any, states: States, event: Any) -> tuple[str, str]:
    """Start an execution of a state machine of its own; the ARNs of both."""
    machine: str = client.create_state_machine(
        name=f"limits-{uuid.uuid4()}",
        definition=json.dumps({"StartAt": next(iter(states)), "States": states}),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/machine",
    )["stateMachineArn"]
    started = client.start_execution(stateMachineArn=machine, input=json.dumps(event))
    return machine, started["executionArn"]


@pytest.fixture
def run(cloud: Cloud) -> Callable[[States, Any], Ended]:
    def run(states: States, event: Any) -> Ended:
        client = cloud.client("stepfunctions")
        _, execution = start(client, states, event)
        found = until(
            lambda: client.describe_execution(executionArn=execution),
            lambda seen: seen["status"] != "RUNNING",
        )
        newest_first = client.get_execution_history(executionArn=execution, reverseOrder=True)
        cause = found.get("cause", "")
        return Ended(found["status"], found.get("error"), cause, newest_first["events"])

    return run


def task(**fields: Any) -> dict[str, Any]:
    resource = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:text"
    return {"Type": "Task", "Resource": resource, "End": True, **fields}


def each(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A Map with one state for each of the `items`."""
    processor = {
        "ProcessorConfig": {"Mode": "INLINE"},
        "StartAt": "Item",
        "States": {"Item": state, **CAUGHT},
    }
    return {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": processor, "End": True,
            **fields}  # fmt: skip


def branch(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A Parallel state of one branch."""
    branches = [{"StartAt": "Item", "States": {"Item": state, **CAUGHT}}]
    return {"Type": "Parallel", "Branches": branches, "End": True, **fields}


def choice(**rule: Any) -> dict[str, Any]:
    return {"Type": "Choice", "Choices": [{**rule, "Next": "Caught"}], "Default": "Caught"}


def text_of(size: int) -> str:
    """A text that is so many bytes as JSON."""
    return "x" * (size - 2)


def test_the_size_of_a_payload_is_that_of_compact_json_in_utf_8() -> None:
    assert payload_bytes({"a": [1, "é"]}) == len('{"a":[1,"é"]}'.encode()) == 14


def test_a_state_whose_output_is_as_large_as_the_limit_goes_on(
    run: Callable[[States, Any], Ended],
) -> None:
    states: States = {"Take": {"Type": "Pass", "Result": text_of(PAYLOAD_BYTES), "Next": "Hand"},
              "Hand": {"Type": "Pass", "End": True}}  # fmt: skip
    assert run(states, {}).status == "SUCCEEDED"


@pytest.mark.parametrize("kind", ["Pass", "Task", "Map"])
def test_an_output_that_is_too_large_is_not_caught_by_states_all(
    kind: str, run: Callable[[States, Any], Ended]
) -> None:
    half = text_of(PAYLOAD_BYTES // 2)
    over = {
        "Pass": {"Type": "Pass", "Parameters": {"a": half, "b": half}, "End": True},
        "Task": task(ResultPath="$.result", Catch=[CATCH_ALL]),
        "Map": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "Item",
                "States": {"Item": {"Type": "Pass", "Result": half, "End": True}},
            },
            "Catch": [CATCH_ALL],
            "End": True,
        },
    }[kind]
    given = {"characters": PAYLOAD_BYTES - 20, "items": [1, 2], "of": "the ledger"}
    ended = run({"Over": over} | ({} if kind == "Pass" else CAUGHT), given)
    assert (ended.status, ended.error) == ("FAILED", "States.DataLimitExceeded")
    assert "returned a result with a size exceeding the maximum" in ended.cause
    assert ended.events[0]["type"] == "ExecutionFailed"


def test_a_result_of_a_function_that_is_larger_can_be_caught_by_its_name_alone(
    run: Callable[[States, Any], Ended],
) -> None:
    by_name = {"ErrorEquals": ["States.DataLimitExceeded"], "Next": "Caught"}
    all_of_them = {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1}
    given = {"characters": PAYLOAD_BYTES}
    ended = run({"Over": task(Retry=[all_of_them], Catch=[CATCH_ALL]), **CAUGHT}, given)
    assert (ended.status, ended.error) == ("FAILED", "States.DataLimitExceeded")
    assert [event["type"] for event in ended.events].count("LambdaFunctionScheduled") == 1
    assert run({"Over": task(Catch=[by_name]), **CAUGHT}, given).status == "SUCCEEDED"


def test_a_tasks_input_is_limited_after_its_parameters(
    run: Callable[[States, Any], Ended],
) -> None:
    doubled = {"characters": 1, "a.$": "$.text", "b.$": "$.text"}
    states: States = {
        "Take": {"Type": "Pass", "Result": {"text": text_of(PAYLOAD_BYTES * 2 // 3)},
                 "Next": "Over"},
        "Over": task(Parameters=doubled, Catch=[CATCH_ALL]),
        **CAUGHT,
    }  # fmt: skip
    ended = run(states, {})
    assert (ended.status, ended.error) == ("FAILED", "States.DataLimitExceeded")


def test_a_payload_that_is_too_large_in_an_iteration_ends_the_whole_execution(
    run: Callable[[States, Any], Ended],
) -> None:
    item = task(ResultPath="$.result", Catch=[{**CATCH_ALL, "Next": "ItemCaught"}])
    states: States = {
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "Item",
                "States": {"Item": item, "ItemCaught": {"Type": "Succeed"}},
            },
            "Catch": [CATCH_ALL],
            "End": True,
        },
        **CAUGHT,
    }
    ended = run(states, {"items": [{"characters": PAYLOAD_BYTES - 20}]})
    assert (ended.status, ended.error) == ("FAILED", "States.DataLimitExceeded")


def test_the_last_event_of_a_history_ends_the_execution(
    run: Callable[[States, Any], Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    spin = {"Variable": "$.spin", "BooleanEquals": True, "Next": "Loop"}
    assert execution_limits.HISTORY_EVENTS == 25_000
    monkeypatch.setattr(execution_limits, "HISTORY_EVENTS", 400)  # moto needs a minute for all
    ended = run({"Loop": {"Type": "Choice", "Choices": [spin]}}, {"spin": True})
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert ended.cause == "The execution reached the maximum number of history events (25000)."
    last, before = ended.events[:2]
    assert (last["id"], last["type"]) == (400, "ExecutionFailed")
    assert (before["id"], before["type"]) == (399, "ChoiceStateExited")


def test_no_catch_hears_that_a_history_ends_in_an_iteration(
    run: Callable[[States, Any], Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_limits, "HISTORY_EVENTS", 60)
    spin = {"Variable": "$.spin", "BooleanEquals": True, "Next": "Loop"}
    pause = {"Type": "Wait", "Seconds": 60, "End": True}
    states: States = {
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "Loop",
                "States": {
                    "Loop": {"Type": "Choice", "Choices": [spin], "Default": "Hold"},
                    "Hold": pause,
                },
            },
            "Catch": [CATCH_ALL],
            "End": True,
        },
        **CAUGHT,
    }
    ended = run(states, {"items": [{"spin": True}, {"spin": False}]})
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert (ended.events[0]["id"], ended.events[0]["type"]) == (60, "ExecutionFailed")


MISSING = {"a.$": "$.missing"}
RETRY_ALL = {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1}
INVOKE = {
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke",
    "Parameters": {"FunctionName": task()["Resource"], "Payload": MISSING},
    "End": True,
}
NOT_IN_PAYLOAD = (
    "The JSONPath '$.missing' specified for the field 'a.$' could not be found in the input"
)
NO_RESULTS = "Invalid path '$.missing' : No results for path: $['missing']"
NO_VALUE = (
    "Invalid path '$.missing': The choice state's condition path references an invalid value."
)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"Type": "Pass", "Parameters": MISSING, "End": True}, NOT_IN_PAYLOAD),
        (task(Parameters=MISSING), NOT_IN_PAYLOAD),
        (task(Parameters={"in": MISSING}), NOT_IN_PAYLOAD),
        (task(Parameters={"a.$": "States.Format('{}', $.missing)"}), NOT_IN_PAYLOAD),
        (task(ResultSelector=MISSING), NOT_IN_PAYLOAD),
        (task(InputPath="$.missing"), NO_RESULTS),
        (task(OutputPath="$.missing"), NO_RESULTS),
        (INVOKE, NOT_IN_PAYLOAD),
        (each({"Type": "Pass", "End": True}, ItemSelector=MISSING), "'$.missing' could not"),
        (each(task(Parameters=MISSING)), NOT_IN_PAYLOAD),
        (branch(task(Parameters=MISSING)), NOT_IN_PAYLOAD),
        (each(choice(Variable="$.missing", BooleanEquals=True)), NO_VALUE),
        (branch(choice(Variable="$.missing", BooleanEquals=True)), NO_VALUE),
    ],
    ids=["Pass", "Task", "Task, nested", "Task, function", "ResultSelector", "InputPath",
         "OutputPath", "lambda:invoke", "ItemSelector", "Task in a Map", "Task in a Parallel",
         "Choice in a Map", "Choice in a Parallel"],
)  # fmt: skip
def test_a_path_that_matches_nothing_is_not_caught_by_states_all(
    state: dict[str, Any], says: str, run: Callable[[States, Any], Ended]
) -> None:
    states: States = {"Over": state}
    if state["Type"] != "Pass":
        states = {"Over": {**state, "Retry": [RETRY_ALL], "Catch": [CATCH_ALL]}, **CAUGHT}
    ended = run(states, {"characters": 1, "items": [{"characters": 1}]})
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert says in ended.cause
    assert ended.cause.count("An error occurred while executing the state") == 1
    assert ended.events[0]["type"] == "ExecutionFailed"


@pytest.mark.parametrize(
    "rule",
    [
        {"Variable": "$.missing", "StringEquals": "done"},
        {"Variable": "$.missing", "BooleanEquals": True},
        {"Variable": "$.missing", "IsNull": True},
        {"Variable": "$.there", "StringEqualsPath": "$.missing"},
        {"Not": {"Variable": "$.missing", "StringEquals": "done"}},
        {"And": [{"Variable": "$.there", "IsPresent": True},
                 {"Variable": "$.missing", "StringEquals": "done"}]},
    ],
)  # fmt: skip
def test_a_choice_by_a_path_that_matches_nothing_ends_the_execution(
    rule: dict[str, Any], run: Callable[[States, Any], Ended]
) -> None:
    ended = run({"Over": choice(**rule), **CAUGHT}, {"there": "done"})
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert ended.cause.endswith(NO_VALUE)


def test_a_choice_that_asks_first_whether_the_path_is_present_goes_on(
    run: Callable[[States, Any], Ended],
) -> None:
    asked = {"Variable": "$.missing", "IsPresent": True}
    guarded = {"And": [asked, {"Variable": "$.missing", "BooleanEquals": True}]}
    states: States = {"Ask": {**choice(**guarded), "Default": "Absent"},
                      "Absent": {"Type": "Pass", "Result": "absent", "End": True},
                      **CAUGHT}  # fmt: skip
    assert run(states, {}).events[0]["executionSucceededEventDetails"]["output"] == '"absent"'


def test_a_runtime_error_is_not_caught_by_its_own_name_either(
    run: Callable[[States, Any], Ended],
) -> None:
    named = {"ErrorEquals": ["States.Runtime"]}
    retry = {**named, "MaxAttempts": 1, "IntervalSeconds": 1}
    over = task(Parameters=MISSING, Retry=[retry], Catch=[{**named, "Next": "Caught"}])
    ended = run({"Over": over, **CAUGHT}, {})
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")


def test_an_error_of_a_function_is_still_caught_by_all(run: Callable[[States, Any], Ended]) -> None:
    assert run({"Over": task(Catch=[CATCH_ALL]), **CAUGHT}, {}).status == "SUCCEEDED"


def test_an_execution_that_ends_is_an_event_for_the_rules_of_its_status(cloud: Cloud) -> None:
    """What a machine is started with that is the target of a rule: the whole event."""
    client, rules = cloud.client("stepfunctions"), cloud.client("events")
    told: str = client.create_state_machine(
        name="told",
        definition=json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/machine",
    )["stateMachineArn"]
    pattern = {"source": ["aws.states"], "detail": {"status": ["FAILED", "ABORTED"]}}
    rules.put_rule(Name="failed", EventPattern=json.dumps(pattern))
    rules.put_targets(Rule="failed", Targets=[{"Id": "told", "Arn": told}])
    start(client, CAUGHT, {})
    machine, failed = start(
        client, {"Over": choice(Variable="$.missing", IsNull=True), **CAUGHT}, {}
    )
    _, stopped = start(client, {"Hold": {"Type": "Wait", "Seconds": 60, "End": True}}, {})
    client.stop_execution(executionArn=stopped)
    started = until(
        lambda: client.list_executions(stateMachineArn=told)["executions"],
        lambda found: len(found) == 2,
    )
    rules.remove_targets(Rule="failed", Ids=["told"])
    rules.delete_rule(Name="failed")
    inputs = [client.describe_execution(executionArn=one["executionArn"]) for one in started]
    events = {
        event["resources"][0]: event for event in (json.loads(one["input"]) for one in inputs)
    }
    assert {arn: event["detail"]["status"] for arn, event in events.items()} == {
        failed: "FAILED", stopped: "ABORTED",
    }  # fmt: skip
    detail = events[failed]["detail"]
    assert (detail["stateMachineArn"], detail["error"]) == (machine, "States.Runtime")


FAIL = {"Type": "Fail", "ErrorPath": "$.error", "CausePath": "$.error"}


@pytest.mark.parametrize(
    ("states", "stopped", "lost"),
    [
        ({"Finish": {"Type": "Pass", "Next": "Failed"}, "Failed": FAIL}, False, False),
        ({"Over": {"Type": "Pass", "Parameters": {"a": "x" * PAYLOAD_BYTES}, "End": True}},
         False, True),
        ({"Hold": {"Type": "Wait", "Seconds": 60, "End": True}}, True, True),
    ],
    ids=["its own Fail state", "a payload over the limit", "stopped by a person"],
)  # fmt: skip
def test_a_run_was_lost_where_it_did_not_come_to_its_fail_state(
    states: States, stopped: bool, lost: bool, cloud: Cloud
) -> None:
    client = cloud.client("stepfunctions")
    machine, arn = start(client, states, {"error": "Broken"})
    runs = StepFunctionsRuns.__new__(StepFunctionsRuns)
    runs.state_machine_arn, runs._client = machine, client
    if stopped:
        until(lambda: client.get_execution_history(executionArn=arn)["events"],
              lambda events: events[-1]["type"] == "WaitStateEntered")  # fmt: skip
        assert not runs.was_lost(arn)
        client.stop_execution(executionArn=arn)
    until(lambda: client.describe_execution(executionArn=arn)["status"],
          lambda status: status != "RUNNING")  # fmt: skip
    until(lambda: client.get_execution_history(executionArn=arn)["events"][-1]["type"],
          lambda kind: kind in {"ExecutionFailed", "ExecutionAborted"})  # fmt: skip
    assert runs.was_lost(arn) is lost
    (listed,) = runs.executions()
    assert listed.stopped is not None
    assert not runs.was_lost(f"{arn}-that-there-is-not")
