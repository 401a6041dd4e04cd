"""The local AWS keeps what a rotation needs of Lambda, Step Functions, EventBridge and the rest."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from keyturn.adapters.aws import step_functions
from keyturn.adapters.aws.step_functions import StepFunctionsRuns
from local import state_machines
from local.cloud import INTERPRETER_ACCESS_KEY, STACK_ACCESS_KEY, Cloud, access_key_of
from local.events import target_input
from local.functions import Functions, FunctionSettings
from local.secrets_manager.errors import AwsError
from tests.conftest import NOON
from tests.contract.running_cloud import ACCOUNT, REGION, running_cloud

SOURCE = """
import os, time
from pathlib import Path

import boto3


class RolloutNotReady(Exception):
    pass


class RolloutFailed(Exception):
    pass


def echo(event, context):
    return event


def record(event, context):
    name = event["detail"]["name"] if "detail" in event else event["name"]
    (Path(os.environ["FOLDER"]) / name).touch()
    return event


def refuse(event, context):
    raise RolloutFailed("image cannot be pulled")


def third_time(event, context):
    folder = Path(event)
    tries = len(list(folder.iterdir()))
    (folder / str(tries)).touch()
    if tries < 2:
        raise RolloutNotReady(f"try {tries}")
    return {"tries": tries + 1}


def once(event, context):
    folder = Path(event)
    if not list(folder.iterdir()):
        (folder / "tried").touch()
        os._exit(1)
    return "second time lucky"


def hold(event, context):
    Path(event).touch()
    while True:
        time.sleep(0.01)


def describe_secret(event, context):
    return boto3.client("secretsmanager").describe_secret(SecretId=event)["Name"]
"""


@dataclass
class Secrets:
    """The least that the front asks of Secrets Manager."""

    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def handle(self, operation: str, request: dict[str, Any], /) -> Mapping[str, Any]:
        self.requests.append((operation, request))
        if request.get("SecretId") == "absent":
            raise AwsError("ResourceNotFoundException", "there is no such secret", 400)
        return {"ARN": "arn:local", "Name": request["SecretId"]}


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module")
def functions(cloud: Cloud) -> Functions:
    return cloud._functions


@pytest.fixture(scope="module")
def cloud(
    tmp_path_factory: pytest.TempPathFactory, secrets: Secrets, folder: Path
) -> Iterator[Cloud]:
    code = tmp_path_factory.mktemp("code")
    with running_cloud(code, SOURCE, secrets) as (front, functions):
        for name in ("echo", "record", "refuse", "third_time", "once", "hold", "describe_secret"):
            functions.create(
                FunctionSettings(
                    name,
                    f"app.{name}",
                    code,
                    environment={"FOLDER": str(folder)},
                    timeout_seconds=20,
                )
            )
        functions.create(FunctionSettings("slow", "app.hold", code, timeout_seconds=0.2))
        functions.create(FunctionSettings("busy", "app.echo", code, reserved_concurrency=0))
        yield front


def arn(function: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@dataclass(frozen=True)
class Run:
    """A finished execution."""

    status: str
    output: Any
    error: str | None
    cause: str | None
    progress: list[state_machines.Progress]


@pytest.fixture
def start(cloud: Cloud, request: pytest.FixtureRequest) -> Callable[..., str]:
    def start(states: dict[str, Any], event: Any = None, **machine: Any) -> str:
        definition = {"StartAt": next(iter(states)), "States": states, **machine}
        client = cloud.client("stepfunctions")
        machine_arn = client.create_state_machine(
            name=request.node.name[:70].replace("[", "-").replace("]", ""),
            definition=json.dumps(definition),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/machine",
        )["stateMachineArn"]
        started = client.start_execution(stateMachineArn=machine_arn, input=json.dumps(event))
        return str(started["executionArn"])

    return start


@pytest.fixture
def run(cloud: Cloud, start: Callable[..., str]) -> Callable[..., Run]:
    def run(states: dict[str, Any], event: Any = None, **machine: Any) -> Run:
        execution = start(states, event, **machine)
        client = cloud.client("stepfunctions")
        progress = list(state_machines.watch(client, execution, seconds=30))
        ended = client.describe_execution(executionArn=execution)
        output = json.loads(ended["output"]) if "output" in ended else None
        return Run(ended["status"], output, ended.get("error"), ended.get("cause"), progress)

    return run


def task(function: str, **fields: Any) -> dict[str, Any]:
    following = {} if "Next" in fields else {"End": True}
    return {"Type": "Task", "Resource": arn(function), **following, **fields}


# Lambda


def test_a_function_is_invoked_by_boto3(cloud: Cloud) -> None:
    client = cloud.client("lambda")
    answer = client.invoke(FunctionName=arn("echo"), Payload=b'{"a": 1}')
    assert answer["StatusCode"] == 200
    assert json.load(answer["Payload"]) == {"a": 1}
    assert "FunctionError" not in answer


def test_a_functions_error_is_marked_in_the_headers(cloud: Cloud) -> None:
    answer = cloud.client("lambda").invoke(FunctionName="refuse", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"])["errorType"] == "RolloutFailed"


@pytest.mark.parametrize(
    ("function", "payload", "code", "status"),
    [
        ("absent", b"{}", "ResourceNotFoundException", 404),
        ("busy", b"{}", "TooManyRequestsException", 429),
        ("echo", b"{", "InvalidRequestContentException", 400),
    ],
)
def test_a_refused_invocation_has_lambdas_code_and_status(
    cloud: Cloud, function: str, payload: bytes, code: str, status: int
) -> None:
    with pytest.raises(ClientError) as refused:
        cloud.client("lambda").invoke(FunctionName=function, Payload=payload)
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_an_event_invocation_returns_before_the_function_has_run(
    cloud: Cloud, folder: Path
) -> None:
    answer = cloud.client("lambda").invoke(
        FunctionName="record", InvocationType="Event", Payload=b'{"name": "asynchronous"}'
    )
    assert answer["StatusCode"] == 202
    until((folder / "asynchronous").exists)


# Secrets Manager and the record of calls


def test_a_functions_call_reaches_secrets_manager_under_the_functions_own_key(
    cloud: Cloud, secrets: Secrets
) -> None:
    answer = cloud.client("lambda").invoke(FunctionName="describe_secret", Payload=b'"session"')
    assert json.load(answer["Payload"]) == "session"
    assert ("DescribeSecret", {"SecretId": "session"}) in secrets.requests
    calls = [call for call in cloud.api_calls if call.operation == "DescribeSecret"]
    assert (calls[-1].service, calls[-1].resource) == ("secretsmanager", "session")
    assert calls[-1].access_key_id == access_key_of("describe_secret")


def test_an_error_of_secrets_manager_reaches_the_caller(cloud: Cloud) -> None:
    client = cloud.client("secretsmanager")
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="no such secret"):
        client.describe_secret(SecretId="absent")


def test_each_dialect_is_recorded_with_service_operation_and_resource(cloud: Cloud) -> None:
    cloud.client("s3").create_bucket(
        Bucket="records", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    cloud.client("s3").put_object(Bucket="records", Key="a/b.json", Body=b"{}")
    topic = cloud.client("sns").create_topic(Name="told")["TopicArn"]
    cloud.client("sns").publish(TopicArn=topic, Message="hello")
    cloud.client("cloudwatch").put_metric_data(Namespace="Keyturn", MetricData=[])
    calls = {
        (call.service, call.operation, call.resource)
        for call in cloud.api_calls
        if call.access_key_id == STACK_ACCESS_KEY
    }
    assert topic == f"arn:aws:sns:{REGION}:{ACCOUNT}:told"
    assert ("s3", "PutObject", "records/a/b.json") in calls
    assert ("sns", "Publish", topic) in calls
    assert ("monitoring", "PutMetricData", None) in calls


def test_only_the_loopback_is_served(cloud: Cloud) -> None:
    assert cloud.endpoint.startswith("http://127.0.0.1:")


# Step Functions


@dataclass
class StoppedIteration:
    """The environment of a Map iteration that another one's failure has ended."""

    stack: list[Any]

    def is_running(self) -> bool:
        return False


def test_a_task_of_a_stopped_iteration_is_not_given_its_input_as_its_timeout(cloud: Cloud) -> None:
    from moto.stepfunctions.parser.asl.component.common.timeouts.timeout import (
        TimeoutSeconds,
    )

    cloud.client("stepfunctions").list_state_machines()  # corrects the interpreter
    environment: Any = StoppedIteration([{"the": "input"}])
    TimeoutSeconds(45).eval(environment)
    assert environment.stack.pop() == 45


def test_a_task_passes_its_result_on_and_the_machine_signs_as_itself(
    cloud: Cloud, run: Callable[..., Run]
) -> None:
    states = {
        "Shape": {
            "Type": "Pass",
            "Parameters": {"id.$": "$$.Execution.Name", "at.$": "$$.Execution.StartTime"},
            "ResultPath": "$.run",
            "Next": "Deliver",
        },
        "Deliver": task(
            "echo",
            Parameters={"mode.$": "$.mode", "run.$": "$.run"},
            ResultSelector={"seen.$": "$.mode"},
            ResultPath="$.delivered",
            OutputPath="$.delivered",
        ),
    }
    ended = run(states, {"mode": "emergency"})
    assert (ended.status, ended.output) == ("SUCCEEDED", {"seen": "emergency"})
    assert cloud.api_calls[-1].service == "states"
    invoked = [call for call in cloud.api_calls if call.operation == "Invoke"][-1]
    assert invoked.access_key_id == INTERPRETER_ACCESS_KEY
    assert invoked.resource == arn("echo")


def test_times_of_the_context_object_are_text(run: Callable[..., Run]) -> None:
    times = {"started.$": "$$.Execution.StartTime", "entered.$": "$$.State.EnteredTime"}
    ended = run({"Look": {"Type": "Pass", "Parameters": times, "End": True}})
    assert ended.status == "SUCCEEDED"
    assert ended.output["started"].endswith("Z")
    assert ended.output["started"][:4] == ended.output["entered"][:4]


def test_a_retry_and_a_catch_name_an_error_by_its_class(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    retry = {
        "ErrorEquals": ["RolloutNotReady"],
        "IntervalSeconds": 1,
        "MaxDelaySeconds": 2,
        "MaxAttempts": 3,
        "BackoffRate": 2.0,
        "JitterStrategy": "FULL",
    }
    states = {
        "Check": task("third_time", Retry=[retry], Next="Refuse"),
        "Refuse": task(
            "refuse",
            Retry=[retry],
            Catch=[{"ErrorEquals": ["RolloutFailed"], "ResultPath": "$.error", "Next": "Report"}],
        ),
        "Report": {"Type": "Pass", "End": True},
    }
    ended = run(states, str(tmp_path))
    assert ended.status == "SUCCEEDED"
    assert ended.output["tries"] == 3
    assert ended.output["error"]["Error"] == "RolloutFailed"
    cause = json.loads(ended.output["error"]["Cause"])
    assert cause["errorMessage"] == "image cannot be pulled"
    assert cause["errorType"] == "RolloutFailed"
    assert any("refuse" in line for line in cause["stackTrace"])


def test_a_function_that_dies_can_be_retried(run: Callable[..., Run], tmp_path: Path) -> None:
    retry = {"ErrorEquals": ["Runtime.ExitError"], "IntervalSeconds": 1, "MaxAttempts": 1}
    ended = run({"Deliver": task("once", Retry=[retry])}, str(tmp_path))
    assert (ended.status, ended.output) == ("SUCCEEDED", "second time lucky")


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("slow", "Sandbox.Timedout"),
        ("busy", "Lambda.TooManyRequestsException"),
        ("absent", "Lambda.ResourceNotFoundException"),
    ],
)
def test_what_lambda_itself_reports_can_be_caught(
    run: Callable[..., Run], tmp_path: Path, function: str, error: str
) -> None:
    caught = {"ErrorEquals": [error], "ResultPath": "$", "Next": "Report"}
    states = {
        "Deliver": task(function, Catch=[caught]),
        "Report": {"Type": "Pass", "End": True},
    }
    ended = run(states, str(tmp_path / "running"))
    assert ended.status == "SUCCEEDED"
    assert ended.output["Error"] == error
    assert ended.output["Cause"]


def test_a_killed_environment_is_caught_as_an_exit_error(
    cloud: Cloud, functions: Functions, start: Callable[..., str], tmp_path: Path
) -> None:
    marker = tmp_path / "running"
    caught = {"ErrorEquals": ["Runtime.ExitError"], "ResultPath": "$", "Next": "Report"}
    states = {
        "Purge": task("hold", Catch=[caught]),
        "Report": {"Type": "Pass", "End": True},
    }
    execution = start(states, str(marker))
    until(marker.exists)
    (child,) = functions.environments("hold")
    os.kill(child.pid, signal.SIGKILL)
    client = cloud.client("stepfunctions")
    last = list(state_machines.watch(client, execution, seconds=30))[-1]
    assert last.kind == "ExecutionSucceeded"
    assert last.output["Error"] == "Runtime.ExitError"


def test_a_task_and_a_machine_have_time_outs_of_their_own(
    functions: Functions, run: Callable[..., Run], tmp_path: Path
) -> None:
    caught = {"ErrorEquals": ["States.Timeout"], "ResultPath": "$.error", "Next": "Wait"}
    states = {
        "Hold": task("hold", TimeoutSeconds=1, InputPath="$.marker", Catch=[caught]),
        "Wait": {"Type": "Wait", "Seconds": 60, "End": True},
    }
    ended = run(states, {"marker": str(tmp_path / "running")}, TimeoutSeconds=2)
    assert ended.status == "TIMED_OUT"
    assert "Wait" in [each.state for each in ended.progress]
    functions.environments("hold")[0].kill()


def test_a_fail_state_takes_error_and_cause_from_its_input(run: Callable[..., Run]) -> None:
    fail = {"Type": "Fail", "ErrorPath": "$.why.error", "CausePath": "$.why.cause"}
    ended = run({"Stop": fail}, {"why": {"error": "RolloutFailed", "cause": "no image"}})
    assert (ended.status, ended.error, ended.cause) == ("FAILED", "RolloutFailed", "no image")


def test_a_choice_and_a_wait_read_the_input_and_loop(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    states = {
        "Count": task(
            "third_time",
            InputPath="$.folder",
            ResultPath="$.done",
            Catch=[{"ErrorEquals": ["States.ALL"], "ResultPath": "$.done", "Next": "Done?"}],
            Next="Done?",
        ),
        "Done?": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.done.tries", "IsPresent": True},
                        {"Variable": "$.done.tries", "NumericGreaterThanEquals": 3},
                        {"Not": {"Variable": "$.mode", "StringEquals": "never"}},
                    ],
                    "Next": "Done",
                }
            ],
            "Default": "Pause",
        },
        "Pause": {"Type": "Wait", "SecondsPath": "$.pause", "Next": "Count"},
        "Done": {"Type": "Succeed"},
    }
    event = {"folder": str(tmp_path), "pause": 0, "mode": "scheduled"}
    ended = run(states, event)
    assert ended.status == "SUCCEEDED"
    assert ended.output["done"] == {"tries": 3}
    entered = [each.state for each in ended.progress if each.kind == "WaitStateEntered"]
    assert entered == ["Pause", "Pause"]


def test_a_map_runs_its_items_side_by_side_and_its_progress_tells_them_apart(
    run: Callable[..., Run],
) -> None:
    states = {
        "RestartServices": {
            "Type": "Map",
            "ItemsPath": "$.services",
            "ItemSelector": {"service.$": "$$.Map.Item.Value", "mode.$": "$.mode"},
            "MaxConcurrency": 0,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "RestartService",
                "States": {
                    "RestartService": task("echo", Next="CheckRollout"),
                    "CheckRollout": task("echo"),
                },
            },
            "ResultPath": "$.restarted",
            "Next": "Finish",
        },
        "Finish": {"Type": "Pass", "End": True},
    }
    services = ["web-console", "auth-service"]
    ended = run(states, {"services": services, "mode": "scheduled"})
    assert ended.status == "SUCCEEDED"
    assert ended.output["restarted"] == [
        {"service": service, "mode": "scheduled"} for service in services
    ]
    for index, service in enumerate(services):
        inner = [each for each in ended.progress if each.iterations == (index,)]
        entered = [each for each in inner if each.kind == "TaskStateEntered"]
        assert [each.state for each in entered] == ["RestartService", "CheckRollout"]
        assert {each.input["service"] for each in entered} == {service}
        assert {each.state for each in inner if each.kind == "LambdaFunctionSucceeded"} == {
            "RestartService",
            "CheckRollout",
        }
    outer = [each.state for each in ended.progress if each.kind.endswith("StateEntered")]
    assert (outer[0], outer[-1]) == ("RestartServices", "Finish")
    assert ended.progress[-2].iterations == ()
    assert ended.progress[-1].state is None


def test_an_error_within_a_map_reaches_the_maps_catch(run: Callable[..., Run]) -> None:
    states = {
        "RestartServices": {
            "Type": "Map",
            "ItemProcessor": {"StartAt": "Restart", "States": {"Restart": task("refuse")}},
            "Catch": [{"ErrorEquals": ["RolloutFailed"], "Next": "Report"}],
            "End": True,
        },
        "Report": {"Type": "Pass", "End": True},
    }
    ended = run(states, [1, 2])
    assert ended.status == "SUCCEEDED"
    assert json.loads(ended.output["Cause"])["errorType"] == "RolloutFailed"


def test_parallel_branches_join(run: Callable[..., Run]) -> None:
    branches = [
        {"StartAt": name, "States": {name: {"Type": "Pass", "Result": name, "End": True}}}
        for name in ("Health", "Logs")
    ]
    ended = run({"Validate": {"Type": "Parallel", "Branches": branches, "End": True}})
    assert ended.output == ["Health", "Logs"]


def test_a_name_can_be_used_once(cloud: Cloud, start: Callable[..., str], tmp_path: Path) -> None:
    """`finishSecret` relies on it: starting a rotation's run again must not be a second run."""
    client = cloud.client("stepfunctions")
    machine = client.create_state_machine(
        name="once-named",
        definition=json.dumps(
            {"StartAt": "Hold", "States": {"Hold": {"Type": "Wait", "Seconds": 60, "End": True}}}
        ),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/machine",
    )["stateMachineArn"]
    first = client.start_execution(stateMachineArn=machine, name="rot-1", input='{"a": 1}')
    again = client.start_execution(stateMachineArn=machine, name="rot-1", input='{"a": 1}')
    assert again["executionArn"] == first["executionArn"]
    with pytest.raises(client.exceptions.ExecutionAlreadyExists):
        client.start_execution(stateMachineArn=machine, name="rot-1", input='{"a": 2}')
    client.stop_execution(executionArn=first["executionArn"])
    *_, last = state_machines.watch(client, first["executionArn"], seconds=20)
    assert last.kind == "ExecutionAborted"
    with pytest.raises(client.exceptions.ExecutionAlreadyExists):
        client.start_execution(stateMachineArn=machine, name="rot-1", input='{"a": 1}')


def test_watching_gives_up_when_told_to(cloud: Cloud, start: Callable[..., str]) -> None:
    execution = start({"Hold": {"Type": "Wait", "Seconds": 60, "End": True}})
    client = cloud.client("stepfunctions")
    with pytest.raises(TimeoutError, match="has not ended after 0 s"):
        list(state_machines.watch(client, execution, seconds=0.1))


def test_a_history_comes_in_pages_and_the_other_way_round_on_request(
    cloud: Cloud, start: Callable[..., str]
) -> None:
    """`wait_for_call` and `watch` rely on it: they read what is new, and no more."""
    hold = {"Type": "Wait", "Seconds": 60, "End": True}
    names = [f"Pass{number}" for number in range(60)]
    passed = {
        name: {"Type": "Pass", "Next": following}
        for name, following in zip(names, [*names[1:], "Hold"], strict=True)
    }
    execution = start({**passed, "Hold": hold})
    client = cloud.client("stepfunctions")
    until(lambda: last(client, execution)["type"] == "WaitStateEntered")
    whole = client.get_execution_history(executionArn=execution, maxResults=1000)
    assert "nextToken" not in whole
    numbers = [event["id"] for event in whole["events"]]
    assert len(numbers) == 1 + 2 * 60 + 1
    assert len(client.get_execution_history(executionArn=execution)["events"]) == 100
    pages = client.get_paginator("get_execution_history")
    for asked, expected in ({}, numbers), ({"reverseOrder": True}, numbers[::-1]):
        paged = pages.paginate(executionArn=execution, PaginationConfig={"PageSize": 50}, **asked)
        found = [[event["id"] for event in page["events"]] for page in paged]
        assert found == [expected[:50], expected[50:100], expected[100:]]


def last(client: Any, execution: str) -> Any:
    """The newest event of an execution."""
    page = client.get_execution_history(executionArn=execution, reverseOrder=True, maxResults=1)
    return page["events"][0] if page["events"] else {"type": "none yet"}


def test_a_call_is_found_in_a_running_history_however_long_ago_it_was_queued(
    cloud: Cloud, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it would keep other credentials
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, STACK_ACCESS_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(step_functions, "HISTORY_SECONDS", 0.1)
    called = {"FunctionName": arn("echo"), "InvocationType": "Event", "Payload": {"number": 1}}
    names = ["Queue", *(f"Pass{number}" for number in range(20)), "Hold"]
    states = dict(itertools.pairwise(names))
    queue = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": called}
    execution = start({
        **{name: {"Type": "Pass", "Next": following} for name, following in states.items()},
        "Queue": {**queue, "ResultPath": None, "Next": names[1]},
        "Hold": {"Type": "Wait", "Seconds": 60, "End": True},
    })  # fmt: skip
    client = cloud.client("stepfunctions")
    until(lambda: last(client, execution)["type"] == "WaitStateEntered")
    assert last(client, execution)["id"] > step_functions.PAGE_EVENTS
    runs = StepFunctionsRuns(execution)
    assert runs.wait_for_call(execution, arn("echo"), {"number": 1})
    assert not runs.wait_for_call(execution, arn("echo"), {"number": 2})
    client.stop_execution(executionArn=execution)
    assert not runs.wait_for_call(execution, arn("echo"), {"number": 1})


# EventBridge


def rule(cloud: Cloud, name: str, pattern: dict[str, Any], **target: Any) -> None:
    client = cloud.client("events")
    client.put_rule(Name=name, EventPattern=json.dumps(pattern))
    client.put_targets(Rule=name, Targets=[{"Id": "target", **target}])


def put(cloud: Cloud, **entry: Any) -> dict[str, Any]:
    answer: dict[str, Any] = cloud.client("events").put_events(Entries=[entry])
    return answer


def finding(name: str, severity: float) -> dict[str, Any]:
    detail = {"name": name, "severity": severity, "type": "UnauthorizedAccess"}
    return {
        "Source": "aws.guardduty",
        "DetailType": "GuardDuty Finding",
        "Detail": json.dumps(detail),
    }


def test_an_event_reaches_the_function_of_a_matching_rule_only(cloud: Cloud, folder: Path) -> None:
    pattern = {"source": ["aws.guardduty"], "detail": {"severity": [8]}}
    rule(cloud, "findings", pattern, Arn=arn("record"))
    low, high = put(cloud, **finding("low", 4)), put(cloud, **finding("high", 8))
    assert low["FailedEntryCount"] == high["FailedEntryCount"] == 0
    until((folder / "high").exists)
    assert not (folder / "low").exists()
    cloud.client("events").disable_rule(Name="findings")


def test_a_schedule_that_comes_due_reaches_its_targets_unless_it_is_disabled(
    cloud: Cloud, folder: Path
) -> None:
    client = cloud.client("events")
    given = {"InputPathsMap": {"at": "$.time", "kind": "$.detail-type"},
             "InputTemplate": '{"name": <at>, "kind": <kind>}'}  # fmt: skip
    for name in ("every-5", "other"):
        client.put_rule(Name=name, ScheduleExpression="rate(5 minutes)")
        target = {"Id": "target", "Arn": arn("record"), "InputTransformer": given}
        client.put_targets(Rule=name, Targets=[target])
    cloud.event_bus.come_due("every-5", NOON)
    until((folder / "2026-11-24T12:00:00Z").exists)
    client.disable_rule(Name="every-5")
    cloud.event_bus.come_due("every-5", NOON + timedelta(minutes=5))
    cloud.event_bus.come_due("other", NOON + timedelta(minutes=10))
    until((folder / "2026-11-24T12:10:00Z").exists)
    assert not (folder / "2026-11-24T12:05:00Z").exists()


def test_an_event_starts_a_state_machine_with_a_transformed_input(
    cloud: Cloud, start: Callable[..., str]
) -> None:
    machine = start({"Look": {"Type": "Pass", "End": True}}).replace(
        ":execution:", ":stateMachine:"
    )
    machine = machine.rpartition(":")[0]
    transformer = {
        "InputPathsMap": {"type": "$.detail.type", "severity": "$.detail.severity"},
        "InputTemplate": '{"why": "GuardDuty: <type>", "severity": <severity>, "type": <type>}',
    }
    pattern = {"source": ["aws.guardduty"]}
    rule(cloud, "transformed", pattern, Arn=machine, InputTransformer=transformer)
    put(cloud, **finding("x", 8))
    client = cloud.client("stepfunctions")
    executions = client.list_executions(stateMachineArn=machine)["executions"]
    inputs = [
        json.loads(client.describe_execution(executionArn=each["executionArn"])["input"])
        for each in executions
    ]
    assert {
        "why": "GuardDuty: UnauthorizedAccess",
        "severity": 8,
        "type": "UnauthorizedAccess",
    } in inputs
    cloud.client("events").disable_rule(Name="transformed")


def test_an_event_is_published_to_a_topic(cloud: Cloud) -> None:
    topic = cloud.client("sns").create_topic(Name="findings")["TopicArn"]
    queue = cloud.client("sqs").create_queue(QueueName="findings")["QueueUrl"]
    cloud.client("sns").subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:findings",
        Attributes={"RawMessageDelivery": "true"},
    )
    rule(cloud, "published", {"source": ["keyturn"]}, Arn=topic)
    put(cloud, Source="keyturn", DetailType="Rotation", Detail='{"outcome": "succeeded"}')
    messages = cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    (event,) = (json.loads(message["Body"]) for message in messages)
    assert event["detail"] == {"outcome": "succeeded"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, '{"source": "s", "time": "t", "detail": {"n": 1, "text": "a \\"b\\""}}'),
        ({"InputTransformer": {"InputPathsMap": {"d": "$.detail"}, "InputTemplate": "<d>"}},
         '{"n": 1, "text": "a \\"b\\""}'),
        ({"InputTransformer": {"InputPathsMap": {"t": "$.detail.text", "x": "$.detail.x"},
                               "InputTemplate": '{"say": "<t>, <x>!", "t": <t>, "x": <x>}'}},
         '{"say": "a \\"b\\", !", "t": "a \\"b\\"", "x": null}'),
    ],
)  # fmt: skip
def test_a_target_gets_the_event_or_what_its_transformer_makes_of_it(
    target: dict[str, Any], expected: str
) -> None:
    event = {"source": "s", "time": "t", "detail": {"n": 1, "text": 'a "b"'}}
    assert target_input(target, event) == expected


@pytest.mark.parametrize("name", ["Input", "InputPath"])
def test_a_target_with_an_input_that_is_not_emulated_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} of a target is not emulated"):
        target_input({name: "$.detail"}, {"detail": {}})


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"Source": "keyturn", "DetailType": "Rotation"}, "InvalidArgument"),
        ({"Source": "keyturn", "DetailType": "Rotation", "Detail": "[1]"}, "MalformedDetail"),
        ({"Source": "keyturn", "DetailType": "Rotation", "Detail": "{"}, "MalformedDetail"),
    ],
)
def test_an_unsound_event_is_refused_by_entry(
    cloud: Cloud, entry: dict[str, str], code: str
) -> None:
    answer = put(cloud, **entry)
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code


def test_calls_from_many_threads_share_one_client(cloud: Cloud) -> None:
    with ThreadPoolExecutor() as pool:
        answers = pool.map(
            lambda n: cloud.client("lambda").invoke(FunctionName="echo", Payload=str(n)), range(8)
        )
        assert sorted(json.load(answer["Payload"]) for answer in answers) == list(range(8))


def test_what_is_sent_without_a_signature_is_still_served(cloud: Cloud) -> None:
    client = boto3.client(
        "sts",
        endpoint_url=cloud.endpoint,
        region_name=REGION,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    assert client.get_caller_identity()["Account"] == ACCOUNT
    client.close()
