"""Comes between the functions and what they call: AWS's APIs and the cluster's.

Every call of a function is seen before it is carried out. A test says which call it waits for and
what happens then: a process dies, a colleague edits a Deployment, or the call is refused. So a
function is interrupted at a known point of its work, and no test depends on time.
"""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.wrappers import Response

from local import api_calls
from local.cloud import access_key_of
from local.cluster import Cluster, StatusError
from local.cluster.faults import DropConnectionError
from local.cluster.rbac import User
from local.cluster.requests import Request
from local.stack import LocalStack

NOT_AWS = "not AWS"
PREFLIGHT = "Preflight"
Act = Callable[[], None]


@dataclass(frozen=True)
class Call:
    """A function's call: 'PutSecretValue' to AWS, 'patch secrets' to the cluster.

    The functions go by their state's name; the rotation function by its step's, 'createSecret';
    every function that is asked whether it could do its part goes by 'Preflight'.
    """

    function: str
    operation: str


@dataclass
class _Order:
    call: Call
    act: Callable[[str], None] | None
    refusal: str
    left: float


class Interruptions:
    """Carries out the tests' orders, on the threads that serve the calls."""

    def __init__(self, stack: LocalStack, patches: pytest.MonkeyPatch) -> None:
        self.denied: list[Call] = []
        self._stack = stack
        self._step = ""
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        assert isinstance(stack.cluster, Cluster)  # a real API server cannot be interrupted
        api = stack.cluster._api
        self._route, self._admit = stack.cloud._route, api.admit
        patches.setattr(stack.cloud, "_route", self._route_aws)
        patches.setattr(api, "admit", self._admit_to_cluster)
        stack.secrets_manager.on_step(self._on_step)

    def before(self, function: str, operation: str, act: Act, *, times: float = 1) -> None:
        """Do something when a call comes, which is carried out afterwards."""
        with self._lock:
            self._orders.append(_Order(Call(function, operation), lambda _: act(), "", times))

    def refuse(
        self, function: str, operation: str, *, code: str = "dropped", times: float = 1
    ) -> None:
        """Do not carry the call out: AWS answers `code`, the cluster drops the connection."""
        with self._lock:
            self._orders.append(_Order(Call(function, operation), None, code, times))

    def kill(self, function: str, operation: str) -> None:
        """End the function's processes when the call comes: it is carried out, nobody hears it."""
        with self._lock:
            kill = self.kill_environments
            self._orders.append(_Order(Call(function, operation), kill, "", 1))

    def kill_environments(self, function: str) -> None:
        """End a function's processes, as Lambda may at any time (signal 9)."""
        name = self._stack.function_name(f"{self._function_of(function)}Function")
        for environment in self._stack.functions.environments(name):
            environment.kill()

    def clear(self) -> list[Call]:
        """Forget what has not happened; returns the calls that never came."""
        with self._lock:
            left, self._orders = self._orders, []
        return [order.call for order in left if order.left != float("inf")]

    @staticmethod
    def _function_of(name: str) -> str:
        return "RotateSecret" if name.endswith("Secret") else name

    def _on_step(
        self,
        secret_arn: str,
        version_id: str,
        step: str,
        state: str,
        seconds: float,
        error: str | None,
    ) -> None:
        if state == "started":
            self._step = step

    def caller(self, logical_id: str, session_token: str) -> str:
        """The name of who calls, from the function and the credentials of its environment."""
        function = logical_id.removesuffix("Function")
        if b'"question"' in self._stack.functions.payload_of(session_token):
            return PREFLIGHT
        return self._step if function == "RotateSecret" else function

    def _refusal_of(self, call: Call, function: str) -> str:
        """Carry out the first order for a call; returns how to refuse the call, '' to let it by."""
        with self._lock:
            order = next((one for one in self._orders if one.call == call), None)
            if order is None:
                return ""
            order.left -= 1
            if order.left <= 0:
                self._orders.remove(order)
        if order.act:
            order.act(function)
        return order.refusal

    def _route_aws(self, environ: dict[str, Any], body: bytes) -> Any:
        found = api_calls.describe(environ, body)
        for logical_id, name in self._stack.deployment.functions.items():
            if found.access_key_id == access_key_of(name):
                caller = self.caller(logical_id, environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""))
                function = logical_id.removesuffix("Function")
                if code := self._refusal_of(Call(caller, found.operation), function):
                    return _refusal(found.service, code, json_body="HTTP_X_AMZ_TARGET" in environ)
                break
        return self._route(environ, body)

    def _admit_to_cluster(self, authorization: str, request: Request) -> User:
        try:
            user = self._admit(authorization, request)
        except StatusError as error:
            if error.code in {401, 403}:
                self.denied.append(Call("?", f"{request.verb} {request.qualified_resource}"))
            raise
        for logical_id in self._stack.deployment.functions if "role" in user.name else ():
            if user.name == self._stack.deployment.resources[logical_id].properties["Role"]:
                dry = " (dry run)" if request.dry_run else ""
                operation = f"{request.verb} {request.qualified_resource}{dry}"
                caller = self.caller(logical_id, session_token(authorization))
                if self._refusal_of(Call(caller, operation), logical_id.removesuffix("Function")):
                    raise DropConnectionError
        return user


def session_token(authorization: str) -> str:
    """The session token in the bearer token of an EKS cluster, which is a signed URL."""
    encoded = authorization.partition("k8s-aws-v1.")[2]
    url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    return parse_qs(urlsplit(url).query).get("X-Amz-Security-Token", [""])[0]


def _refusal(service: str, code: str, *, json_body: bool) -> Response:
    """An error in the service's dialect; NOT_AWS is what a proxy in between answers."""
    if code == NOT_AWS:
        return Response("<html>Bad gateway", 400, content_type="text/html")
    if json_body:
        return Response(json.dumps({"__type": code, "message": "ordered by a test"}), 400)
    error = f"<Error><Code>{code}</Code><Message>ordered by a test</Message></Error>"
    whole = error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
    return Response(whole, 400, content_type="text/xml")
