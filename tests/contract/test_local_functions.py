"""The local Lambda service keeps Lambda's contract: results, errors, time-outs, concurrency."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.functions import (
    FunctionNotFound,
    Functions,
    FunctionSettings,
    Invocation,
    TooManyRequests,
)
from local.processes import Processes

ACCOUNT = "123456789012"
REGION = "eu-west-1"

SOURCE = """
import json, os, sys, time
from pathlib import Path

CALLS = []


class RolloutNotReady(Exception):
    pass


def echo(event, context):
    CALLS.append(event)
    print("heard", json.dumps(event))
    return {"event": event, "calls": len(CALLS), "pid": os.getpid(), "id": context.aws_request_id,
            "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn}


def environment(event, context):
    return dict(os.environ)


def refuse(event, context):
    raise RolloutNotReady("two of three pods")


def die(event, context):
    print("about to end", end="", flush=True)
    os._exit(event)


def meet(event, context):
    \"\"\"Return once as many calls as asked for are running at the same time.\"\"\"
    folder = Path(event["folder"])
    (folder / context.aws_request_id).touch()
    while len(list(folder.iterdir())) < event["calls"]:
        time.sleep(0.01)
    return os.getpid()


def hold(event, context):
    Path(event).touch()
    while True:
        time.sleep(0.01)


def use_layer(event, context):
    import layered
    return layered.NAME
"""


@pytest.fixture
def logs() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def functions(logs: list[tuple[str, str]]) -> Iterator[Functions]:
    with Processes() as processes:
        functions = Functions(
            processes,
            account=ACCOUNT,
            region=REGION,
            extra_environment=lambda settings: {"AWS_ACCESS_KEY_ID": f"of-{settings.name}"},
            on_log=lambda name, line: logs.append((name, line)),
            async_retry_seconds=(0.0, 0.0),
        )
        yield functions
        functions.close()


@pytest.fixture
def settings(tmp_path: Path) -> FunctionSettings:
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text(SOURCE)
    return FunctionSettings("echo", "app.echo", code, timeout_seconds=20)


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def body(invocation: Invocation) -> Any:
    return json.loads(invocation.payload)


def test_a_function_gets_its_event_and_a_context_and_stays_warm(
    functions: Functions, settings: FunctionSettings
) -> None:
    arn = functions.create(settings)
    first = functions.invoke("echo", b'{"n": 1}')
    second = functions.invoke(arn, b'{"n": 2}')
    assert arn == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:echo"
    assert first.function_error is None
    assert body(first)["event"] == {"n": 1}
    assert body(first)["id"] == first.request_id
    assert body(first)["arn"] == arn
    assert 0 < body(first)["left"] <= 20_000
    assert body(second)["calls"] == 2
    assert body(second)["pid"] == body(first)["pid"]
    assert first.init_ms is not None
    assert second.init_ms is None


def test_the_log_runs_from_start_to_report_with_the_functions_lines_between(
    functions: Functions, settings: FunctionSettings, logs: list[tuple[str, str]]
) -> None:
    functions.create(settings)
    invocation = functions.invoke("echo", b'"x"')
    lines = [line for name, line in logs if name == "echo"]
    assert lines == invocation.log_tail.splitlines()
    start, heard, end, report = lines
    assert start == f"START RequestId: {invocation.request_id} Version: $LATEST"
    assert heard == 'heard "x"'
    assert end == f"END RequestId: {invocation.request_id}"
    fields = dict(field.split(": ", 1) for field in report.split("\t"))
    assert fields["REPORT RequestId"] == invocation.request_id
    assert fields["Memory Size"] == "128 MB"
    assert fields["Init Duration"] == f"{invocation.init_ms:.2f} ms"
    assert int(fields["Max Memory Used"].removesuffix(" MB")) == invocation.max_memory_mb > 5


def test_the_environment_is_the_templates_and_lambdas_own_and_nothing_else(
    functions: Functions, settings: FunctionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED_FROM_THE_STACK", "yes")
    functions.create(
        replace(settings, handler="app.environment", environment={"TZ": "UTC", "MODE": "planned"})
    )
    variables: Mapping[str, str] = body(functions.invoke("echo", b"{}"))
    assert variables["MODE"] == "planned"
    assert variables["TZ"] == "UTC"
    assert variables["AWS_ACCESS_KEY_ID"] == "of-echo"
    assert variables["AWS_REGION"] == REGION
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "echo"
    assert variables["_HANDLER"] == "app.environment"
    assert "LEAKED_FROM_THE_STACK" not in variables
    assert "HOME" not in variables


def test_a_function_that_lambda_would_not_create_is_refused(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="reserves AWS_REGION"):
        functions.create(replace(settings, environment={"AWS_REGION": "us-east-1"}))
    with pytest.raises(ValueError, match="there is no folder"):
        functions.create(replace(settings, layers=(tmp_path / "absent",)))
    with pytest.raises(ValueError, match=r"exceeded the 4KB limit \(4097 bytes\)"):
        functions.create(replace(settings, environment={"LONG": "x" * (4097 - len('{"LONG":""}'))}))
    functions.create(replace(settings, environment={"LONG": "x" * (4096 - len('{"LONG":""}'))}))
    with pytest.raises(ValueError, match="exists already"):
        functions.create(settings)


def test_a_layers_folder_is_importable(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    (layer / "layered").mkdir(parents=True)
    (layer / "layered" / "__init__.py").write_text('NAME = "from the layer"')
    functions.create(replace(settings, handler="app.use_layer", layers=(layer,)))
    assert body(functions.invoke("echo", b"{}")) == "from the layer"


def test_an_exception_is_an_unhandled_error_named_after_its_class(
    functions: Functions, settings: FunctionSettings
) -> None:
    functions.create(replace(settings, handler="app.refuse"))
    invocation = functions.invoke("echo", b"{}")
    assert invocation.function_error == "Unhandled"
    assert body(invocation)["errorType"] == "RolloutNotReady"
    assert body(invocation)["errorMessage"] == "two of three pods"
    assert len(functions.environments("echo")) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, "exited without providing a reason"), (7, "exited with error: exit status 7")],
)
def test_a_process_that_ends_is_an_exit_error(
    functions: Functions, settings: FunctionSettings, code: int, reason: str
) -> None:
    functions.create(replace(settings, handler="app.die"))
    invocation = functions.invoke("echo", str(code).encode())
    assert body(invocation) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {invocation.request_id} Error: Runtime {reason}",
    }
    assert "about to end" in invocation.log_tail.splitlines()
    assert invocation.log_tail.endswith("Status: error\tError Type: Runtime.ExitError")


def test_a_killed_environment_is_an_exit_error_and_is_replaced(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    functions.create(replace(settings, handler="app.hold"))
    marker = tmp_path / "running"
    with ThreadPoolExecutor() as pool:
        call = pool.submit(functions.invoke, "echo", json.dumps(str(marker)).encode())
        until(marker.exists)
        (child,) = functions.environments("echo")
        os.kill(child.pid, signal.SIGKILL)
        invocation = call.result(20)
    assert body(invocation)["errorType"] == "Runtime.ExitError"
    assert body(invocation)["errorMessage"].endswith("signal: killed")
    assert functions.environments("echo") == []


def test_a_time_out_ends_the_environment(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    functions.create(replace(settings, handler="app.hold", timeout_seconds=0.2))
    invocation = functions.invoke("echo", json.dumps(str(tmp_path / "running")).encode())
    assert invocation.function_error == "Unhandled"
    assert body(invocation) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": (
            f"RequestId: {invocation.request_id} Error: Task timed out after 0.20 seconds"
        ),
    }
    assert invocation.log_tail.endswith("Status: timeout")
    assert functions.environments("echo") == []


def test_a_module_that_does_not_import_is_an_init_error(
    functions: Functions, settings: FunctionSettings
) -> None:
    functions.create(replace(settings, handler="absent.handler"))
    invocation = functions.invoke("echo", b"{}")
    assert body(invocation)["errorType"] == "Runtime.ImportModuleError"
    assert invocation.function_error == "Unhandled"
    assert functions.environments("echo") == []


def test_concurrent_calls_have_an_environment_each(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    functions.create(replace(settings, handler="app.meet"))
    folder = tmp_path / "met"
    folder.mkdir()
    event = json.dumps({"folder": str(folder), "calls": 3}).encode()
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(functions.invoke, "echo", event) for _ in range(3)]
        pids = {body(call.result(20)) for call in calls}
    assert len(pids) == 3
    assert {child.pid for child in functions.environments("echo")} == pids


def test_beyond_the_reserved_concurrency_a_call_is_refused_until_one_has_ended(
    functions: Functions, settings: FunctionSettings, tmp_path: Path
) -> None:
    functions.create(replace(settings, handler="app.hold", reserved_concurrency=1))
    marker = tmp_path / "running"
    event = json.dumps(str(marker)).encode()
    with ThreadPoolExecutor() as pool:
        call = pool.submit(functions.invoke, "echo", event)
        until(marker.exists)
        with pytest.raises(TooManyRequests) as refused:
            functions.invoke("echo", event)
        functions.environments("echo")[0].kill()
        call.result(20)
    assert refused.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_a_reserved_concurrency_of_zero_stops_a_function(
    functions: Functions, settings: FunctionSettings
) -> None:
    functions.create(replace(settings, reserved_concurrency=0))
    with pytest.raises(TooManyRequests):
        functions.invoke("echo", b"{}")


def test_a_failed_asynchronous_call_is_tried_three_times(settings: FunctionSettings) -> None:
    finished: list[Invocation] = []
    third = threading.Event()

    def record(invocation: Invocation) -> None:
        finished.append(invocation)
        if len(finished) == 3:
            third.set()

    with Processes() as processes:
        functions = Functions(
            processes,
            account=ACCOUNT,
            region=REGION,
            extra_environment={},
            on_invocation=record,
            async_retry_seconds=(0.0, 0.0),
        )
        functions.create(replace(settings, handler="app.refuse"))
        functions.invoke_async("echo", b"{}")
        assert third.wait(20)
        until(lambda: not any(thread.name == "async echo" for thread in threading.enumerate()))
        functions.close()
    assert [each.function_error for each in finished] == ["Unhandled"] * 3


def test_an_unknown_function_is_named(functions: Functions) -> None:
    with pytest.raises(FunctionNotFound, match=r":function:absent$"):
        functions.invoke("absent", b"{}")
    with pytest.raises(FunctionNotFound):
        functions.invoke_async("absent", b"{}")


def test_no_environment_outlives_the_service(
    functions: Functions, settings: FunctionSettings
) -> None:
    functions.create(settings)
    functions.invoke("echo", b"{}")
    (child,) = functions.environments("echo")
    functions.close()
    assert not child.running
