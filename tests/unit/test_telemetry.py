"""`keyturn.telemetry`: one line a call, and never a value that might be a key."""

import io
import json
import traceback
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from keyturn import errors, key, telemetry
from keyturn.adapters import aws
from keyturn.run import Run, moment
from keyturn.telemetry import Event, Handler, Result
from tests.conftest import ARN, NEW

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


def test_a_result_tells_when_it_began_and_how_long_it_took(output: io.StringIO) -> None:
    result = returning({"written": True})(LEDGER, None)
    assert result["written"] is True
    assert result["seconds"] >= 0
    assert moment(result["startedAt"]).tzinfo is not None


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
        with aws.translated("secretsmanager:GetSecretValue", errors.SecretsManagerUnavailable):
            raise vendor

    with pytest.raises(error) as raised:
        handler(LEDGER, None)
    assert "hunter2" not in f"{raised.value} {output.getvalue()}"


def forms(session_key: key.SessionKey) -> list[str]:
    """The shapes in which a key could slip out."""
    raw = session_key.raw
    return [session_key.base64, raw.hex(), raw.hex().upper(), repr(raw), repr(raw)[2:-1]]


def test_a_defect_is_named_with_its_place_and_hides_every_value(output: io.StringIO) -> None:
    held = key.generate()

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
    assert "DeliverKey met a defect: ValueError at test_telemetry.py:" in str(raised.value)
    (line,) = lines(output)
    assert (line["error"], line["says"]) == ("UnexpectedFault", str(raised.value))


def test_a_defect_deep_in_a_vendor_is_placed_in_our_code(output: io.StringIO) -> None:
    @telemetry.step("DeliverKey")
    def handler(event: Event, context: Any) -> Result:
        key.parse_document(None)  # type: ignore[arg-type]
        return {}

    with pytest.raises(errors.UnexpectedFault, match=r"TypeError at key\.py:\d+"):
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
