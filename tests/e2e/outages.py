"""What goes wrong around a rotation: each is a `with` block that breaks a thing and mends it."""

import base64
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import redis

from keyturn.secret import key
from local import console
from local.cluster.resources import SECRETS, SERVICES, Json
from local.redis_server import HOST
from tests.e2e.interruptions import PREFLIGHT
from tests.e2e.site import Site

Outage = Callable[[Site], AbstractContextManager[None]]
CONSOLE, AUTH = console.REPLICAS


@contextlib.contextmanager
def during(
    site: Site, function: str, operation: str, outage: Outage, *, until_the_turn: bool = False
) -> Iterator[None]:
    """Break something when a function makes a call.

    It is mended at the end of the block, or already when the run turns back.
    """
    with contextlib.ExitStack() as broken:

        def act() -> None:
            broken.enter_context(outage(site))

        site.interruptions.before(function, operation, act)
        if until_the_turn:
            site.interruptions.before("RestorePreviousKey", "DescribeSecret", broken.close)
        yield


@contextlib.contextmanager
def redis_down(site: Site) -> Iterator[None]:
    """Let Redis listen elsewhere and end its connections: nobody reaches it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        elsewhere = probe.getsockname()[1]
    with site.stack.redis.client() as client:
        client.config_set("port", elsewhere)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    try:
        yield
    finally:
        with redis.Redis(HOST, elsewhere) as client:
            client.config_set("port", site.stack.redis.port)


@contextlib.contextmanager
def redis_refuses_scans(site: Site) -> Iterator[None]:
    """Take the permission to scan from everybody who is connected."""
    with site.stack.redis.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-scan")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+scan")


@contextlib.contextmanager
def cluster_silent(site: Site) -> Iterator[None]:
    """Let the API server drop what is asked of the delivered Secret before a rotation."""
    site.interruptions.refuse(PREFLIGHT, "get secrets", times=float("inf"))
    try:
        yield
    finally:
        site.interruptions.clear()


@contextlib.contextmanager
def paused(site: Site) -> Iterator[None]:
    """Pause a Deployment."""
    site.patch(CONSOLE, {"paused": True})
    try:
        yield
    finally:
        site.patch(CONSOLE, {"paused": False})


@contextlib.contextmanager
def scaled_to_zero(site: Site) -> Iterator[None]:
    """Scale a Deployment to zero, and see its pods go."""
    site.patch(AUTH, {"replicas": 0})
    site.stack.wait(lambda: not site.stack.pods(AUTH), f"{AUTH} has no pod")
    try:
        yield
    finally:
        site.patch(AUTH, {"replicas": console.REPLICAS[AUTH]})


@contextlib.contextmanager
def key_not_referred_to(site: Site) -> Iterator[None]:
    """Let a Deployment read its key from another Secret, which does not exist."""
    reference = {"secretKeyRef": {"name": console.KUBERNETES_SECRET, "key": key.FIELD}}
    elsewhere = {"secretKeyRef": {"name": "session-key-of-another", "key": key.FIELD}}
    _refer(site, elsewhere)
    surge = console.REPLICAS[AUTH] + 1
    site.stack.wait(lambda: len(site.stack.pods(AUTH)) == surge, "its rollout is stuck")
    try:
        yield
    finally:
        _refer(site, reference)


def _refer(site: Site, source: Json) -> None:
    site.patch_container(AUTH, {"env": [{"name": key.FIELD, "valueFrom": source}]})


@contextlib.contextmanager
def kubernetes_secret_missing(site: Site) -> Iterator[None]:
    """Delete the Kubernetes Secret."""
    admin = site.stack.cluster.admin
    admin.delete(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)
    try:
        yield
    finally:
        current = key.parse_document(json.dumps(site.document())).key
        site.stack.cluster.apply(console.secret(current))


@contextlib.contextmanager
def no_pod_behind_a_service(site: Site) -> Iterator[None]:
    """Let a Service select no pod: its health URL answers 503."""
    _select(site, {"app": "nothing"})
    url = f"{site.stack.urls[AUTH]}/healthz"
    site.stack.wait(lambda: site.status(url) == 503, f"{url} answers 503")
    try:
        yield
    finally:
        _select(site, {"app": AUTH})
        site.stack.wait(lambda: site.status(url) == 200, f"{url} answers 200")


@contextlib.contextmanager
def login_broken(site: Site) -> Iterator[None]:
    """Let the login's Service select the console's pods: healthy, but they know no login."""
    url = f"{site.stack.urls[AUTH]}/login"
    _select(site, {"app": CONSOLE})
    site.stack.wait(lambda: site.status(url) == 404, f"{url} answers 404")
    try:
        yield
    finally:
        _select(site, {"app": AUTH})
        site.stack.wait(lambda: site.status(url) == 302, f"{url} answers 302")


def _select(site: Site, selector: Json) -> None:
    spec = {"spec": {"selector": selector}}
    site.stack.cluster.admin.patch(SERVICES, console.NAMESPACE, AUTH, spec)


@contextlib.contextmanager
def rollback_to(site: Site, version: str) -> Iterator[None]:
    """Promote a version again afterwards, as a person would who made a mistake."""
    try:
        yield
    finally:
        site.stack.cloud.client("secretsmanager").update_secret_version_stage(
            SecretId=site.stack.secret_arn,
            VersionStage="AWSCURRENT",
            MoveToVersionId=version,
            RemoveFromVersionId=site.current(),
        )


def current_value(make: Callable[[], str]) -> Outage:
    """Make what `make` returns the current value, until someone puts the old one back."""

    @contextlib.contextmanager
    def outage(site: Site) -> Iterator[None]:
        good = json.dumps(site.document())
        with site.unwatched():
            site.put_value(make())
            try:
                yield
            finally:
                site.put_value(good)

    return outage


def with_key(text: Callable[[], str]) -> Outage:
    """Make a document with this text as its key the current value."""
    return current_value(lambda: json.dumps({key.FIELD: text()}))


def not_canonical() -> str:
    """Base64 of 32 bytes whose last character carries a bit that nothing reads."""
    text = base64.b64encode(bytes(31) + b"\x01").decode()
    return f"{text[:42]}F="
