"""One line a call, and never a value that might be a key."""

import io
import itertools
import json
import os
import subprocess
import sys
import traceback
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from keyturn import errors, telemetry
from keyturn.adapters.aws import client
from keyturn.reporting.metrics import Metric
from keyturn.run.run import Run
from keyturn.run.times import parse_timestamp
from keyturn.secret import key
from keyturn.telemetry import Event, Handler, Result
from tests import emf
from tests.conftest import ARN, NEW
from tests.contract.hostile_server import HostileServer
from tests.project import PACKAGE

LEDGER = Run(NEW, ARN, "scheduled").as_ledger()


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the logger writes."""
    written = io.StringIO()
    monkeypatch.setattr(telemetry.logger.registered_handler, "stream", written)
    return written


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def returning(result: Result) -> Handler:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        return result

    return handler


def raising(error: Exception, cause: Exception | None = None) -> Handler:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        raise error from cause

    return handler


def test_a_call_is_one_line_with_the_run_the_step_and_the_facts(output: io.StringIO) -> None:
    returning({"written": True})(LEDGER, None)
    (line,) = lines(output)
    assert line["level"] == "INFO"
    assert line["service"] == "keyturn"
    assert line["message"] == "step done"
    assert line["step"] == "DeliverKey"
    assert line["rotationId"] == NEW
    assert line["facts"] == {"written": True}
    assert line["seconds"] >= 0


def test_pods_are_logged_by_name_in_lines_that_cloudwatch_takes(output: io.StringIO) -> None:
    longest = {f"{number:0>253}": str(uuid.UUID(int=number)) for number in range(1201)}
    telemetry.log_pods(NEW, "web-console", "before", longest)
    written = lines(output)
    assert [line["part"] for line in written] == ["1 of 3", "2 of 3", "3 of 3"]
    assert {line["service"] for line in written} == {"web-console"}
    assert {line["rotationId"] for line in written} == {NEW}
    assert {line["when"] for line in written} == {"before"}
    assert {name: uid for line in written for name, uid in line["pods"].items()} == longest
    assert max(map(len, output.getvalue().encode().splitlines())) < 256 * 1024


def test_no_pods_are_no_line(output: io.StringIO) -> None:
    telemetry.log_pods(NEW, "web-console", "before", {})
    assert lines(output) == []


def test_a_result_tells_when_it_began_and_how_long_it_took(output: io.StringIO) -> None:
    result: Any = returning({"written": True})(LEDGER, None)
    assert result["written"] is True
    assert result["seconds"] >= 0
    assert parse_timestamp(result["startedAt"]).tzinfo is not None


def test_a_step_of_several_calls_tells_its_own_times(output: io.StringIO) -> None:
    own = {"startedAt": "2026-11-24T12:00:00.000Z", "seconds": 90.0}
    assert returning(own)(LEDGER, None) == own


def test_our_own_error_passes_and_is_one_line_with_its_words(output: io.StringIO) -> None:
    with pytest.raises(errors.DeliveryRefused, match="it is immutable"):
        raising(errors.DeliveryRefused("it is immutable"))(LEDGER, None)
    (line,) = lines(output)
    assert line["level"] == "ERROR"
    assert line["message"] == "step failed"
    assert (line["step"], line["rotationId"]) == ("DeliverKey", NEW)
    assert (line["error"], line["says"]) == ("DeliveryRefused", "it is immutable")


def test_a_vendors_text_is_never_logged(output: io.StringIO) -> None:
    vendor = RuntimeError("the payload was hunter2")
    with pytest.raises(errors.ClusterUnavailable):
        raising(errors.ClusterUnavailable("no answer"), cause=vendor)(LEDGER, None)
    assert "hunter2" not in output.getvalue()
    assert "RuntimeError" not in output.getvalue()


@pytest.mark.parametrize(
    ("vendor", "error"),
    [
        (
            ClientError({"Error": {"Code": "Throttling", "Message": "hunter2"}}, "GetSecretValue"),
            errors.SecretsManagerUnavailable,
        ),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "hunter2"}}, "PutObject"),
            errors.AccessDenied,
        ),
        (
            ReadTimeoutError(endpoint_url="https://hunter2.test"),
            errors.SecretsManagerUnavailable,
        ),
    ],
)
def test_what_aws_says_stops_at_the_adapter(
    vendor: Exception, error: type[errors.KeyturnError], output: io.StringIO
) -> None:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        with client.translate_errors(
            "secretsmanager:GetSecretValue", errors.SecretsManagerUnavailable
        ):
            raise vendor

    with pytest.raises(error) as raised:
        handler(LEDGER, None)
    assert "hunter2" not in f"{raised.value} {output.getvalue()}"


def forms(session_key: key.SessionKey) -> list[str]:
    """The shapes in which a key could slip out."""
    raw = session_key.raw
    return [session_key.base64, raw.hex(), raw.hex().upper(), repr(raw), repr(raw)[2:-1]]


def test_a_defect_is_named_with_its_place_and_hides_every_value(output: io.StringIO) -> None:
    held = key.generate_key()

    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        raise ValueError(f"{held.base64} {held.raw!r} {held.raw.hex()}", held.raw)

    with pytest.raises(errors.UnexpectedFault) as raised:
        handler(LEDGER, None)
    shown = "".join(traceback.format_exception(raised.value))
    shown += f"{output.getvalue()} {raised.value!r} {raised.value.args}"
    for form in forms(held):
        assert form not in shown
    assert raised.value.__cause__ is None
    assert "Unexpected ValueError in DeliverKey at test_telemetry.py:" in str(raised.value)
    (line,) = lines(output)
    assert (line["error"], line["says"]) == ("UnexpectedFault", str(raised.value))


def test_a_defect_deep_in_a_vendor_is_placed_in_our_code(output: io.StringIO) -> None:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        key.parse_document(None)  # type: ignore[arg-type]
        return {}

    with pytest.raises(errors.UnexpectedFault, match=r"TypeError in DeliverKey at key\.py:\d+"):
        handler(LEDGER, None)


@pytest.mark.parametrize("event", [None, [], "text", 7, [LEDGER]])
def test_an_event_that_is_no_object_is_refused(event: Any, output: io.StringIO) -> None:
    with pytest.raises(errors.RequestRefused, match="not a JSON object"):
        returning({})(event, None)
    (line,) = lines(output)
    assert "rotationId" not in line


def test_the_id_of_secrets_managers_own_event_is_its_token(output: io.StringIO) -> None:
    returning({})({"Step": "createSecret", "ClientRequestToken": NEW}, None)
    assert lines(output)[0]["rotationId"] == NEW


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"rotation": None},
        {"rotation": {"rotationId": 7}},
        {"rotation": {"rotationId": {"a": "hunter2"}}},
        {"rotation": {"rotationId": "hunter2"}},
        {"ClientRequestToken": "hunter2"},
        {"SecretString": "hunter2", "RotationToken": "hunter2"},
    ],
)
def test_nothing_of_an_event_but_a_well_formed_id_is_logged(
    event: dict[str, Any], output: io.StringIO
) -> None:
    returning({})(event, None)
    assert "rotationId" not in lines(output)[0]
    assert "hunter2" not in output.getvalue()


def test_a_step_keeps_the_name_and_the_words_of_its_function() -> None:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        """Deliver."""
        return {}

    assert (handler.__name__, handler.__doc__) == ("handler", "Deliver.")


def test_a_line_finds_lambdas_own_lines_of_the_call_and_tells_a_cold_start(
    output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "calls", itertools.count())
    handler = returning({})
    for number in range(2):
        handler(LEDGER, SimpleNamespace(aws_request_id=f"request-{number}"))
    told = [(line["requestId"], line["coldStart"]) for line in lines(output)]
    assert told == [("request-0", True), ("request-1", False)]


# Measures


def emitted(capsys: pytest.CaptureFixture[str]) -> list[emf.Datum]:
    return emf.data(capsys.readouterr().out.splitlines())


def test_measures_are_lines_of_the_embedded_metric_format(
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_mode = {"mode": "scheduled"}
    telemetry.emit(
        [
            Metric("KeyAge", 12.5, "days"),
            Metric("PodsReplaced", 5, "count", by_mode),
            Metric("RotationTime", 90.25, "seconds", by_mode),
        ],
        {"rotationId": NEW, "error": None},
    )
    found = emitted(capsys)
    service = ("service", "keyturn")
    mode = ("mode", "scheduled")
    assert [(one.metric, one.value, one.unit) for one in found] == [
        (("KeyAge", frozenset({service})), 12.5, "None"),
        (("PodsReplaced", frozenset({service, mode})), 5, "Count"),
        (("RotationTime", frozenset({service, mode})), 90.25, "Seconds"),
    ]
    assert {one.namespace for one in found} == {"Keyturn"}
    assert all((one.line["rotationId"], one.line["error"]) == (NEW, None) for one in found)


def test_no_measures_are_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.emit([])
    assert capsys.readouterr().out == ""


def test_what_was_measured_before_a_step_failed_is_not_lost(
    capsys: pytest.CaptureFixture[str], output: io.StringIO
) -> None:
    @telemetry.step("WatchKey")
    def handler(event: Event, context: Any) -> Result:
        telemetry.emit([Metric("KeyAge", 1.0, "days")])
        raise errors.StateMachineUnavailable("no answer")

    with pytest.raises(errors.StateMachineUnavailable):
        handler(LEDGER, None)
    age, failed = emitted(capsys)
    assert age.name == "KeyAge"
    assert failed.metric == (
        "StepErrors",
        frozenset({("service", "keyturn"), ("step", "WatchKey")}),
    )
    assert (failed.line["error"], failed.line["rotationId"]) == ("StateMachineUnavailable", NEW)


def test_the_error_of_a_step_is_measured_without_its_words(
    capsys: pytest.CaptureFixture[str], output: io.StringIO
) -> None:
    held = key.generate_key()
    for error in (ValueError(held.base64, held.raw), errors.DeliveryRefused("hunter2")):
        with pytest.raises(errors.KeyturnError):
            raising(error)(LEDGER, None)
    written = capsys.readouterr().out
    assert [one.line["error"] for one in emf.data(written.splitlines())] == [
        "UnexpectedFault",
        "DeliveryRefused",
    ]
    assert not any(form in written for form in (*forms(held), "hunter2"))


def test_a_step_that_succeeds_measures_nothing_by_itself(
    capsys: pytest.CaptureFixture[str], output: io.StringIO
) -> None:
    returning({"written": True})(LEDGER, None)
    assert emitted(capsys) == []


def test_the_stack_is_the_service_of_lines_and_of_measures() -> None:
    code = (
        "from keyturn import telemetry as t; from keyturn.reporting.metrics import Metric;"
        " t.logger.info('said'); t.emit([Metric('KeyAge', 1.0, 'days')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(PACKAGE.parent),
            "POWERTOOLS_SERVICE_NAME": "staging",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said, measured = emf.documents(ran.stdout.splitlines())
    assert said["service"] == measured["service"] == "staging"


# What vendors log

WITH_ALL_ADAPTERS = """
import importlib, logging, pkgutil, sys
logging.basicConfig(stream=sys.stdout)  # as Lambda's runtime has it: everything from WARNING on
from keyturn import adapters, telemetry
for module in pkgutil.walk_packages(adapters.__path__, "keyturn.adapters."):
    importlib.import_module(module.name)
"""


def said_with_all_adapters(code: str, *words: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", WITH_ALL_ADAPTERS + code, *words],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(PACKAGE.parent),
            "AWS_DEFAULT_REGION": "eu-central-1",
            "POWERTOOLS_SERVICE_NAME": "keyturn",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stdout + ran.stderr


def test_a_malformed_header_does_not_make_a_vendor_log_the_webhooks_url() -> None:
    malformed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno header at all\r\n\r\nok"
    with HostileServer("stalls", good=malformed) as server:
        url = f"http://127.0.0.1:{server.port}/services/hunter2"
        said = said_with_all_adapters(
            "from keyturn.adapters import slack; print(slack._post(sys.argv[1], b'{}', 30))", url
        )
    assert "(200," in said
    assert "hunter2" not in said


def test_no_logger_but_ours_writes_anything() -> None:
    said = said_with_all_adapters(
        "from kubernetes.client.configuration import Configuration; Configuration()\n"
        "others = [name for name in logging.root.manager.loggerDict if name != 'keyturn']\n"
        "for name in others: logging.getLogger(name).critical('hunter2 of %s', name)\n"
        "telemetry.logger.error('said'); print(len(others))"
    )
    assert '"message":"said"' in said
    assert "urllib3" not in said
    assert "hunter2" not in said
    assert int(said.splitlines()[-1]) > 20
