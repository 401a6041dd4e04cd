"""The AWS of the local stack: one endpoint on the loopback for every service.

Most services are moto's, in this process. Those whose behaviour a rotation depends on, and moto
gets wrong, are ours: Lambda invocations go to `local.functions`, Secrets Manager to the object
given, events to `local.events`. moto's state machine interpreter calls back to this endpoint, which
it finds through the variable `MOTO_PORT`, and its data is the process's; so a process has one cloud
at a time.
"""

import contextlib
import io
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import boto3
from botocore.config import Config
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

from local import api_calls, dead_letters, execution_events, lambda_api, state_machines
from local.async_invocation import DeadLetter
from local.events import EventBus
from local.functions import Functions, FunctionSettings
from local.secrets_manager.errors import AwsError

STACK_ACCESS_KEY = "local-stack"
INTERPRETER_ACCESS_KEY = "ak"  # which moto's interpreter signs with: the state machine's own calls
LONGEST_INVOCATION_SECONDS = 900
LONGEST_SILENCE_SECONDS = 60.0

Environ = dict[str, Any]
Handle = Callable[[str, dict[str, Any]], Mapping[str, Any]]


class SecretsService(Protocol):
    """Secrets Manager: takes an operation and its request, raises `AwsError`."""

    def handle(self, operation: str, request: dict[str, Any], /) -> Mapping[str, Any]:
        """Do the operation and return its response."""


def access_key_of(function_name: str) -> str:
    """Return the access key id by which a function's calls are told apart."""
    return f"function-{function_name}"


class Cloud:
    """Serves AWS's APIs at `endpoint` from its creation until `close`.

    `api_calls` records every call, in order of arrival, with the caller's access key id:
    `access_key_of(name)` for a function, INTERPRETER_ACCESS_KEY for a state machine,
    STACK_ACCESS_KEY for the clients made here. `event_bus` takes the events of services that are
    not moto's.
    """

    def __init__(
        self, functions: Functions, secrets_manager: SecretsService, *, account: str, region: str
    ) -> None:
        self.account = account
        self.region = region
        self.api_calls: list[api_calls.ApiCall] = []
        self._functions = functions
        self._targets: dict[str, Handle] = {
            "secretsmanager": secrets_manager.handle,
            "AWSEvents": self._event_operation,
        }
        self.event_bus = EventBus(account, region, self._deliver, self._bury_event)
        execution_events.connect(account, region, self.event_bus.send)
        functions.give_dead_letters_to(self._bury_invocation)
        self._silent: dict[str, threading.Event] = {}
        self._clients: dict[str, Any] = {}
        self._client_lock = threading.Lock()
        self._moto = _moto_application()
        self._server = _serve(self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        os.environ["MOTO_PORT"] = str(self._server.server_port)

    def client(self, service: str) -> Any:
        """Return a boto3 client of this cloud; one for each service, shared by all threads."""
        with self._client_lock:
            if service not in self._clients:
                self._clients[service] = self._make_client(service, STACK_ACCESS_KEY)
            return self._clients[service]

    def _make_client(self, service: str, access_key: str) -> Any:
        seconds = LONGEST_INVOCATION_SECONDS + 30 if service == "lambda" else 60
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=access_key,
            aws_secret_access_key="local",  # noqa: S106  no secret: nothing checks it
            config=Config(
                connect_timeout=5, read_timeout=seconds, retries={"total_max_attempts": 1}
            ),
        )

    def environment_of(self, settings: FunctionSettings) -> dict[str, str]:
        """Return what makes a function's AWS clients call this cloud, under a name of its own."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": access_key_of(settings.name),
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    def silence(self, service: str) -> None:
        """Let a service take requests and answer none, until `unsilence` or for a minute."""
        self._silent[service] = threading.Event()

    def unsilence(self, service: str) -> None:
        """Let a service answer again, also what it was asked meanwhile."""
        self._silent.pop(service).set()

    def close(self) -> None:
        """Stop what is running and forget everything."""
        execution_events.disconnect(self.account, self.region)
        self._stop_executions()
        self._server.shutdown()
        self._server.server_close()
        for client in self._clients.values():
            client.close()
        os.environ.pop("MOTO_PORT", None)
        _forget()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request: the WSGI entry point."""
        body = _take_body(environ)
        call = api_calls.describe(environ, body)
        self.api_calls.append(call)
        if silent := self._silent.get(call.service):
            silent.wait(LONGEST_SILENCE_SECONDS)
        return self._route(environ, body)(environ, start_response)  # type: ignore[no-any-return]

    def _route(self, environ: Environ, body: bytes) -> Any:
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")
        if found := api_calls.INVOCATIONS.match(environ["PATH_INFO"]):
            headers = {
                name.removeprefix("HTTP_").replace("_", "-").lower(): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            }
            return lambda_api.invoke(self._functions, found["function"], headers, body)
        if service == "secretsmanager" or (service, operation) == ("AWSEvents", "PutEvents"):
            return _answer(self._targets[service], operation, json.loads(body or b"{}"))
        if service == "AWSStepFunctions":
            state_machines.correct_interpreter()
            if operation == "StartExecution":
                _name_execution(environ, body)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account
        return self._moto

    def _event_operation(self, _: str, request: dict[str, Any]) -> Mapping[str, Any]:
        return self.event_bus.put_events(request)

    def _deliver(self, target_arn: str, text: str) -> None:
        service = target_arn.split(":")[2]
        if service == "lambda":
            self._functions.invoke_async(target_arn, text.encode())
        elif service == "states":
            self.client("stepfunctions").start_execution(stateMachineArn=target_arn, input=text)
        elif service == "sns":
            self.client("sns").publish(TopicArn=target_arn, Message=text)
        else:
            raise ValueError(f"events are delivered to functions, state machines and topics only, "
                             f"not to {target_arn}")  # fmt: skip

    def _bury_event(self, queue_arn: str, text: str, attributes: Mapping[str, str | int]) -> None:
        dead_letters.send(self.client("sqs"), self._queue_url(queue_arn), text, attributes)

    def _bury_invocation(self, letter: DeadLetter) -> None:
        """Lambda sends with the function's role, so the call counts among the function's own."""
        url, attributes = (
            self._queue_url(letter.queue_arn),
            dead_letters.of_function(letter.failure),
        )
        client = self._make_client("sqs", access_key_of(letter.function_name))
        with contextlib.closing(client):
            dead_letters.send(client, url, letter.payload.decode(), attributes)

    def _queue_url(self, arn: str) -> str:
        url: str = self.client("sqs").get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        return url

    def _stop_executions(self) -> None:
        if not any(call.operation == "StartExecution" for call in self.api_calls):
            return
        steps = self.client("stepfunctions")
        for machine in steps.list_state_machines()["stateMachines"]:
            running = steps.list_executions(
                stateMachineArn=machine["stateMachineArn"], statusFilter="RUNNING"
            )
            for execution in running["executions"]:
                # It may have ended by itself in the meantime.
                with contextlib.suppress(steps.exceptions.ExecutionDoesNotExist):
                    steps.stop_execution(executionArn=execution["executionArn"])


def _take_body(environ: Environ) -> bytes:
    if not environ.get("CONTENT_LENGTH"):
        return b""
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _name_execution(environ: Environ, body: bytes) -> None:
    """Give an unnamed execution a name, as Step Functions does and moto does not."""
    named = json.dumps({"name": str(uuid.uuid4()), **json.loads(body)}).encode()
    environ["wsgi.input"] = io.BytesIO(named)
    environ["CONTENT_LENGTH"] = str(len(named))


def _answer(handle: Handle, operation: str, request: dict[str, Any]) -> Response:
    try:
        status, body = 200, handle(operation, request)
    except AwsError as error:
        status, body = error.status, {"__type": error.code, "message": error.message}
    return Response(
        json.dumps(body, default=_plain),
        status,
        {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": "application/x-amz-json-1.1"},
    )


def _plain(value: object) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"a response holds a {type(value).__name__}, which JSON cannot express")


def _moto_application() -> Any:
    from moto.core.config import default_user_config  # noqa: PLC0415  slow to import
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  slow to import
        DomainDispatcherApplication,
        create_backend_app,
    )

    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    return DomainDispatcherApplication(create_backend_app)


def _serve(application: Cloud) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler  # noqa: PLC0415  slow to import

    class QuietHandler(MotoRequestHandler):  # type: ignore[misc]  # moto is untyped
        """Writes no line for each request: `api_calls` has them."""

        disable_nagle_algorithm = True

        def log(self, *_: object) -> None:
            """Stay silent."""

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    return server


def _forget() -> None:
    from moto.core.base_backend import BackendDict  # noqa: PLC0415  slow to import

    BackendDict.reset()
