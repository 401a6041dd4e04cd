"""What can go wrong, on order: `make demo FAULT=bad-image`, `make demo FAIL=rollout`.

Each fault breaks one real thing at the moment when it hurts, and names the error that the rotation
has to stop with and how the run ends: a scheduled run turns back where it can, an emergency never
does. What is true afterwards is looked up, as after a rotation that succeeds.
"""

import base64
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keyturn.key import FIELD
from local import console
from local.account import Claim
from local.artefacts import ROOT
from local.cluster.resources import DEPLOYMENTS, SECRETS, SERVICES
from local.follow import Ended
from local.stack import LocalStack
from local.users import can_open_page, log_in_once

SERVICE, LOGIN_SERVICE = "web-console", "auth-service"
RBAC = ROOT / "kubernetes" / "rbac.yaml"
NARROWED_RBAC = Path("out") / "demo" / "rbac.yaml"


@dataclass
class Fault:
    """One thing that goes wrong: what, when, and the error that the rotation stops with.

    `at` is the state on whose entering it happens, once, or None for before the rotation starts:
    then the rotation has to stop before anything has changed. `mend` happens when the run turns
    back, and `restored` says whether a scheduled run gets back. `options` are the stack's.
    """

    says: str
    error: str
    at: str | None
    happen: Callable[[LocalStack], None]
    mend: Callable[[LocalStack], None] | None = None
    restored: bool = True
    options: Callable[[], Mapping[str, Any]] = field(default=dict)
    happened: bool = False

    def reach(self, stack: LocalStack, state: str | None) -> str | None:
        """Do what is due on entering a state; returns what to say of it."""
        if state == self.at and not self.happened:
            self.happened = True
            self.happen(stack)
            return f"Fault: {self.says}"
        if state == "RestorePreviousKey" and self.mend:
            self.mend(stack)
            return "Fault: it is over."
        return None


@dataclass(frozen=True)
class Before:
    """How things were before the rotation."""

    labels: Mapping[str, list[str]]
    fingerprint: str
    pods: frozenset[str]
    cookie: str


def look(stack: LocalStack, cookie: str) -> Before:
    """How things are now; `cookie` is a session of a user who does nothing meanwhile."""
    return Before(stack.labels(), stack.delivered_fingerprint(), _pods(stack), cookie)


def take_account(
    stack: LocalStack, fault: Fault, mode: str, before: Before, ended: Ended
) -> list[Claim]:
    """Look up that the rotation ended as it has to, and that what it says is so."""
    stopped = Claim(f"the rotation stopped with {ended.error}", ended.error == fault.error)
    if fault.at is None:
        return [stopped, *_nothing_changed(stack, before)]
    if mode != "scheduled":
        return [stopped, *_went_on(stack, before)]
    return [stopped, *_turned_back(stack, before, restored=fault.restored)]


def _nothing_changed(stack: LocalStack, before: Before) -> list[Claim]:
    current = _current(before.labels)
    held, pods = stack.delivered_fingerprint(), _pods(stack)
    opens = can_open_page(stack.urls[SERVICE], before.cookie)
    return [
        Claim(f"AWSCURRENT is still {current}", _current(stack.labels()) == current),
        Claim(f"the Kubernetes Secret still holds key {held}", held == before.fingerprint),
        Claim(f"the same {len(pods)} pods run", pods == before.pods),
        Claim("an old session still opens the page", opens),
    ]


def _turned_back(stack: LocalStack, before: Before, *, restored: bool) -> list[Claim]:
    current = _current(before.labels)
    failed = next(version for version in stack.labels() if version not in before.labels)
    record, held = stack.record(failed), stack.delivered_fingerprint()
    claims = [
        Claim(f"AWSCURRENT is {current} again", _current(stack.labels()) == current),
        Claim(f"the Kubernetes Secret holds key {held} again", held == before.fingerprint),
    ]
    if not restored:
        stuck = record["restoreFailure"]
        says = f"the record says: {record['outcome']}, the way back stopped at {stuck['step']}"
        return [*claims, Claim(says, record["outcome"] == "failed")]
    return [
        *claims,
        Claim(
            f"the record says: {record['outcome']} after {record['failure']['step']}",
            record["outcome"] == "restored",
        ),
        _login_works(stack),
    ]


def _went_on(stack: LocalStack, before: Before) -> list[Claim]:
    labels, old = stack.labels(), _current(before.labels)
    current = _current(labels)
    record = stack.record(current)
    refused = not can_open_page(stack.urls[SERVICE], before.cookie)
    left, first = record["sessions"]["left"], record["sessions"]["endedFirst"]
    return [
        Claim(f"AWSCURRENT is the new version, {current}", current != old),
        Claim("the old version has no label: nobody goes back to it", not labels.get(old)),
        Claim(
            f"the record says: failed at {record['failure']['step']}", record["outcome"] == "failed"
        ),
        Claim(f"the sessions ended all the same: {first:,} first, {left} left", left == 0 < first),
        Claim("an old session is refused", refused),
    ]


def _login_works(stack: LocalStack) -> Claim:
    cookie = log_in_once(stack.urls[SERVICE])
    return Claim("a new login works", can_open_page(stack.urls[SERVICE], cookie))


def _current(labels: Mapping[str, list[str]]) -> str:
    return next(version for version, carried in labels.items() if "AWSCURRENT" in carried)


def _pods(stack: LocalStack) -> frozenset[str]:
    return frozenset(
        pod["metadata"]["uid"] for service in console.REPLICAS for pod in stack.pods(service)
    )


def _lose_image(stack: LocalStack) -> None:
    stack.images.discard(console.IMAGES[SERVICE])


def _pause(stack: LocalStack) -> None:
    stack.cluster.admin.patch(DEPLOYMENTS, console.NAMESPACE, SERVICE, {"spec": {"paused": True}})


def _find_image(stack: LocalStack) -> None:
    stack.images.add(console.IMAGES[SERVICE])


def _freeze_secret(stack: LocalStack) -> None:
    """Make the Secret immutable, as somebody might who means well."""
    stack.cluster.admin.patch(
        SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET, {"immutable": True}
    )


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
    short = base64.b64encode(base64.b64encode(secrets.token_bytes(16))).decode()
    spoilt = {"data": {FIELD: short}}
    stack.cluster.admin.patch(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET, spoilt)


def _stop_a_pod(stack: LocalStack) -> None:
    """Stop the process of one pod, which then cannot hear that it shall end."""
    running = stack.processes.running()
    child = next(child for child in running if child.name == f"container {SERVICE}")
    os.kill(child.pid, signal.SIGSTOP)


def _nothing(_stack: LocalStack) -> None:
    """The stack was made with the fault."""


def _without_patch() -> Mapping[str, Any]:
    """The product's RBAC but for the permission to restart Deployments."""
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    for rule in documents[0]["rules"]:
        if "deployments" in rule["resources"]:
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
}
# Those that every mode meets in its own way: `make demo FAIL=rollout MODE=emergency`.
FAILURES = {
    "delivery": Fault(
        "The Kubernetes Secret has been made immutable.",
        "DeliveryRefused",
        "BeginRotation",
        _freeze_secret,
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
