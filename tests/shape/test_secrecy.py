"""No key where it does not belong: not in the ledger, a log, a message, a record, or a file."""

import ast
import base64
import binascii
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn import errors
from keyturn import telemetry as keyturn_telemetry
from keyturn.run import run as run_run
from keyturn.secret import key
from tests.conftest import ARN, NEW
from tests.project import FUNCTION_FILES, PACKAGE, ROOT, event, parsed, resources, template
from tests.stage import SERVICES, Context, Stage, handler_of

SOURCES = [*sorted(PACKAGE.rglob("*.py")), *FUNCTION_FILES]
FOLDERS = ("bench", "docs", "functions", "kubernetes", "layers", "local", "statemachine", "tests")
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def forms(session_key: key.SessionKey) -> list[str]:
    """The shapes in which a key could slip out; a part of it is enough."""
    raw, text = session_key.raw, session_key.base64
    urlsafe = base64.urlsafe_b64encode(raw).decode()
    again = base64.b64encode(text.encode()).decode()
    whole = [text, urlsafe, again, raw.hex(), raw.hex().upper(), repr(raw)[2:-1], str(list(raw))]
    return [part for form in whole for part in (form[:24], form[-24:])]


def assert_hidden(shown: str, stage: Stage) -> None:
    for session_key in (stage.old, stage.new):
        for form in forms(session_key):
            assert form not in shown


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(keyturn_telemetry.logger.registered_handler, "stream", written)
    return written


CALLER = {"execution": event("deliver_key")["execution"]}


class Rotation:
    """A whole rotation on fakes that keeps all that was said."""

    def __init__(self, stage: Stage, patch: pytest.MonkeyPatch) -> None:
        self.stage, self.patch = stage, patch
        self.said: list[str] = []
        stage.wire(patch)

    def call(self, function: str, given: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = handler_of(function, self.patch)(given, Context())
        self.said.append(f"{json.dumps(result)} {result!r}")
        return result

    def promote(self) -> None:
        for step in STEPS:
            self.call("rotate_secret", {**event("rotate_secret"), "Step": step})

    def run(self) -> dict[str, Any]:
        (started,) = self.stage.runs.started
        ledger: dict[str, Any] = {
            **started.as_ledger(),
            **CALLER,
            "start": event("begin_rotation")["start"],
        }
        ledger["begin_rotation"] = self.call("begin_rotation", ledger)
        ledger["deliver_key"] = self.call("deliver_key", {**ledger, "action": "deliver"})
        ledger["restart_services"] = [self.restart(ledger, service) for service in SERVICES]
        kept = {name: ledger[name] for name in ("rotation", "execution")}
        looked = {**kept, "action": "confirm", "deliver_key": ledger["deliver_key"]}
        ledger["confirm_delivery"] = self.call("deliver_key", looked)
        ledger["purge_sessions"] = self.call("purge_sessions", ledger)
        ledger["validate_rotation"] = self.call("validate_rotation", ledger)
        ledger["record"] = self.call("finish_rotation", ledger)
        return ledger

    def restart(self, ledger: dict[str, Any], service: str) -> dict[str, Any]:
        item = {**ledger, "service": service}
        item["restart_service"] = self.call("restart_service", item)
        self.stage.roll_out(service)
        return self.call("check_rollout", item)


@pytest.fixture
def rotation(monkeypatch: pytest.MonkeyPatch) -> Rotation:
    return Rotation(Stage(), monkeypatch)


def test_a_whole_rotation_says_the_key_nowhere(
    rotation: Rotation, output: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    rotation.promote()
    ledger = rotation.run()
    stage = rotation.stage
    assert ledger["record"]["outcome"] == "succeeded"
    assert stage.target.value == stage.new.base64
    messages = [f"{m.subject} {m.text} {json.dumps(m.facts)}" for m in stage.channel.told]
    assert len(messages) == 2
    measured = capsys.readouterr().out
    assert "RotationsSucceeded" in measured
    shown = [json.dumps(ledger), output.getvalue(), measured, *rotation.said, *messages]
    assert_hidden(" ".join([*shown, *stage.records.documents.values()]), stage)
    assert stage.new.fingerprint in output.getvalue()


def test_a_rotation_by_an_external_secret_says_the_key_nowhere(
    output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(mode="external-secrets")
    rotation = Rotation(stage, monkeypatch)
    rotation.promote()
    stage.operator.provides = stage.new.base64
    (started,) = stage.runs.started
    start = event("deliver_key")["start"]
    ledger: dict[str, Any] = {**started.as_ledger(), **CALLER, "start": start}
    ledger["deliver_key"] = rotation.call("deliver_key", {**ledger, "action": "deliver"})
    stage.now += timedelta(seconds=5)
    stage.operator.sync(stage.now)
    ledger["deliver_key"] = rotation.call("deliver_key", {**ledger, "action": "deliver"})
    assert ledger["deliver_key"]["state"] == "done"
    assert stage.target.value == stage.new.base64
    assert_hidden(" ".join([json.dumps(ledger), output.getvalue(), *rotation.said]), stage)


def test_an_emergency_by_vault_says_the_key_nowhere(
    output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(mode="vault")
    rotation = Rotation(stage, monkeypatch)
    rotation.promote()
    (started,) = stage.runs.started
    ledger = json.loads(json.dumps(started.as_ledger()).replace('"scheduled"', '"emergency"'))
    ledger |= CALLER
    ledger["deliver_key"] = rotation.call("deliver_key", {**ledger, "action": "deliver"})
    exposed = {**ledger, "action": "destroy-exposed-versions"}
    ledger["destroy_exposed_versions"] = rotation.call("deliver_key", exposed)
    ledger["record"] = rotation.call("finish_rotation", ledger)
    assert ledger["destroy_exposed_versions"]["destroyed"] == [1]
    assert stage.vault.fields[2] == {key.FIELD: stage.new.base64, "OTHER": "of somebody else"}
    assert ledger["record"]["delivery"]["vaultVersion"] == 2
    shown = [json.dumps(ledger), output.getvalue(), *rotation.said, repr(stage.vault)]
    shown += [repr(stage.vault.read()), repr(stage.delivery)]
    assert_hidden(" ".join(shown), stage)
    assert "of somebody else" not in " ".join(shown)


@pytest.mark.parametrize(
    "value",
    [
        "{key}",
        '{{"SESSION_ENCRYPTION_KEY": "{key}"',
        '{{"SESSION_ENCRYPTION_KEY": "{key}\\n"}}',
        '{{"SESSION_ENCRYPTION_KEY": "{key}{key}"}}',
        '{{"SESSION_ENCRYPTION_KEY": ["{key}"]}}',
        '{{"{key}": 1, "{key}": 2}}',
    ],
    ids=["no document", "cut short", "line break", "twice as long", "a list", "a field twice"],
)
def test_a_malformed_value_is_refused_without_being_quoted(
    value: str, rotation: Rotation, output: io.StringIO
) -> None:
    stage = rotation.stage
    stage.promote()
    held = stage.new
    stage.store.documents[NEW] = value.format(key=held.base64)
    with pytest.raises(errors.KeyInvalid) as refused:
        rotation.call("deliver_key", event("deliver_key"))
    shown = f"{refused.value!r} {refused.value} {output.getvalue()}"
    assert refused.value.__cause__ is None
    for form in forms(held):
        assert form not in shown


def test_a_defect_in_a_step_that_holds_the_key_hides_it(
    rotation: Rotation, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = rotation.stage
    stage.promote()

    def write(value: str, _version: str, *, dry_run: bool) -> None:
        raise ValueError(f"cannot write {value}")

    monkeypatch.setattr(stage.target, "write", write)
    with pytest.raises(errors.UnexpectedFault) as fault:
        rotation.call("deliver_key", event("deliver_key"))
    assert_hidden(f"{fault.value!r} {fault.value} {output.getvalue()}", stage)


def test_a_rotation_token_is_not_logged(rotation: Rotation, output: io.StringIO) -> None:
    token = "a-token-that-lets-one-write"
    rotation.call("rotate_secret", {**event("rotate_secret"), "RotationToken": token})
    assert token not in f"{output.getvalue()} {rotation.said}"


def test_the_input_of_an_execution_is_names_and_ids() -> None:
    ledger = run_run.Run(NEW, ARN, "scheduled").as_ledger()
    assert ledger == {
        "rotation": {
            "rotationId": NEW,
            "secretArn": ARN,
            "mode": "scheduled",
            "version": NEW,
            "previousVersion": None,
            "trigger": {"kind": "schedule", "at": ""},
            "fingerprint": None,
        }
    }


def calls(path: Path) -> Iterator[str]:
    """The last names of all that a file calls."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_the_one_logger_is_that_of_the_telemetry() -> None:
    loggers = {"Logger", "print", "getLogger", "set_stream_logger", "inject_lambda_context"}
    used = {path.name: loggers & {*calls(path)} for path in SOURCES if loggers & {*calls(path)}}
    assert used == {"telemetry.py": {"Logger", "getLogger"}}


def test_no_source_has_a_tracer() -> None:
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        assert "Tracer" not in source, path
        assert "xray" not in source.lower(), path


def test_the_tracer_is_not_deployed() -> None:
    requirements = (ROOT / "layers" / "keyturn" / "requirements.txt").read_text(encoding="utf-8")
    assert "xray" not in requirements.lower()
    assert "Tracing" not in template()["Globals"]["Function"]


def test_the_state_machines_log_holds_no_data_and_the_first_key_is_not_echoed() -> None:
    for machine in resources("AWS::Serverless::StateMachine").values():
        assert machine["Logging"]["IncludeExecutionData"] is False
    assert template()["Parameters"]["InitialSessionKey"]["NoEcho"] is True
    assert template()["Parameters"]["InitialSessionKey"]["Default"] == ""
    assert "InitialSessionKey" not in json.dumps(template()["Outputs"])


def texts() -> Iterator[Path]:
    """Every file of the project that people write."""
    folders = [ROOT.glob("*"), *((ROOT / folder).rglob("*") for folder in FOLDERS)]
    for path in sorted(path for found in folders for path in found):
        if path.suffix in {".json", ".md", ".py", ".toml", ".yaml"}:
            yield path


def looks_like_a_key(text: str) -> bool:
    """Whether a text is base64 of 32 bytes that are not a plain pattern such as 32 times one."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return len(raw) == 32 and len(set(raw)) > 8


def test_no_file_holds_what_looks_like_a_key() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in texts()
        for text in re.findall(r"(?<![\w+/])[\w+/]{43}=", path.read_text(encoding="utf-8"))
        if looks_like_a_key(text)
    ]
    assert found == []


def test_the_search_for_keys_finds_one() -> None:
    assert looks_like_a_key(key.generate_key().base64)
    assert not looks_like_a_key(base64.b64encode(b"x" * 32).decode())
