"""An account of the local Secrets Manager for its contract tests: a still clock, a function, a bus.

Every response is read back with botocore's own parser for the operation's output shape, so that a
test only ever sees what a boto3 client would see, with times as datetimes.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.parsers import create_parser

from local.clock import MovableClock
from local.secrets_manager import AwsError, RotationReport, SecretsManager

ACCOUNT = "123456789012"
REGION = "eu-west-1"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:rotate"
START = datetime(2026, 11, 24, 10, 20, tzinfo=UTC)
RETRY_SECONDS = 150.0
PATIENCE_SECONDS = 10.0
MODEL = botocore.session.get_session().get_service_model("secretsmanager")
PARSER = create_parser("json")


@dataclass(frozen=True)
class Outcome:
    function_error: str | None
    payload: bytes


def token() -> str:
    return str(uuid.uuid4())


class Gate:
    """Holds the function in a step until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, event: dict[str, str]) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_SECONDS)

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_SECONDS)


class RotationFunction:
    """A rotation function that works, until a test tells it which steps fail or wait."""

    def __init__(self) -> None:
        self.events: list[dict[str, str]] = []
        self.functions: list[str] = []
        self.failures: dict[str, int] = {}
        self.missing = False
        self.before: dict[str, Callable[[dict[str, str]], None]] = {}
        self.after: dict[str, Callable[[dict[str, str]], None]] = {}
        self.account: Account

    @property
    def steps(self) -> list[str]:
        return [event["Step"] for event in self.events]

    def __call__(self, function_arn: str, payload: bytes) -> Outcome:
        event: dict[str, str] = json.loads(payload)
        step = event["Step"]
        self.functions.append(function_arn)
        self.events.append(event)
        if self.missing:
            raise LookupError(f"no function {function_arn}")
        if step in self.before:
            self.before[step](event)
        if self.failures.get(step, 0) > 0:
            self.failures[step] -= 1
            return Outcome("Unhandled", b'{"errorType": "Refused", "errorMessage": "not today"}')
        if step == "createSecret":
            self._create(event)
        if step == "finishSecret":
            self._finish(event)
        if step in self.after:
            self.after[step](event)
        return Outcome(None, b"null")

    def _create(self, event: dict[str, str]) -> None:
        target = {"SecretId": event["SecretId"]}
        try:
            self.account.call("GetSecretValue", **target, VersionId=event["ClientRequestToken"])
        except AwsError:
            self.account.call(
                "PutSecretValue",
                **target,
                ClientRequestToken=event["ClientRequestToken"],
                SecretString=f"value {uuid.uuid4()}",
                VersionStages=["AWSPENDING"],
            )

    def _finish(self, event: dict[str, str]) -> None:
        held = self.account.holder("AWSCURRENT")
        source = {"RemoveFromVersionId": held} if held else {}
        if held != event["ClientRequestToken"]:
            self.account.call(
                "UpdateSecretVersionStage",
                SecretId=event["SecretId"],
                VersionStage="AWSCURRENT",
                MoveToVersionId=event["ClientRequestToken"],
                **source,
            )


class Account:
    """The manager, what surrounds it, and one secret named `app`."""

    def __init__(self) -> None:
        self.clock = MovableClock(START)
        self.function = RotationFunction()
        self.function.account = self
        self.bus: list[dict[str, Any]] = []
        self.manager = SecretsManager(
            account=ACCOUNT,
            region=REGION,
            clock=self.clock,
            invoke=self.function,
            emit=self.bus.append,
            rotation_retry_seconds=RETRY_SECONDS,
        )
        self.first = token()
        self.value = f"value {uuid.uuid4()}"
        self.arn: str = self.call(
            "CreateSecret", Name="app", ClientRequestToken=self.first, SecretString=self.value
        )["ARN"]

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        answer = self.manager.handle(operation, request)
        shape = MODEL.operation_model(operation).output_shape
        if shape is None:
            assert answer == {}
            return {}
        assert set(answer) <= set(shape.members)
        raw = {"status_code": 200, "headers": {}, "body": json.dumps(answer).encode()}
        parsed: dict[str, Any] = PARSER.parse(raw, shape)
        del parsed["ResponseMetadata"]
        return parsed

    def put(self, value: str, **request: Any) -> str:
        request.setdefault("ClientRequestToken", token())
        return str(
            self.call("PutSecretValue", SecretId="app", SecretString=value, **request)["VersionId"]
        )

    def refusal(self, operation: str, **request: Any) -> AwsError:
        """Return the error with which an operation is refused."""
        try:
            self.call(operation, **request)
        except AwsError as error:
            return error
        raise AssertionError(f"{operation} was not refused")

    def describe(self) -> dict[str, Any]:
        return self.call("DescribeSecret", SecretId="app")

    def move(self, label: str, **versions: str) -> None:
        self.call("UpdateSecretVersionStage", SecretId="app", VersionStage=label, **versions)

    def drop_pending(self) -> None:
        pending = self.holder("AWSPENDING")
        assert pending is not None
        self.move("AWSPENDING", RemoveFromVersionId=pending)

    def labels(self) -> dict[str, list[str]]:
        versions = self.describe()["VersionIdsToStages"]
        return {version: sorted(stages) for version, stages in versions.items()}

    def holder(self, label: str) -> str | None:
        return next((v for v, stages in self.labels().items() if label in stages), None)

    def read(self, **request: str) -> str:
        return str(self.call("GetSecretValue", SecretId="app", **request)["SecretString"])

    def rotate(self, **request: Any) -> str:
        request.setdefault("ClientRequestToken", token())
        request.setdefault("RotationLambdaARN", FUNCTION_ARN)
        return str(self.call("RotateSecret", SecretId="app", **request)["VersionId"])

    def rotation_refusal(self, **request: Any) -> AwsError:
        return self.refusal(
            "RotateSecret",
            SecretId="app",
            **({"ClientRequestToken": token(), "RotationLambdaARN": FUNCTION_ARN} | request),
        )

    def ended(self, version: str) -> RotationReport:
        return self.manager.wait_for_rotation("app", version, PATIENCE_SECONDS)

    def report(self, version: str) -> RotationReport:
        report = self.manager.rotation_report("app", version)
        assert report is not None
        return report

    def waits_to_retry(self, version: str) -> bool:
        retry_at = self.report(version).retry_at
        return retry_at is not None and retry_at > self.clock.now()

    def retry(self, version: str) -> None:
        """Wait until an attempt has failed, then move the clock to the next one."""
        until(lambda: self.waits_to_retry(version), "a failed attempt")
        self.clock.advance(RETRY_SECONDS)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.002)


@contextlib.contextmanager
def open_account() -> Iterator[Account]:
    account = Account()
    try:
        yield account
    finally:
        account.manager.close()


@contextlib.contextmanager
def open_gate() -> Iterator[Gate]:
    """Give a gate that opens at the end of the test, whatever came of it."""
    gate = Gate()
    try:
        yield gate
    finally:
        gate.opened.set()


def some_value() -> str:
    return f"value {uuid.uuid4()}"
