"""The functions: what they load, what they refuse, and that each takes its good input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.run.times import format_timestamp
from keyturn.secret import key
from keyturn.settings import loading
from keyturn.validation.pod_logs import ContainerLog, Line, ServiceLogs
from tests.conftest import ARN, NEW, NOON, OLD, STAMP
from tests.every_case import every_case
from tests.project import FUNCTIONS, PACKAGE, ROOT, environment, event
from tests.stage import SERVICES, Context, Stage, handler_of

TALK_TO_REDIS = {"begin_rotation", "purge_sessions", "watch_key"}
TALK_TO_THE_CLUSTER = {
    "deliver_key",
    "restart_service",
    "check_rollout",
    "validate_rotation",
}
READ_BY_POWERTOOLS = {"POWERTOOLS_SERVICE_NAME"}  # see test_telemetry
NEVER_AT_IMPORT = {"aws_xray_sdk", "cryptography.hazmat"}
CALLED_BY_OTHERS = {"rotate_secret", "respond_to_finding", "watch_key"}
OF_THE_STATE_MACHINE = [name for name in FUNCTIONS if name not in CALLED_BY_OTHERS]

# The processes are forked from one that has loaded what all functions load: it takes longest.
IMPORT_EACH = """
import boto3, importlib, json, os, sys
import keyturn.telemetry, keyturn.wiring
for service in ("secretsmanager", "stepfunctions", "sns", "events", "s3"):
    boto3.client(service)
for function, environment in json.load(sys.stdin).items():
    if os.fork() == 0:
        os.environ.update(environment)
        assert callable(importlib.import_module(function).handler)
        print(json.dumps([function, [*sys.modules]]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, function
"""


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Fakes as they are when the state machine starts."""
    stage = Stage()
    stage.promote()
    stage.wire(monkeypatch)
    return stage


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Any]:
    return lambda function, given: handler_of(function, monkeypatch)(given, Context())


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What each function has loaded after its import, in a process and environment of its own."""
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH],
        input=json.dumps({function: environment(function) for function in FUNCTIONS}),
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "functions"), str(PACKAGE.parent)]),
            "AWS_DEFAULT_REGION": "eu-central-1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert imported.returncode == 0, imported.stderr
    lines = map(json.loads, imported.stdout.splitlines())
    return {function: set(modules) for function, modules in lines}


def test_every_function_imports_with_the_environment_of_the_template(
    loaded: dict[str, set[str]],
) -> None:
    assert sorted(loaded) == FUNCTIONS


@pytest.mark.parametrize(
    ("vendor", "users"), [("redis", TALK_TO_REDIS), ("kubernetes", TALK_TO_THE_CLUSTER)]
)
def test_a_vendor_is_loaded_only_where_it_is_used(
    vendor: str, users: set[str], loaded: dict[str, set[str]]
) -> None:
    assert {function for function, modules in loaded.items() if vendor in modules} == users


@every_case("function", FUNCTIONS)
def test_no_function_loads_the_tracer_or_a_cipher_at_import(
    function: str, loaded: dict[str, set[str]]
) -> None:
    assert not NEVER_AT_IMPORT & loaded[function]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_without_its_environment_lists_all_of_it_at_import(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in environment(function):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(errors.SettingsInvalid) as told:
        handler_of(function, monkeypatch)
    given = environment(function).keys() - READ_BY_POWERTOOLS
    needed = {name for name in given if name.lower() not in loading.OPTIONAL}
    assert {name for name in needed if f"{name} is missing" in str(told.value)} == needed


@pytest.mark.parametrize("function", OF_THE_STATE_MACHINE)
def test_a_function_takes_its_good_input_and_returns_facts_and_times(
    function: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    if function == "check_rollout":
        call("restart_service", event("restart_service"))
    if function == "validate_rotation":
        stage.restart_all()
    result = call(function, event(function))
    assert json.loads(json.dumps(result)) == result
    assert result["seconds"] >= 0
    assert result["startedAt"].endswith("Z")


def test_rotate_secret_takes_its_good_input(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.store.stages = {OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}
    del stage.store.documents[NEW]
    assert call("rotate_secret", event("rotate_secret"))["created"] is True
    assert stage.store.writes == [NEW]


def test_respond_to_finding_takes_its_good_input(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    result = call("respond_to_finding", event("respond_to_finding"))
    assert stage.store.rotations == [result["rotationId"]]
    assert json.loads(json.dumps(result)) == result
    assert result["findingId"] == event("respond_to_finding")["detail"]["id"]


def other_secret(found: dict[str, Any]) -> dict[str, Any]:
    """The same for another secret; a finding names none, so it is made another service's event."""
    text = json.dumps(found)
    assert ARN in text or found.get("source") == "aws.guardduty"
    text = text.replace(ARN, f"{ARN[:-6]}ZyXwVu").replace("aws.guardduty", "aws.macie")
    other: dict[str, Any] = json.loads(text)
    return other


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "watch_key"])
@pytest.mark.parametrize(
    "spoil",
    [
        other_secret,
        lambda _: {},
        lambda _: None,
        lambda _: [],
        lambda _: "text",
        lambda found: {
            **found,
            "rotation": None,
            "ClientRequestToken": None,
            "detail": None,
            "time": 7,
        },
        lambda found: {
            **found,
            "rotation": {"rotationId": NEW},
            "Step": "deleteSecret",
            "detail": {"id": "1"},
            "time": "yesterday",
        },
    ],
    ids=["another secret", "empty", "null", "a list", "a text", "no id", "not whole"],
)
def test_a_function_refuses_what_is_not_its_input_and_touches_nothing(
    function: str,
    spoil: Callable[[dict[str, Any]], Any],
    stage: Stage,
    call: Callable[[str, Any], dict[str, Any]],
) -> None:
    before = repr(stage)
    with pytest.raises(errors.RequestRefused):
        call(function, spoil(event(function)))
    assert repr(stage) == before


CHANGE_SOMETHING = [n for n in OF_THE_STATE_MACHINE if not n.startswith(("check", "validate"))]


@pytest.mark.parametrize("function", CHANGE_SOMETHING)
def test_a_call_that_no_execution_has_made_changes_nothing(
    function: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.executions.made_the_call = False
    before = repr(stage)
    with pytest.raises(errors.CallNotConfirmed, match="Nothing was changed"):
        call(function, event(function))
    (asked,) = stage.executions.asked
    assert asked == (event(function)["execution"], Context().invoked_function_arn)
    assert repr(stage) == before


@pytest.mark.parametrize("function", CHANGE_SOMETHING)
@pytest.mark.parametrize(
    "other",
    [
        "rot-other",
        "pre-" + NEW,
        f"rot-{NEW}-",
        f"rot-{NEW}-x",
        f"rot-{NEW}-2",
        f"rot-{NEW}:rot-{NEW}",
    ],
)
def test_a_call_that_names_no_execution_of_the_run_is_refused_unasked(
    function: str, other: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    given = event(function)
    given["execution"] = given["execution"].replace(f"rot-{NEW}", other)
    with pytest.raises(errors.RequestRefused, match="does not name an execution"):
        call(function, given)
    assert stage.executions.asked == []


@pytest.mark.parametrize("function", [n for n in OF_THE_STATE_MACHINE if n != "finish_rotation"])
def test_a_function_of_a_run_that_was_overtaken_does_nothing(
    function: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.store.stages = {"2" * 36: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"], OLD: []}
    before = repr(stage)
    with pytest.raises(errors.Superseded):
        call(function, event(function))
    assert repr(stage) == before


@pytest.mark.parametrize(
    ("function", "entry"),
    [
        ("restart_service", "start"),
        ("restart_service", "service"),
        ("restart_service", "deliver_key"),
        ("check_rollout", "restart_service"),
        ("check_rollout", "start"),
        ("check_rollout", "deliver_key"),
        ("validate_rotation", "start"),
    ],
)
def test_a_function_misses_an_entry_that_it_needs_by_name(
    function: str, entry: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    given = event(function)
    del given[entry]
    with pytest.raises(errors.RequestRefused, match=f"'{entry}'"):
        call(function, given)
    assert stage.cluster.restarts == []


def test_the_beginning_is_announced_with_what_it_does_to_users(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    result = call("begin_rotation", event("begin_rotation"))
    assert (result["sessions"], result["announced"]) == (3, {"topic": "told"})
    assert [message.kind for message in stage.channel.told] == ["Session Key Rotation Started"]


@pytest.mark.parametrize("function", ["begin_rotation", "finish_rotation"])
def test_a_run_goes_on_where_nobody_can_be_told(
    function: str, stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.channel.down = True
    became = {"topic": "NotificationFailed: the topic did not take it"}
    assert call(function, event(function))["announced"] == became


def test_the_delivered_key_is_the_promoted_one(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    call("deliver_key", event("deliver_key"))
    assert stage.target.value == stage.new.base64


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Fakes as they are when the state machine starts in mode `external-secrets`."""
    stage = Stage(mode="external-secrets")
    stage.promote()
    stage.wire(monkeypatch)
    stage.target.owner = "ExternalSecret session-key"
    return stage


def test_a_delivery_that_waits_goes_on_with_its_own_entry_of_the_ledger(
    synced: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    ledger = event("deliver_key")
    ledger["deliver_key"] = first = call("deliver_key", json.loads(json.dumps(ledger)))
    assert (first["state"], first["asked"], first["askedAt"]) == (
        "waiting",
        1,
        format_timestamp(NOON + timedelta(minutes=2)),
    )
    synced.now += timedelta(seconds=5)
    ledger["deliver_key"] = second = call("deliver_key", json.loads(json.dumps(ledger)))
    assert (second["state"], second["asked"]) == ("waiting", 1)
    synced.operator.sync(synced.now)
    synced.now += timedelta(seconds=5)
    third = call("deliver_key", json.loads(json.dumps(ledger)))
    assert third["state"] == "done"
    assert third["fingerprint"] == synced.new.fingerprint
    assert first["startedAt"] == second["startedAt"] == third["startedAt"]
    assert (second["seconds"], third["seconds"]) == (5.0, 10.0)
    assert synced.operator.tokens == [f"{NEW}-1"]
    assert synced.target.writes == 0


def test_a_delivery_that_waits_in_vain_ends_and_its_record_says_at_which_step(
    synced: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    ledger = event("deliver_key")
    ledger["deliver_key"] = call("deliver_key", ledger)
    synced.now += timedelta(minutes=6)
    with pytest.raises(errors.SyncOverdue) as overdue:
        call("deliver_key", ledger)
    cause = json.dumps({"errorMessage": str(overdue.value), "errorType": "SyncOverdue"})
    ledger["failures"] = {"deliver_key": {"Error": "SyncOverdue", "Cause": cause}}
    record = call("finish_rotation", ledger)
    assert (record["outcome"], record["failure"]["step"]) == ("failed", "DeliverKey")
    assert record["failure"]["says"] == str(overdue.value)
    assert synced.cluster.restarts == []


def test_where_the_pods_read_secrets_manager_no_secret_is_touched(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage = Stage(mode="none")
    stage.promote()
    stage.wire(monkeypatch)
    result = call("deliver_key", event("deliver_key"))
    assert (result["state"], result["written"]) == ("done", False)
    assert result["fingerprint"] == stage.new.fingerprint
    assert (stage.target.value, stage.target.writes) == (stage.old.base64, 0)
    assert stage.operator.tokens == []


@pytest.mark.parametrize("mode", ["kubernetes-secret", "external-secrets", "none"])
def test_what_a_delivery_needs_is_checked_before_the_promotion(
    mode: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage = Stage(mode=mode)
    stage.wire(monkeypatch)
    for function in OF_THE_STATE_MACHINE:
        answer = call(function, {"question": "preflight"})
        assert (answer["function"], answer["problems"]) == (function, [])
        assert answer["checks"] >= 2
    assert stage.operator.dry_runs == (["dry-run"] if mode == "external-secrets" else [])
    assert (stage.target.writes, stage.operator.tokens) == (0, [])
    assert stage.cluster.restarts == [(service, True) for service in SERVICES]


@pytest.mark.parametrize("mode", ["kubernetes-secret", "external-secrets", "none"])
def test_a_key_that_was_delivered_is_looked_at_again_and_not_written_again(
    mode: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage = Stage(mode=mode)
    stage.promote()
    stage.wire(monkeypatch)
    ledger = event("purge_sessions")
    kept = {name: ledger[name] for name in ("rotation", "execution")}
    given = {**kept, "action": "confirm", "deliver_key": ledger["deliver_key"]}
    stage.target.value = stage.new.base64
    assert call("deliver_key", given)["fingerprint"] == stage.new.fingerprint
    stage.target.value = stage.old.base64
    if mode == "none":
        call("deliver_key", given)
    else:
        with pytest.raises(errors.DeliveryOverwritten):
            call("deliver_key", given)
    assert (stage.target.writes, stage.operator.tokens) == (0, [])


def test_the_restarted_service_is_the_one_that_was_asked_for(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    call("restart_service", event("restart_service"))
    assert stage.cluster.restarts == [("web-console", False)]


def test_a_purge_goes_on_where_the_last_call_stopped(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    result = call("purge_sessions", event("purge_sessions"))
    assert (result["finished"], result["deleted"]) == (True, 3)
    assert result["startedAt"] == event("purge_sessions")["purge_sessions"]["startedAt"]
    assert stage.sessions.keys == {"sessions:4"}


def test_the_validation_counts_old_sessions_and_pods(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.restart_all()
    found = call("validate_rotation", event("validate_rotation"))["logs"]
    assert found["lines"] == {"old-session": 4}
    assert found["pods"] == [
        {"service": service, "pods": 2, "stamped": 2, "read": 2} for service in SERVICES
    ]
    assert (found["logs"], found["complete"], found["reason"]) == (4, True, "")


def test_the_validation_says_where_pods_were_not_read(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.restart_all()
    stage.cluster.logs.pop()
    found = call("validate_rotation", event("validate_rotation"))["logs"]
    assert (found["complete"], found["reason"]) == (
        False,
        f"{SERVICES[-1]}: 1 of 2 pods were not read",
    )


def test_the_validation_fails_where_pods_exist_that_the_restart_did_not_make(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    stage.restart_all()
    pods = stage.cluster.pods_of["web-console"]
    stage.cluster.pods_of["web-console"] = [replace(pod, key_version=None) for pod in pods]
    with pytest.raises(errors.RestartOverwritten, match="2 of 2 pods of web-console do not carry"):
        call("validate_rotation", event("validate_rotation"))


def test_the_validation_of_a_way_back_without_a_restart_looks_for_no_new_pods(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    """The delivery had failed: every pod is of an earlier run, and stays."""
    given = event("validate_rotation")
    del given["restart_services"]
    found = call("validate_rotation", given)["logs"]
    assert (found["complete"], found["pods"], found["says"]) == (False, [], "")
    assert found["reason"] == "no pod was restarted, so there are no new logs"


KEY_ERROR = "SESSION_ENCRYPTION_KEY must decode to 32 bytes"


def crash(pod: str) -> ContainerLog:
    """A container that says why it crashed, and more."""
    lines = [Line(NOON, KEY_ERROR), Line(NOON, f"{KEY_ERROR}: hunter2")]
    return ContainerLog(pod, "app", lines, gets_key=True, trouble="the container crashed")


def test_a_key_error_of_a_crashed_pod_stops_the_rollout_before_its_verdict(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    call("restart_service", event("restart_service"))
    stage.cluster.crashes = [crash("web-console-1-1")]
    stage.cluster.workloads.clear()  # no verdict could be given any more
    with pytest.raises(errors.KeyErrorsInLogs, match="web-console-1-1/app") as told:
        call("check_rollout", event("check_rollout"))
    assert "hunter2" not in f"{told.value!r}"


def test_the_rollout_of_a_service_is_not_stopped_by_what_other_pods_log(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    """Those of another service have their own look; one that runs is the validation's."""
    call("restart_service", event("restart_service"))
    stage.cluster.crashes = [crash("auth-service-1-1")]
    stage.cluster.logs = [crash("web-console-1-1")]
    assert call("check_rollout", event("check_rollout"))["state"] == "waiting"


def test_the_logs_of_a_rollout_are_those_since_the_run_began(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def of_restart(*given: Any, **options: Any) -> ServiceLogs:
        asked.append((given, options))
        return ServiceLogs(given[0], [], [], [])

    monkeypatch.setattr(stage.cluster, "of_restart", of_restart)
    call("restart_service", event("restart_service"))
    call("check_rollout", event("check_rollout"))
    call("validate_rotation", event("validate_rotation"))
    assert asked == [
        (("web-console", STAMP, NOON), {"crashed_only": True}),
        (("web-console", STAMP, NOON), {}),
        (("auth-service", STAMP, NOON), {}),
    ]


def test_the_record_is_kept_under_the_runs_id_before_anybody_is_told(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    result = call("finish_rotation", event("finish_rotation"))
    kept = json.loads(stage.records.documents[NEW])
    assert kept["outcome"] == "succeeded"
    assert {name: result[name] for name in kept} == kept
    stage.records.down, stage.channel.told = True, []
    with pytest.raises(errors.RecordNotStored):
        call("finish_rotation", event("finish_rotation"))
    assert stage.channel.told == []


def test_the_record_of_a_failed_run_says_so(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    failure = {"Error": "RolloutFailed", "Cause": '{"errorMessage": "it crashed"}'}
    given = {**event("deliver_key"), "failures": {"deliver_key": failure}}
    assert call("finish_rotation", given)["outcome"] == "failed"
    assert stage.channel.told[0].subject == "Session key rotation FAILED"


def test_a_whole_rotation_goes_from_function_to_function(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    ledger = event("begin_rotation")
    ledger["begin_rotation"] = call("begin_rotation", ledger)
    ledger["deliver_key"] = call("deliver_key", {**ledger, "action": "deliver"})
    ledger["restart_services"] = []
    for service in ledger["start"]["services"]:
        item = {**ledger, "service": service}
        item["restart_service"] = call("restart_service", item)
        assert call("check_rollout", item)["state"] == "waiting"
        stage.roll_out(service)
        ledger["restart_services"].append(call("check_rollout", item))
    kept = {name: ledger[name] for name in ("rotation", "execution")}
    looked = {**kept, "action": "confirm", "deliver_key": ledger["deliver_key"]}
    ledger["confirm_delivery"] = call("deliver_key", looked)
    for function in ("purge_sessions", "purge_sessions", "validate_rotation"):
        ledger[function] = call(function, ledger)
    record = call("finish_rotation", ledger)
    assert record["outcome"] == "succeeded"
    counts = ("before", "deleted", "left", "createdSince", "keysBefore", "keysAfter")
    assert [record["sessions"][name] for name in counts] == [3, 3, 0, 0, 4, 1]
    assert record["fingerprints"] == {
        "new": stage.new.fingerprint,
        "previous": key.SessionKey(stage.old.raw).fingerprint,
    }
    assert [service["podsAfter"] for service in record["services"]] == [2, 2]
    assert shape_of(event("finish_rotation")) == shape_of(json.loads(json.dumps(ledger)))


def shape_of(found: Any) -> Any:
    """The names in a ledger and the kinds of its values; of a list, those of its first."""
    if isinstance(found, dict):
        return {name: shape_of(value) for name, value in found.items()}
    if isinstance(found, list):
        return [shape_of(value) for value in found[:1]]
    return float if isinstance(found, int | float) else type(found)


def test_watch_key_starts_a_run_for_a_key_that_was_changed_by_hand(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    result = call("watch_key", event("watch_key"))
    assert result["look"] == "moved"
    (found,) = result["found"]
    assert (found["concern"], found["started"]) == ("NOT_CARRIED", f"rot-{NEW}")
    assert waited
    assert [started.rotation_id for started in stage.runs.started] == [NEW]


def test_watch_key_refuses_the_event_of_another_secret(
    stage: Stage, call: Callable[[str, Any], dict[str, Any]]
) -> None:
    with pytest.raises(errors.RequestRefused):
        call("watch_key", other_secret(event("watch_key")))
    assert stage.runs.started == []
