"""Every look at a network ends, whatever is at the other side, and reads no more than it may.

Each adapter looks at each hostile server, over a real socket. A socket's time-out alone ends none
of these looks: a server that sends a byte now and then is never late.
"""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters import deadline, http, slack
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.aws import notifications
from keyturn.adapters.aws.s3_records import S3Records
from keyturn.adapters.aws.secrets_manager import SecretsManager
from keyturn.adapters.aws.step_functions import StepFunctionsRuns
from keyturn.adapters.kubernetes import api as kubernetes_api
from keyturn.adapters.kubernetes.api import KubernetesApi
from keyturn.adapters.redis import connection as redis_connection
from keyturn.adapters.redis.credentials import StoredPassword
from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.adapters.vault import connection as vault_connection
from keyturn.adapters.vault.kv_secret import KvSecret
from keyturn.reporting.notifications import Message
from keyturn.settings.loading import ClusterSettings
from keyturn.settings.types import SecretArn, Url, VaultAuthentication
from keyturn.validation.endpoints import Answer
from local.cluster.certificates import CertificateAuthority, server_context
from tests.choice import cases
from tests.conftest import ARN, NEW
from tests.contract import vault_secret
from tests.contract.hostile_server import MANNERS, HostileServer, Language
from tests.contract.session_stores import settings_of

SECONDS = 0.5
# What a busy machine may take besides. Without a deadline a look has no end at all.
PATIENCE_SECONDS = 15.0
GROWTH_BYTES = 128 * 1024 * 1024
MESSAGE = Message("Kind", "Subject", "It is so.", {"When": "now"}, "Run:", {})
AUTHORITY = CertificateAuthority("hostile")
TLS = server_context(AUTHORITY.issue("hostile"))
BOMB = gzip.compress(bytes(512 * 1024 * 1024), compresslevel=1)


@dataclass(frozen=True)
class Look:
    """One adapter's look at what listens on a port, and how it fails."""

    error: type[errors.KeyturnError]
    at: Callable[[int], object]
    language: Language = "http"
    tls: bool = False
    takes_any_body: bool = False
    """A status is all that is wanted: an answer that is long enough is good."""


def _vault(scheme: str) -> Callable[[int], object]:
    def look(port: int) -> object:
        secret = KvSecret(
            vault_secret.settings(
                f"{scheme}://127.0.0.1:{port}",
                vault_authentication=VaultAuthentication("token"),
            ),
            lambda: AUTHORITY.pem,
        )
        secret._login = _Token()
        return secret.read()

    return look


class _Token:
    def log_in(self, client: Any) -> None:
        client.token = "s.token"


def _kubernetes(port: int) -> object:
    where = ("laptop", Url(f"https://127.0.0.1:{port}"), "web")
    api = KubernetesApi(ClusterSettings(SecretArn(ARN), *where), lambda: AUTHORITY.pem)
    return api.get("/api/v1/namespaces/web/pods")


def _redis(port: int, *, tls: bool) -> object:
    settings = settings_of("127.0.0.1", port, redis_tls=tls)
    return RedisSessions(settings, None, lambda: AUTHORITY.pem).primaries()


def _aws(scheme: str, look: Callable[[], object]) -> Callable[[int], object]:
    def at(port: int) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"{scheme}://127.0.0.1:{port}")
            return look()

    return at


def _slack(port: int) -> object:
    channel = slack.Slack(ARN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "_url", lambda: f"http://127.0.0.1:{port}/services/x")
        channel.send(MESSAGE)
        return None


LOOKS = {
    "health": Look(
        errors.ServiceUnhealthy,
        lambda port: http.UrllibWeb().look(f"http://127.0.0.1:{port}/healthz"),
        takes_any_body=True,
    ),
    "health-tls": Look(
        errors.ServiceUnhealthy,
        lambda port: http.UrllibWeb().look(f"https://127.0.0.1:{port}/healthz"),
        tls=True,
        takes_any_body=True,
    ),
    "slack": Look(errors.NotificationFailed, _slack, takes_any_body=True),
    "kubernetes": Look(errors.ClusterUnavailable, _kubernetes, tls=True),
    "vault": Look(errors.VaultUnavailable, _vault("http")),
    "vault-tls": Look(errors.VaultUnavailable, _vault("https"), tls=True),
    "redis": Look(
        errors.SessionStoreUnavailable, lambda port: _redis(port, tls=False), language="resp"
    ),
    "redis-tls": Look(
        errors.SessionStoreUnavailable,
        lambda port: _redis(port, tls=True),
        language="resp",
        tls=True,
    ),
    "secrets-manager": Look(
        errors.SecretsManagerUnavailable, _aws("http", lambda: SecretsManager(ARN).labels())
    ),
    "secrets-manager-tls": Look(
        errors.SecretsManagerUnavailable,
        _aws("https", lambda: SecretsManager(ARN).labels()),
        tls=True,
    ),
    "stored-password": Look(
        errors.SecretsManagerUnavailable,
        _aws("http", lambda: StoredPassword(ARN, "").get_credentials()),
    ),
    "step-functions": Look(
        errors.StateMachineUnavailable,
        _aws("http", lambda: StepFunctionsRuns("arn:aws:states:::x").executions()),
    ),
    "s3": Look(
        errors.RecordNotStored,
        _aws("http", lambda: S3Records("records", "123456789012").keep(NEW, "{}")),
    ),
    "topic": Look(
        errors.NotificationFailed,
        _aws("http", lambda: notifications.SnsTopic("arn:aws:sns:::x").send(MESSAGE)),
    ),
    "bus": Look(
        errors.NotificationFailed,
        _aws("http", lambda: notifications.EventBridgeBus("default").send(MESSAGE)),
    ),
}
CASES = [(look, manner) for look in LOOKS for manner in MANNERS]
# Each look at two manners at least, in turns: so each manner is met in each language too.
ALWAYS = {case for number, case in enumerate(CASES) if number % 5 in {0, 2}}


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Deadlines of a moment, and what AWS's client wants to know."""
    for module in (
        aws_client,
        http,
        kubernetes_api,
        notifications,
        redis_connection,
        slack,
        vault_connection,
    ):
        monkeypatch.setattr(module, "SECONDS", SECONDS)
    monkeypatch.setattr(slack, "TRY_SECONDS", SECONDS)
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CA_BUNDLE": str(tmp_path / "ca.pem"),
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
    }.items():
        monkeypatch.setenv(name, value)
    threads = {*threading.enumerate()}
    yield
    end = time.monotonic() + PATIENCE_SECONDS
    while left := {*threading.enumerate()} - threads:
        assert time.monotonic() < end, f"a look has left {left} behind"
        next(iter(left)).join(0.1)


def outcome(look: Callable[[], object]) -> object:
    """What a look returns or raises; nothing where it has not ended in time."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(look())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at below
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert ended, f"the look has not ended after {PATIENCE_SECONDS:g} s"
    return ended[0]


@pytest.mark.parametrize("case", cases(CASES, ALWAYS), ids="-".join)
def test_a_look_at_a_hostile_server_ends_in_time_with_a_passing_error(
    case: tuple[str, str],
) -> None:
    name, manner = case
    look = LOOKS[name]
    tls = TLS if look.tls else None
    with HostileServer(manner, look.language, tls) as server:
        ended = outcome(lambda: look.at(server.port))
        if look.takes_any_body and manner == "floods":
            assert isinstance(ended, Answer | None)
            return
        assert type(ended) is look.error, ended


def peak_growth(work: Callable[[], object]) -> int:
    """By how many bytes the process's resident memory has been larger than before."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("The peak of a process's memory is read from /proc.")

    def field(name: str) -> int:
        (line,) = (one for one in status.read_text().splitlines() if one.startswith(name))
        return int(line.split()[1]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    before = field("VmRSS")
    work()
    return field("VmHWM") - before


@pytest.mark.parametrize("name", LOOKS)
def test_gigabytes_are_not_read_into_memory_however_long_a_look_may_take(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        aws_client,
        http,
        kubernetes_api,
        notifications,
        redis_connection,
        slack,
        vault_connection,
    ):
        monkeypatch.setattr(module, "SECONDS", PATIENCE_SECONDS)
    look = LOOKS[name]
    with HostileServer("floods", look.language, TLS if look.tls else None) as server:
        growth = peak_growth(lambda: outcome(lambda: look.at(server.port)))
        assert server.sent > 0
    assert growth < GROWTH_BYTES


def answer(body: bytes, *headers: bytes) -> bytes:
    """A whole answer, after which the connection stays open."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def test_a_connection_that_was_good_before_has_a_deadline_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with HostileServer("drips-headers", good=answer(b"{}")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        secret = SecretsManager(ARN)
        assert secret.labels() == {}
        assert type(outcome(secret.labels)) is errors.SecretsManagerUnavailable


@pytest.mark.parametrize("name", LOOKS)
def test_a_small_answer_that_is_huge_when_it_is_unpacked_is_not_unpacked(name: str) -> None:
    look = LOOKS[name]
    if look.language != "http":
        pytest.skip("Redis's protocol packs nothing.")
    good = answer(BOMB, b"Content-Encoding: gzip", b"Content-Type: application/json")
    with HostileServer("stalls", good=good, tls=TLS if look.tls else None) as server:
        assert peak_growth(lambda: outcome(lambda: look.at(server.port))) < GROWTH_BYTES


def test_a_look_within_a_look_ends_no_later_than_that_one() -> None:
    over = threading.Event()

    def inner() -> None:
        deadline.within(60, 1, over.wait)

    ended = outcome(lambda: deadline.within(SECONDS, 1, inner))
    over.set()
    assert isinstance(ended, deadline.DeadlineExpired)


def test_what_a_look_raises_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        deadline.within(60, 1, lambda: 1 // 0)
