"""What can go wrong, on order: `make demo FAULT=bad-image`, `make demo FAIL=rollout`.

Each fault breaks one real thing at the moment when it hurts, and names the error that the rotation
has to stop with and how the run ends: a scheduled run rolls back where it can, an emergency never
does. What is true afterwards, `failure_checks` looks up. A fault without an error is one that a
rotation has to withstand: it succeeds, and what the fault claims besides is looked up as well.
"""

import asyncio
import base64
import json
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from keyturn.reporting.wording import count_of
from local import console, forged_run, hostile_checks, returning_key
from local.artefacts import ROOT
from local.checks import Claim
from local.cluster.resources import DEPLOYMENTS, SERVICES
from local.http_client import HttpClient
from local.key_sources import PLACES
from local.stack import LocalStack

SERVICE, LOGIN_SERVICE = "web-console", "auth-service"
RBAC = ROOT / "kubernetes" / "rbac.yaml"
NARROWED_RBAC = Path("out") / "demo" / "rbac.yaml"
STARTS = {"BeginRotation", "AnnounceEmergency"}  # a run enters one of them first, by its mode
HOSTILE_AGENT, HOSTILE_VISITS = "SESSION_ENCRYPTION_KEY must decode to 32 bytes", 20


@dataclass
class Fault:
    """One thing that goes wrong: what, when, and the error that the rotation stops with, if any.

    `at` is the state on whose entering it happens, once, or None for before the rotation starts:
    then the rotation has to stop before anything has changed. `mend` happens when the run turns
    back, or at `ends_at`, and `restored` says whether a scheduled run gets back. `options` are the
    stack's. `claims` are what has to be so after a rotation that withstood it, by its record.
    """

    says: str
    error: str | None
    at: str | None
    happen: Callable[[LocalStack], None]
    mend: Callable[[LocalStack], None] | None = None
    ends_at: str = "RestorePreviousKey"
    restored: bool = True
    options: Callable[[], Mapping[str, Any]] = field(default=dict)
    claims: Callable[[LocalStack, Mapping[str, Any]], list[Claim]] = lambda _stack, _record: []
    happened: bool = False

    def reach(self, stack: LocalStack, state: str | None) -> str | None:
        """Do what is due on entering a state; returns what to say of it."""
        if self._is_due(state) and not self.happened:
            self.happened = True
            self.happen(stack)
            return f"Fault: {self.says}"
        if state == self.ends_at and self.mend:
            self.mend(stack)
            return "Fault: it is over."
        return None

    def _is_due(self, state: str | None) -> bool:
        return state == self.at or (self.at in STARTS and state in STARTS)


def named(name: str, delivery: str) -> Fault | None:
    """A fault or a failure by its name, as it is with a delivery mode; None for no name."""
    found = {**FAULTS, **FAILURES}.get(name)
    if found and name == "delivery":
        says, error = PLACES[delivery].refusal
        return replace(found, says=says, error=error)
    return found


def _lose_image(stack: LocalStack) -> None:
    stack.images.discard(console.IMAGES[SERVICE])


def _pause(stack: LocalStack) -> None:
    stack.cluster.admin.patch(DEPLOYMENTS, console.NAMESPACE, SERVICE, {"spec": {"paused": True}})


def _find_image(stack: LocalStack) -> None:
    stack.images.add(console.IMAGES[SERVICE])


def _refuse_delivery(stack: LocalStack) -> None:
    stack.place.refuse()


def _misroute_login(stack: LocalStack) -> None:
    """Send what is for the auth service to the web console, which has no login."""
    _route(stack, SERVICE)


def _route_login(stack: LocalStack) -> None:
    _route(stack, LOGIN_SERVICE)


def _route(stack: LocalStack, pods_of: str) -> None:
    selecting = {"spec": {"selector": {"app": pods_of}}}
    stack.cluster.admin.patch(SERVICES, console.NAMESPACE, LOGIN_SERVICE, selecting)


def _spoil_key(stack: LocalStack) -> None:
    """Write a key of 16 bytes over the delivered one, as a stale GitOps tool might."""
    stack.place.write(base64.b64encode(secrets.token_bytes(16)).decode())


def _stop_a_pod(stack: LocalStack) -> None:
    """Stop the process of one pod, which then cannot hear that it shall end."""
    running = stack.processes.running()
    child = next(child for child in running if child.name == f"container {SERVICE}")
    os.kill(child.pid, signal.SIGSTOP)


def _visit_with_a_key_error(stack: LocalStack) -> None:
    """Visit the console with a User-Agent that is a key error, as anybody on the internet can.

    The visits come right before the logs are read: ValidateRotation waits for them.
    """

    async def visit() -> None:
        async with HttpClient() as http:
            for _ in range(HOSTILE_VISITS):
                await http.get(stack.urls[SERVICE], {"user-agent": HOSTILE_AGENT})

    def visit_first(payload: bytes) -> bool:
        if "question" in json.loads(payload):
            return False
        asyncio.run(visit())
        return True

    validating = stack.function_name("ValidateRotationFunction")
    stack.functions.before_invocations(validating, visit_first)


def _lines_are_counted(_stack: LocalStack, record: Mapping[str, Any]) -> list[Claim]:
    logs = record["validation"]["logs"]
    counted = logs["lines"].get("key-not-32-bytes", 0)
    lines = count_of(counted, "log line that mentions", "log lines that mention")
    pods = count_of(sum(one["pods"] for one in logs["pods"]), "pod that runs", "pods that run")
    return [
        Claim(
            f"the record counts {lines} a key error, and none decided",
            counted == HOSTILE_VISITS,
        ),
        Claim(
            f"the logs of all {pods} were read",
            bool(logs["complete"]),
        ),
    ]


def _nothing(_stack: LocalStack) -> None:
    """The stack was made with the fault."""


def _without_patch() -> Mapping[str, Any]:
    """The product's RBAC but for the permission to restart Deployments."""
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    for rule in (rule for document in documents for rule in document.get("rules", ())):
        if "deployments" in rule["resources"] and "patch" in rule["verbs"]:
            rule["verbs"].remove("patch")
    NARROWED_RBAC.parent.mkdir(parents=True, exist_ok=True)
    NARROWED_RBAC.write_text(yaml.safe_dump_all(documents))
    return {"rbac": NARROWED_RBAC}


FAULTS = {
    "bad-image": Fault(
        f"The image of {SERVICE} has vanished from its registry.",
        "RolloutFailed",
        "BeginRotation",
        _lose_image,
        restored=False,
    ),
    "paused": Fault(f"Deployment {SERVICE} is paused.", "ServicePaused", None, _pause),
    "key-crash": Fault(
        "Another tool writes a key of 16 bytes over the delivered one.",
        "KeyErrorsInLogs",
        "RestartServices",
        _spoil_key,
    ),
    "stuck-pod": Fault(
        f"One pod of {SERVICE} does not end.",
        "RolloutOverdue",
        "BeginRotation",
        _stop_a_pod,
        options=lambda: {"parameters": {"RolloutSeconds": "30"}},
    ),
    "access-denied": Fault(
        "The functions may not restart Deployments.",
        "AccessDenied",
        None,
        _nothing,
        options=_without_patch,
    ),
    "log-injection": Fault(
        f"A visitor writes a key error into the access logs of {SERVICE}, as its User-Agent.",
        None,
        "RestartServices",
        _visit_with_a_key_error,
        claims=_lines_are_counted,
    ),
    "hostile-checks": Fault(
        "Health URLs drip, the login hangs, and the topic and the bus are silent.",
        None,
        None,
        hostile_checks.begin,
        hostile_checks.end,
        ends_at="ConfirmDelivery",
        options=hostile_checks.options,
        claims=hostile_checks.claims,
    ),
    "forged-run": Fault(
        "Somebody starts an execution with the run's name before the promotion.",
        None,
        None,
        forged_run.take_the_name,
        claims=forged_run.claims,
    ),
    "old-key-put-back": Fault(
        "Once the run is over, a GitOps tool writes the old key back.",
        None,
        "FinishRotation",
        _nothing,
        claims=returning_key.come_back,
    ),
}
# Those that every mode meets in its own way: `make demo FAIL=rollout MODE=emergency`.
FAILURES = {
    "delivery": Fault(
        *PLACES["kubernetes-secret"].refusal,
        "BeginRotation",
        _refuse_delivery,
    ),
    "rollout": Fault(
        f"The registry does not have the image of {SERVICE}.",
        "RolloutFailed",
        "BeginRotation",
        _lose_image,
        _find_image,
    ),
    "validation": Fault(
        f"What is for {LOGIN_SERVICE} is sent to {SERVICE}, which knows no login.",
        "LoginBroken",
        "PurgeSessions",
        _misroute_login,
        _route_login,
    ),
}
