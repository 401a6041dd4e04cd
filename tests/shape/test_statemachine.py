"""The state machine: what is retried, what is caught, and that every path ends."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import botocore.session
import pytest

from keyturn.run import ledger
from tests.every_case import every_case
from tests.project import ROOT, State, snake_case, state_machine, states
from tests.vocabulary import retry_me

STATES = list(states(state_machine()))
TASKS = [state for state in STATES if state.is_task]
PLATFORM = ("Lambda.", "Runtime.", "Sandbox.", "States.")
# What follows the error of a task, where that is not AfterFailure.
AFTER = {
    "RestartService": "AfterServiceFailure",
    "CheckRollout": "AfterServiceFailure",
    "PurgeBeforeRestart": "MarkExposed",
    "MarkExposed": "DeliverKey",
    "PurgeSessions": "FinishRotation",
    "ValidateRotation": "AfterValidation",
    "DestroyExposedVersions": "FinishRotation",
    "RestorePreviousKey": "FinishRotation",
    "FinishRotation": "NotifyUnrecorded",
    "NotifyUnrecorded": "RotationNotRecorded",
}
RETRY_ME = {error.__name__ for error in retry_me()}
# Of the errors of Lambda's Invoke, those that do not pass by themselves.
PERMANENT = {
    "CodeArtifactUserDeletedException", "CodeArtifactUserFailedException",
    "DurableExecutionAlreadyStartedException", "EC2AccessDeniedException",
    "EFSMountFailureException", "InvalidParameterValueException",
    "InvalidRequestContentException", "InvalidRuntimeException",
    "InvalidSecurityGroupIDException", "InvalidSubnetIDException", "InvalidZipFileException",
    "KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException",
    "KMSNotFoundException", "ModeNotSupportedException", "NoPublishedVersionException",
    "RecursiveInvocationException", "RequestTooLargeException", "ResourceNotFoundException",
    "RuntimeAliasDeletedException", "RuntimeVersionDeletedException",
    "S3FilesMountFailureException", "SerializedRequestEntityTooLargeException",
    "ServiceQuotaExceededException", "SnapStartException",
    "SnapStartRegenerationFailureException", "UnsupportedMediaTypeException",
}  # fmt: skip
# What Step Functions itself says of a call: "Handle Lambda transient exceptions".
OF_STEP_FUNCTIONS = {"AWSLambdaException", "SdkClientException"}
LOST = {"Lambda.ClientExecutionTimeoutException", "Lambda.Unknown", "Runtime.ExitError",
        "Sandbox.Timedout", "States.Timeout"}  # fmt: skip


def named(state: State) -> str:
    return state.name


def successors(state: State) -> Iterator[str]:
    """Every name that a state may go to."""
    body = state.body
    for step in [body, *body.get("Choices", []), *body.get("Catch", [])]:
        if "Next" in step:
            yield step["Next"]
    if "Default" in body:
        yield body["Default"]


def caught(state: State) -> list[dict[str, Any]]:
    """A state's own Catch, or that of the Map around it."""
    found = state.body.get("Catch")
    if found or state.surrounding is None:
        return list(found or [])
    return caught(state.surrounding)


def machines(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The state machine and those inside its Maps."""
    yield machine
    for body in machine["States"].values():
        if "ItemProcessor" in body:
            yield from machines(body["ItemProcessor"])


def passing() -> set[str]:
    """Every error of Invoke that passes by itself, as botocore's model of Lambda has them."""
    invoke = botocore.session.get_session().get_service_model("lambda").operation_model("Invoke")
    modelled = {shape.name for shape in invoke.error_shapes}
    assert modelled >= PERMANENT, f"no longer errors of Invoke: {PERMANENT - modelled}"
    return {f"Lambda.{name}" for name in (modelled - PERMANENT) | OF_STEP_FUNCTIONS}


@every_case("state", TASKS)
def test_a_task_retries_keyturns_errors_lambdas_own_and_calls_that_were_lost(state: State) -> None:
    errors, invoke, lost = (set(retry["ErrorEquals"]) for retry in state.body["Retry"])
    assert errors == RETRY_ME
    assert invoke == passing()
    assert lost == LOST


def longest_pause(retry: dict[str, Any]) -> float:
    """The seconds that a retry waits at the most, in all."""
    pauses = (
        retry["IntervalSeconds"] * retry["BackoffRate"] ** number
        for number in range(retry["MaxAttempts"])
    )
    return float(sum(min(pause, retry["MaxDelaySeconds"]) for pause in pauses))


@every_case("state", TASKS)
def test_a_function_that_has_been_idle_in_its_vpc_for_weeks_is_waited_for(state: State) -> None:
    """Some minutes; before the restart of an emergency, which must not wait, some seconds."""
    waited = longest_pause(state.body["Retry"][1])
    assert (5 <= waited <= 20) if state.name == "PurgeBeforeRestart" else (180 <= waited <= 420)


@every_case("state", TASKS)
def test_a_retry_is_spread_and_bounded(state: State) -> None:
    for retry in state.body["Retry"]:
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] >= 1.5
        assert 1 <= retry["MaxAttempts"] <= 10
        assert retry["IntervalSeconds"] < retry["MaxDelaySeconds"] <= 60


@every_case("state", TASKS)
def test_every_error_of_a_task_is_caught_and_kept(state: State) -> None:
    *overtaken, last = caught(state)
    assert last["ErrorEquals"] == ["States.ALL"]
    of_a_service = state.name in {"RestartService", "CheckRollout"}
    kept = "$.failure" if of_a_service else f"$.failures.{snake_case(state.name)}"
    assert (last["ResultPath"], last["Next"]) == (kept, AFTER.get(state.name, "AfterFailure"))
    if AFTER.get(state.name, "AfterFailure") in {"AfterFailure", "AfterValidation"}:
        onward = {"ErrorEquals": ["Superseded"], "ResultPath": kept, "Next": "FinishRotation"}
        assert overtaken == [onward]
    else:
        assert overtaken == []


@pytest.mark.parametrize("machine", list(machines(state_machine())), ids=["outer", "map"])
def test_every_state_can_be_reached_and_every_path_ends(machine: dict[str, Any]) -> None:
    bodies = {
        name: State(name, body, machine["States"]) for name, body in machine["States"].items()
    }
    reached, waiting = set(), [machine["StartAt"]]
    while waiting:
        name = waiting.pop()
        assert name in bodies, f"{name} is gone to and does not exist"
        if name not in reached:
            reached.add(name)
            waiting.extend(successors(bodies[name]))
    assert reached == set(bodies)
    for state in bodies.values():
        ends = state.body["Type"] in {"Succeed", "Fail"}
        assert ends != bool(list(successors(state)))
        assert "End" not in state.body


@every_case("state", STATES)
def test_a_state_says_what_it_is_for(state: State) -> None:
    assert state.body["Comment"].endswith(".")


def answer(choice: str, **facts: Any) -> str:
    """Where a Choice goes, for the facts that its ledger has, by dotted path."""

    def holds(rule: dict[str, Any]) -> bool:
        if "And" in rule:
            return all(holds(part) for part in rule["And"])
        if "Or" in rule:
            return any(holds(part) for part in rule["Or"])
        if "Not" in rule:
            return not holds(rule["Not"])
        path = rule["Variable"].removeprefix("$.").replace(".", "__")
        if "IsPresent" in rule:
            return (path in facts) is bool(rule["IsPresent"])
        (compared,) = (rule[word] for word in ("StringEquals", "BooleanEquals") if word in rule)
        return path in facts and bool(facts[path] == compared)

    (body,) = (state.body for state in STATES if state.name == choice)
    return next((str(rule["Next"]) for rule in body["Choices"] if holds(rule)), body["Default"])


@pytest.mark.parametrize(
    ("mode", "after_failure", "after_validation"),
    [
        ("scheduled", "RestorePreviousKey", "RestorePreviousKey"),
        ("emergency", "PurgeSessions", "FinishRotation"),
        ("rollback", "FinishRotation", "FinishRotation"),
    ],
)
def test_a_scheduled_run_turns_back_once_and_an_emergency_never_does(
    mode: str, after_failure: str, after_validation: str
) -> None:
    assert answer("AfterFailure", rotation__mode=mode) == after_failure
    assert answer("AfterValidation", rotation__mode=mode) == after_validation
    turning = {state.name for state in STATES if "RestorePreviousKey" in successors(state)}
    assert turning == {"AfterFailure", "AfterValidation"}


def test_in_an_emergency_alone_the_sessions_end_before_the_restart_too() -> None:
    assert answer("IsEmergency", rotation__mode="emergency") == "AnnounceEmergency"
    assert answer("IsEmergency", rotation__mode="scheduled") == "BeginRotation"
    assert (
        answer("PurgeBeforeRestartDone", purge_before_restart__finished=False)
        == "PurgeBeforeRestart"
    )
    assert answer("PurgeBeforeRestartDone", purge_before_restart__finished=True) == "MarkExposed"


def test_only_an_emergency_marks_what_it_replaced_after_its_first_purge() -> None:
    """The rotation that started the run is over by then, and the lockout is not delayed by it."""
    before = [state.name for state in STATES if "MarkExposed" in successors(state)]
    assert before == ["PurgeBeforeRestart", "PurgeBeforeRestartDone"]
    (marking,) = (state for state in STATES if state.name == "MarkExposed")
    assert set(successors(marking)) == {"DeliverKey"}
    assert marking.body["Parameters"] == {
        "rotation.$": "$.rotation",
        "action": "mark-exposed",
        "execution.$": "$.execution",
    }


def test_exposed_versions_are_destroyed_only_after_a_validated_emergency() -> None:
    assert answer("NeedsVaultCleanup", rotation__mode="emergency") == "FinishRotation"
    for mode, destroys, onward in (
        ("emergency", True, "DestroyExposedVersions"),
        ("emergency", False, "FinishRotation"),
        ("scheduled", True, "FinishRotation"),
        ("rollback", True, "FinishRotation"),
    ):
        facts = {"rotation__mode": mode, "deliver_key__destroysExposed": destroys}
        assert answer("NeedsVaultCleanup", **facts) == onward
    states_around = {state.name: state for state in STATES}
    assert states_around["ValidateRotation"].body["Next"] == "NeedsVaultCleanup"
    before = [state.name for state in STATES if "DestroyExposedVersions" in successors(state)]
    assert before == ["NeedsVaultCleanup"]
    given = states_around["DestroyExposedVersions"].body["Parameters"]
    assert given == {
        "rotation.$": "$.rotation",
        "action": "destroy-exposed-versions",
        "execution.$": "$.execution",
        "deliver_key.$": "$.deliver_key",
    }


def test_a_purge_after_a_failure_is_not_followed_by_a_validation() -> None:
    assert answer("PurgeDone", purge_sessions__finished=True) == "ValidateRotation"
    for step in ("deliver_key", "restart_services", "confirm_delivery"):
        failed: dict[str, Any] = {f"failures__{step}": {}}
        assert answer("PurgeDone", purge_sessions__finished=True, **failed) == "FinishRotation"
        assert answer("PurgeDone", purge_sessions__finished=False, **failed) == "PurgeSessions"


def test_a_way_back_restarts_what_may_have_met_the_new_key() -> None:
    done = {"deliver_key__state": "done"}
    assert answer("KeyDelivered", **done) == "RestartServices"
    assert answer("KeyDelivered", **done, restore_previous_key__restart=True) == "RestartServices"
    assert answer("KeyDelivered", **done, restore_previous_key__restart=False) == "ValidateRotation"
    assert answer("KeyDelivered", deliver_key__state="waiting") == "WaitForDelivery"
    assert answer("NeedsRedelivery", restore_previous_key__deliver=True) == "DeliverKey"
    assert answer("NeedsRedelivery", restore_previous_key__deliver=False) == "FinishRotation"


def test_a_failed_run_never_succeeds() -> None:
    outcome = state_machine()["States"]["RotationOutcome"]
    succeeding = {choice["StringEquals"]: choice["Next"] for choice in outcome["Choices"]}
    assert succeeding == {"succeeded": "RotationSucceeded", "superseded": "RotationSuperseded"}
    ends = {name: body["Type"] for name, body in state_machine()["States"].items()}
    assert ends[outcome["Default"]] == ends["RotationNotRecorded"] == "Fail"


@pytest.mark.parametrize(
    ("choice", "asked", "answer", "onward", "again"),
    [
        ("RolloutDone", "$.check_rollout.state", "done", "ServiceRestarted", "WaitForPods"),
        (
            "PurgeBeforeRestartDone",
            "$.purge_before_restart.finished",
            True,
            "MarkExposed",
            "PurgeBeforeRestart",
        ),
    ],
)
def test_a_step_of_several_calls_goes_on_only_when_it_says_so_and_else_repeats(
    choice: str, asked: str, answer: object, onward: str, again: str
) -> None:
    (found,) = (state for state in STATES if state.name == choice)
    (rule,) = found.body["Choices"]
    compared = "BooleanEquals" if answer is True else "StringEquals"
    assert rule == {"Variable": asked, compared: answer, "Next": onward}
    assert found.body["Default"] == again
    (task,) = (state for state in TASKS if asked.startswith(f"{state.body['ResultPath']}."))
    assert task.body["Next"] == choice
    wait = found.siblings[again]
    assert again == task.name or (wait["Type"], wait["Next"]) == ("Wait", task.name)


def test_no_service_is_restarted_before_the_key_was_read_back() -> None:
    before = [state.name for state in STATES if "RestartServices" in successors(state)]
    assert before == ["KeyDelivered"]


def test_sessions_are_purged_only_after_the_delivery_was_confirmed_again() -> None:
    states_around = {state.name: state for state in STATES}
    assert states_around["RestartServices"].body["Next"] == "ConfirmDelivery"
    assert states_around["ConfirmDelivery"].body["Next"] == "PurgeSessions"
    given = states_around["ConfirmDelivery"].body["Parameters"]
    assert given == {
        "rotation.$": "$.rotation",
        "action": "confirm",
        "execution.$": "$.execution",
        "deliver_key.$": "$.deliver_key",
    }


def names_of_values(given: dict[str, Any]) -> Iterator[str]:
    """The names of the values that a state gives, those within an object included."""
    for name, value in given.items():
        yield from names_of_values(value) if isinstance(value, dict) else [name]


def paths_of(value: Any) -> Iterator[str]:
    """Every path into the ledger that a state's body has, those of the context left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in {"ResultPath", "ItemProcessor"}:
                yield from paths_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from paths_of(item)
    elif isinstance(value, str) and (value == "$" or value.startswith("$.")):
        yield value


def entries_written() -> set[str]:
    """The entries of the ledger: what the input has, and what any state writes or names."""
    written = {"rotation"}
    for state in STATES:
        results = [state.body, *state.body.get("Catch", [])]
        written |= {
            step["ResultPath"].removeprefix("$.").split(".")[0]
            for step in results
            if "ResultPath" in step
        }
        for given in ("Parameters", "ItemSelector"):
            written |= {name.removesuffix(".$") for name in state.body.get(given, {})}
    return written


@every_case("state", STATES)
def test_a_state_reads_only_what_another_has_written(state: State) -> None:
    read = {path.removeprefix("$").lstrip(".").split(".")[0] for path in paths_of(state.body)}
    assert read - {""} <= entries_written()


def test_a_run_keeps_nothing_of_its_input_but_what_the_rotation_is() -> None:
    """Every other entry is the stack's own, or the context's: none can be forged by an input."""
    assert state_machine()["StartAt"] == "TakeRotation"
    taken = state_machine()["States"]["TakeRotation"]
    assert taken["Type"] == "Pass"
    assert "ResultPath" not in taken
    assert {path for path in paths_of(taken) if path != "$"} == {"$.rotation"}
    assert taken["Parameters"]["execution.$"] == "$$.Execution.Id"
    assert taken["Parameters"]["start"] == {
        "startedAt.$": "$$.Execution.StartTime",
        "services.$": "States.StringSplit('${Services}', ',')",
        "pollSeconds.$": "States.StringToJson('${PollSeconds}')",
    }


def test_nothing_before_the_delivery_can_end_or_hold_up_an_emergency() -> None:
    """Each state on the way goes on whatever happens, and the announcement is only queued."""
    machine = state_machine()["States"]
    announce, purge = machine["AnnounceEmergency"], machine["PurgeBeforeRestart"]
    assert announce["Resource"] == "arn:${Partition}:states:::lambda:invoke"
    assert announce["Parameters"]["FunctionName"] == "${BeginRotationFunctionArn}"
    assert announce["Parameters"]["InvocationType"] == "Event"
    assert "Retry" not in announce
    (every,) = announce["Catch"]
    assert every["ErrorEquals"] == ["States.ALL"]
    assert every["Next"] == announce["Next"] == "PlanPurgeBeforeRestart"
    assert machine["PlanPurgeBeforeRestart"]["Next"] == "PurgeBeforeRestart"
    assert purge["Catch"][-1] == {
        "ErrorEquals": ["States.ALL"],
        "ResultPath": "$.failures.purge_before_restart",
        "Next": "MarkExposed",
    }
    assert machine["MarkExposed"]["Catch"] == [
        {
            "ErrorEquals": ["States.ALL"],
            "ResultPath": "$.failures.mark_exposed",
            "Next": "DeliverKey",
        }
    ]


def test_in_an_emergency_one_failed_restart_does_not_stop_the_others() -> None:
    urgent = {"rotation__mode": "emergency"}
    assert answer("AfterServiceFailure", **urgent, failure__Error="RolloutFailed") == (
        "ServiceNotRestarted"
    )
    assert answer("AfterServiceFailure", **urgent, failure__Error="Superseded") == "RestartFailed"
    scheduled = {"rotation__mode": "scheduled", "failure__Error": "RolloutFailed"}
    assert answer("AfterServiceFailure", **scheduled) == "RestartFailed"


@every_case("state", STATES)
def test_a_state_hands_on_entries_of_the_ledger_and_has_no_value_of_its_own(state: State) -> None:
    """So what the functions do not return, and the input does not hold, the history cannot show."""
    if state.name in {"TakeRotation", "AnnounceEmergency"}:
        return  # each has a test of its own above
    for given in ("Parameters", "ItemSelector"):
        values = {n for n in names_of_values(state.body.get(given, {})) if not n.endswith(".$")}
        assert values <= {"action", "state"}
        if given == "Parameters" and state.is_task:
            assert ("action" in values) is (state.function == "DeliverKey")
    assert state.body.get("Parameters", {}).get("action", "deliver") in get_args(ledger.Action)
    assert state.body.get("Result", {}) == {}
    assert not {"ResultSelector", "Credentials", "ItemReader", "ResultWriter"} & state.body.keys()


@every_case("state", TASKS)
def test_a_task_calls_a_function_itself_and_waits_for_it(state: State) -> None:
    """No optimised integration: the machine's role needs to invoke functions and nothing else."""
    assert state.body["Resource"] == f"${{{state.function}FunctionArn}}"
    assert not {"HeartbeatSeconds", "TimeoutSecondsPath"} & state.body.keys()


def test_all_services_are_restarted_at_once_and_one_that_fails_is_enough() -> None:
    (restart,) = (state.body for state in STATES if state.body["Type"] == "Map")
    assert restart.get("MaxConcurrency", 0) == 0
    tolerated = {"ToleratedFailureCount", "ToleratedFailurePercentage"}
    assert not tolerated & restart.keys()
    assert restart["ItemProcessor"]["ProcessorConfig"] == {"Mode": "INLINE"}


def test_the_machine_is_written_in_jsonpath_without_variables() -> None:
    """As the local interpreter runs it unpatched; see docs/decisions."""
    source = json.dumps(state_machine())
    for word in ('"QueryLanguage"', '"Assign"', '"Arguments"', '"Output"', "{%"):
        assert word not in source


def test_the_machine_and_every_wait_have_an_end() -> None:
    assert 3600 <= state_machine()["TimeoutSeconds"] <= 86400
    for state in STATES:
        if state.body["Type"] == "Wait":
            looking = snake_case(state.body["Next"])
            assert state.body["SecondsPath"] == f"$.{looking}.pauseSeconds"
    (map_of_services,) = (state.body for state in STATES if state.body["Type"] == "Map")
    first_pause = {"pauseSeconds.$": "$.start.pollSeconds"}
    assert map_of_services["ItemSelector"]["check_rollout"] == first_pause


def test_the_definition_is_plain_text_with_its_functions_left_open() -> None:
    source = (ROOT / "statemachine" / "rotate_session_key.asl.json").read_text(encoding="utf-8")
    assert "arn:" not in source.replace("arn:${Partition}:states:::lambda:invoke", "")
    assert source.isascii()
