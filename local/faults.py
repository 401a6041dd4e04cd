"""What can go wrong in the cluster, on order: `make demo FAULT=bad-image`.

Each fault breaks one real thing at the moment when it hurts, and names the error that the rotation
has to stop with. What is true afterwards is looked up, as after a rotation that succeeds.
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
from keyturn.record import STEPS
from local import console
from local.account import Claim
from local.cluster.resources import DEPLOYMENTS, SECRETS
from local.follow import Ended
from local.stack import ROOT, LocalStack
from local.users import can_open_page

SERVICE = "web-console"
RBAC = ROOT / "kubernetes" / "rbac.yaml"
NARROWED_RBAC = Path("out") / "demo" / "rbac.yaml"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: what, when, and the error that the rotation stops with.

    `at` is the state on whose entering it happens, or None for before the rotation starts: then the
    rotation has to stop before anything has changed. `options` are the stack's from the start.
    """

    says: str
    error: str
    at: str | None
    happen: Callable[[LocalStack], None]
    options: Callable[[], Mapping[str, Any]] = field(default=dict)


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


def take_account(stack: LocalStack, fault: Fault, before: Before, ended: Ended) -> list[Claim]:
    """Look up that the rotation stopped as it has to, and that what it says is so."""
    stopped = Claim(f"the rotation stopped with {ended.error}", ended.error == fault.error)
    return [stopped, *(_run_failed if fault.at else _nothing_changed)(stack, before)]


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


def _run_failed(stack: LocalStack, before: Before) -> list[Claim]:
    current = _current(stack.labels())
    record = stack.record(current)
    done = [step["name"] for step in record["steps"]]
    first = next((name for name in STEPS if name not in done), "nothing")
    return [
        Claim(f"AWSCURRENT is the new version, {current}", current != _current(before.labels)),
        Claim(
            f"the record says: failed at {record['failure']['step']}", record["outcome"] == "failed"
        ),
        Claim(f"what came before is done: {', '.join(done)}", record["failure"]["step"] == first),
        Claim("no session was ended", record["sessions"]["deleted"] is None),
    ]


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
        lambda: {"parameters": {"RolloutSeconds": "30"}},
    ),
    "access-denied": Fault(
        "The functions may not restart Deployments.",
        "AccessDenied",
        None,
        _nothing,
        _without_patch,
    ),
}
