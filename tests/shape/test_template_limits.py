"""The limits: time-outs that nest, concurrency, and how long things are kept."""

import pytest

from keyturn.adapters import http, slack
from keyturn.adapters.aws import client, notifications
from keyturn.adapters.kubernetes import api
from keyturn.adapters.redis import connection as redis_connection
from keyturn.adapters.vault import connection as vault_connection
from keyturn.sessions.store import SLICE_SECONDS
from keyturn.validation.pod_logs import CRASH_LOG_SECONDS, READ_SECONDS
from tests.every_case import every_case
from tests.project import (
    FUNCTIONS,
    ROOT,
    functions,
    logical_id,
    of_type,
    stack,
    state_machine,
    states,
    template,
    variables_of,
)

RESERVED = {"RotateSecretFunction": 10, "RespondToFindingFunction": 5}
ROTATION_CONCURRENCY = 10


@every_case("function", FUNCTIONS)
def test_a_function_says_what_it_does_and_has_every_limit(function: str) -> None:
    properties = functions()[logical_id(function)]
    assert properties["Description"].endswith(".")
    assert properties["Runtime"] == "python3.13"
    assert properties["Architectures"] == ["arm64"]
    assert 10 < properties["Timeout"] <= 900
    assert properties["MemorySize"] >= 256
    assert properties["LoggingConfig"]["LogGroup"] == {"Ref": "FunctionLogs"}
    assert "SECRET_ARN" in variables_of(properties)


def test_the_layer_is_built_for_the_runtime_of_the_functions() -> None:
    (layer,) = (
        resource
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::LayerVersion"
    )
    shared = template()["Globals"]["Function"]
    assert layer["Properties"]["CompatibleRuntimes"] == [shared["Runtime"]]
    assert layer["Properties"]["CompatibleArchitectures"] == shared["Architectures"]
    assert layer["Metadata"]["BuildMethod"] == "makefile"
    recipe = (ROOT / "layers" / "keyturn" / "Makefile").read_text(encoding="utf-8")
    assert f"--python-version {shared['Runtime'].removeprefix('python')} " in recipe
    assert "aarch64" in recipe
    assert "x86_64" not in recipe


def test_nothing_that_an_emergency_may_need_at_once_is_held_to_one_at_a_time() -> None:
    reserved = {
        name: own["ReservedConcurrentExecutions"]
        for name, own in functions().items()
        if "ReservedConcurrentExecutions" in own
    }
    assert reserved == RESERVED


def test_the_rotation_function_has_ten_concurrent_executions_or_no_reservation() -> None:
    """Secrets Manager User Guide, "Troubleshoot rotation": with less a rotation may loop."""
    for schedule in of_type("AWS::SecretsManager::RotationSchedule", stack()).values():
        rotating = stack()[schedule["RotationLambdaARN"].removesuffix(".Arn")]["Properties"]
        reserved = rotating.get("ReservedConcurrentExecutions", ROTATION_CONCURRENCY)
        assert reserved >= ROTATION_CONCURRENCY


def test_every_log_is_encrypted_and_kept_for_a_chosen_time() -> None:
    for properties in of_type("AWS::Logs::LogGroup", stack(LogRetentionDays="365")).values():
        assert properties["RetentionInDays"] == "365"
        assert properties["KmsKeyId"] == "KmsKey.Arn"


def test_every_topic_is_encrypted() -> None:
    for properties in of_type("AWS::SNS::Topic", stack()).values():
        assert properties["KmsMasterKeyId"] == "KmsKey.Arn"


def test_the_machine_logs_every_state_and_what_none_of_them_was_given() -> None:
    for properties in of_type("AWS::Serverless::StateMachine", stack()).values():
        assert properties["Type"] == "STANDARD"
        asks = properties["Name"].endswith("-preflight")  # every few minutes: its errors suffice
        assert properties["Logging"]["Level"] == ("ERROR" if asks else "ALL")
        assert properties["Logging"]["IncludeExecutionData"] is False


@pytest.mark.parametrize(
    "seconds",
    [
        client.SECONDS,
        api.SECONDS,
        http.SECONDS,
        redis_connection.SECONDS,
        vault_connection.SECONDS,
    ],
    ids=["aws", "kubernetes", "http", "redis", "vault"],
)
def test_a_call_that_hangs_ends_before_the_function_that_makes_it(seconds: float) -> None:
    assert 0 < seconds < min(properties["Timeout"] for properties in functions().values())


def test_all_notifications_together_take_ten_seconds_at_most() -> None:
    assert max(notifications.SECONDS, slack.SECRET_SECONDS + slack.SECONDS) <= 10


def test_a_function_times_out_before_its_task_and_a_task_before_the_run() -> None:
    for state in states(state_machine()):
        if state.is_task:
            function = functions()[f"{state.function}Function"]["Timeout"]
            assert function < state.body["TimeoutSeconds"] <= function + 30, state.name
            assert function + 30 < state_machine()["TimeoutSeconds"]


@pytest.mark.parametrize(
    ("function", "seconds"),
    [("validate_rotation", READ_SECONDS), ("check_rollout", CRASH_LOG_SECONDS)],
)
def test_reading_logs_leaves_time_for_the_last_of_them(function: str, seconds: float) -> None:
    assert seconds + api.SECONDS < functions()[logical_id(function)]["Timeout"]


def test_a_slice_of_the_purge_leaves_time_to_finish_its_last_page() -> None:
    last = 2 * redis_connection.SECONDS + client.SECONDS
    assert SLICE_SECONDS + last < functions()["PurgeSessionsFunction"]["Timeout"]


@every_case("function", FUNCTIONS)
def test_a_function_is_built_by_a_recipe_that_needs_no_runtime(function: str) -> None:
    resource = template()["Resources"][logical_id(function)]
    assert resource["Metadata"]["BuildMethod"] == "makefile"
