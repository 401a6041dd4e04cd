"""Every external call of the functions, by name, and the faults that a test puts in their way.

A fault happens once. The call's fate says what becomes of it:
- BEFORE: it does not arrive;
- AFTER: it is carried out, and its answer does not come back;
- RESENT: the same, and the AWS SDK sends it again by itself, on the spot.

A lost answer of AWS's is a gateway's page in its place: the SDK does not try again after a 400, and
does after a 503. The cluster, Redis and the services end the connection.
"""

import json
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from local import api_calls
from local.cloud import INTERPRETER_ACCESS_KEY, access_key_of
from local.cluster import Cluster
from local.cluster.faults import DropConnectionError
from local.cluster.rbac import User
from local.cluster.requests import Request
from tests.e2e.interruptions import Call, session_token
from tests.e2e.site import Site


class Fate(Enum):
    """What becomes of a call."""

    BEFORE = "before it took effect"
    AFTER = "after it took effect"
    RESENT = "after it took effect, and sent again"


@dataclass(frozen=True)
class Fault:
    """A call and its fate."""

    call: Call
    fate: Fate

    def __str__(self) -> str:
        return f"{self.call.function}: {self.call.operation} fails {self.fate.value}"


class CallFaults:
    """Hears every call of the functions; `calls` are those since `listen`, each named once.

    A function that serves two states goes by the state, such as ConfirmDelivery.
    """

    def __init__(self, site: Site, patches: pytest.MonkeyPatch) -> None:
        self._site = site
        self._stack = site.stack
        self._lock = threading.Lock()
        self._state = ""
        self._states: dict[str, str] = {}
        self._ordered: set[Fault] = set()
        self._request = threading.local()
        self.calls: list[Call] = []
        assert isinstance(site.stack.cluster, Cluster)  # a real API server cannot be interrupted
        api = site.stack.cluster._api
        self._route, self._admit, self._after = site.stack.cloud._route, api.admit, api.faults.after
        patches.setattr(site.stack.cloud, "_route", self._route_aws)
        patches.setattr(api, "admit", self._admit_to_cluster)
        patches.setattr(api.faults, "after", self._after_the_cluster)

    def listen(self) -> None:
        """Hear the calls anew from now on."""
        self.calls, self._state = [], ""

    def order(self, *faults: Fault) -> None:
        """Let each fault of the next rotation happen to the first call of its name."""
        self._ordered, self._state = set(faults), ""

    def withdraw(self) -> list[str]:
        """Let no more faults happen; returns those that did not."""
        left, self._ordered = self._ordered, set()
        return sorted(map(str, left))

    def fate(self, operation: str) -> Fate | None:
        """The fate of a call that does not show its caller: the last state, else the last step.

        Secrets Manager may repeat its steps while the state machine is at work already.
        """
        at_work = self._state or self._site.interruptions._step
        return self._fate_of(Call(at_work, operation))

    def _fate_of(self, call: Call) -> Fate | None:
        with self._lock:
            if call not in self.calls:
                self.calls.append(call)
            fault = next((one for one in self._ordered if one.call == call), None)
            if fault:
                self._ordered.remove(fault)
        return fault.fate if fault else None

    def _caller(self, logical_id: str, session_token: str) -> str:
        function = self._site.interruptions.caller(logical_id, session_token)
        return self._states.get(function, function)

    def _route_aws(self, environ: dict[str, Any], body: bytes) -> Any:
        found = api_calls.describe(environ, body)
        if found.operation == "Invoke" and found.access_key_id == INTERPRETER_ACCESS_KEY:
            self._hear_of_state(str(found.resource), body)
        for logical_id, name in self._stack.deployment.functions.items():
            if found.access_key_id == access_key_of(name):
                caller = self._caller(logical_id, environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""))
                fate = self._fate_of(Call(caller, found.operation))
                break
        else:
            fate = None
        if fate is None:
            return self._route(environ, body)
        if fate is not Fate.BEFORE:
            run_wsgi_app(self._route(environ, body), environ, buffered=True)
        status = 503 if fate is Fate.RESENT else 400
        return Response("<html>Bad gateway", status, content_type="text/html")

    def _hear_of_state(self, function_arn: str, body: bytes) -> None:
        """Learn from its input which state is about to call its function."""
        names = {name: logical for logical, name in self._stack.deployment.functions.items()}
        function = names[function_arn.rpartition(":")[2]].removesuffix("Function")
        ledger = json.loads(body)
        if "question" in ledger:
            return
        state = function
        if function == "DeliverKey" and ledger["action"] == "confirm":
            state = "ConfirmDelivery"
        if function == "DeliverKey" and ledger["action"] == "mark-exposed":
            state = "MarkExposed"
        if function == "PurgeSessions" and "deliver_key" not in ledger:
            state = "PurgeBeforeRestart"
        self._states[function] = self._state = state

    def _admit_to_cluster(self, authorization: str, request: Request) -> User:
        user = self._admit(authorization, request)
        self._request.is_lost = False
        for logical_id in self._stack.deployment.functions if "role" in user.name else ():
            if user.name == self._stack.deployment.resources[logical_id].properties["Role"]:
                dry = " (dry run)" if request.dry_run else ""
                operation = f"{request.verb} {request.qualified_resource}{dry}"
                caller = self._caller(logical_id, session_token(authorization))
                fate = self._fate_of(Call(caller, operation))
                if fate is Fate.BEFORE:
                    raise DropConnectionError
                self._request.is_lost = fate is not None
        return user

    def _after_the_cluster(self, request: Request) -> None:
        self._after(request)
        if getattr(self._request, "is_lost", False):
            raise DropConnectionError
