"""Each delivery mode, login and manner of purging joins what it needs."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from keyturn import errors, wiring
from keyturn.adapters.kubernetes.secrets import KubernetesExternalSecret, KubernetesSecret
from keyturn.adapters.kubernetes.workloads import KubernetesCluster
from keyturn.adapters.redis import credentials as redis_credentials
from keyturn.adapters.redis import sessions
from keyturn.delivery import external_secrets, kubernetes_secret, strategy, vault, vault_operator
from keyturn.sessions.store import PACES
from tests.conftest import ARN
from tests.project import environment

Wire = Callable[..., None]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Give this process a function's environment, with changes."""

    def wire(function: str, **changes: str) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        for name, value in {**environment(function), **changes}.items():
            monkeypatch.setenv(name, value)

    return wire


def test_mode_kubernetes_secret_writes_the_secret_that_is_named(wire: Wire) -> None:
    wire("deliver_key", KUBERNETES_SECRET="the-key", NAMESPACE="prod")
    delivery = wiring.deliver_key().delivery
    assert isinstance(delivery, kubernetes_secret.KubernetesSecretDelivery)
    assert isinstance(delivery.target, KubernetesSecret)
    assert delivery.target.name == "Kubernetes Secret prod/the-key"


def test_mode_external_secrets_asks_the_external_secret_that_is_named(wire: Wire) -> None:
    named = {"EXTERNAL_SECRET": "vault-key", "KUBERNETES_SECRET": "the-key", "NAMESPACE": "prod"}
    wire("deliver_key", DELIVERY_MODE="external-secrets", **named)
    delivery = wiring.deliver_key().delivery
    assert isinstance(delivery, external_secrets.ExternalSecretsDelivery)
    assert isinstance(delivery.operator, KubernetesExternalSecret)
    assert delivery.operator.name == "ExternalSecret prod/vault-key"
    assert delivery.target.name == "Kubernetes Secret prod/the-key"
    assert delivery.secret_name == "the-key"


def test_mode_none_has_nothing_to_deliver(wire: Wire) -> None:
    wire("deliver_key", DELIVERY_MODE="none")
    assert isinstance(wiring.deliver_key().delivery, strategy.NoDelivery)


VAULT = {
    "DELIVERY_MODE": "vault",
    "VAULT_ADDRESS": "https://vault.test:8200",
    "VAULT_PATH": "trading-platform/web-console",
    "VAULT_ROLE": "keyturn",
}


def test_mode_vault_writes_the_secret_that_is_named_and_asks_no_operator(wire: Wire) -> None:
    wire("deliver_key", **VAULT, VAULT_NAMESPACE="team/")
    delivery = wiring.deliver_key().delivery
    assert isinstance(delivery, vault.VaultDelivery)
    assert delivery.secret.name == "Vault team/secret/trading-platform/web-console"


def test_where_a_static_secret_is_named_its_operator_brings_the_key_on(wire: Wire) -> None:
    named = {"VAULT_STATIC_SECRET": "web-console", "KUBERNETES_SECRET": "the-key"}
    wire("deliver_key", **VAULT, **named, NAMESPACE="prod")
    delivery = wiring.deliver_key().delivery
    assert isinstance(delivery, vault_operator.VaultOperatorDelivery)
    assert delivery.operator.name == "VaultStaticSecret prod/web-console"
    assert delivery.target.name == "Kubernetes Secret prod/the-key"
    assert delivery.source == vault_operator.Source(
        "secret", "trading-platform/web-console", "", "the-key"
    )


def test_a_vault_that_is_not_named_is_told_at_init(wire: Wire) -> None:
    wire("deliver_key", **{**VAULT, "VAULT_ADDRESS": ""})
    with pytest.raises(errors.SettingsInvalid, match="VAULT_ADDRESS is missing"):
        wiring.deliver_key()


@pytest.mark.parametrize(
    ("mode", "delivery"),
    [
        ("kubernetes-secret", kubernetes_secret.KubernetesSecretDelivery),
        ("external-secrets", external_secrets.ExternalSecretsDelivery),
        ("vault", vault.VaultDelivery),
        ("none", strategy.NoDelivery),
    ],
)
def test_a_delivery_is_checked_by_the_way_that_will_deliver(
    mode: str, delivery: type, wire: Wire
) -> None:
    wire("deliver_key", **{**VAULT, "DELIVERY_MODE": mode}, EXTERNAL_SECRET="session-key")
    *_, last = wiring.deliver_key().checks
    assert type(cast("Any", last).__self__) is delivery


def test_an_external_secret_that_is_not_named_is_told_at_init(wire: Wire) -> None:
    wire("deliver_key", DELIVERY_MODE="external-secrets", EXTERNAL_SECRET="")
    with pytest.raises(errors.SettingsInvalid, match="EXTERNAL_SECRET is missing"):
        wiring.deliver_key()


def test_a_function_that_asks_no_operator_needs_no_external_secret(wire: Wire) -> None:
    wire("restart_service", DELIVERY_MODE="external-secrets")
    assert wiring.restart_service().settings.reads_kubernetes_secret


def test_the_logs_of_crashed_pods_come_from_the_cluster_that_is_restarted(wire: Wire) -> None:
    wire("check_rollout")
    joined = wiring.check_rollout()
    assert isinstance(joined.cluster, KubernetesCluster)
    assert joined.logs is cast("Any", joined.cluster)


def test_everyone_who_is_configured_is_told_and_nobody_else(wire: Wire) -> None:
    wire("finish_rotation", SLACK_WEBHOOK_SECRET=ARN)
    told = wiring.finish_rotation().notifications
    assert [channel.name for channel in told.channels] == ["topic", "bus", "slack"]
    assert told.stack == "keyturn in account 123456789012, eu-central-1"
    wire("finish_rotation", TOPIC_ARN="", EVENT_BUS="", SLACK_WEBHOOK_SECRET="")
    assert wiring.finish_rotation().notifications.channels == []


LOGINS: dict[str, dict[str, str]] = {
    "none": {},
    "password": {"REDIS_PASSWORD_SECRET": ARN, "REDIS_USER": "keyturn"},
    "iam": {"REDIS_CACHE_NAME": "sessions", "REDIS_USER": "keyturn"},
}
PROVIDERS = {
    "none": type(None),
    "password": redis_credentials.StoredPassword,
    "iam": redis_credentials.ElastiCacheToken,
}


@pytest.mark.parametrize("function", ["begin_rotation", "purge_sessions"])
@pytest.mark.parametrize("authentication", PROVIDERS)
def test_redis_is_logged_in_to_as_is_configured(
    authentication: str, function: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire(function, REDIS_AUTHENTICATION=authentication, **LOGINS[authentication])
    opened = []

    class Opened(sessions.RedisSessions):
        def __init__(self, settings: Any, credentials: Any, authority: Any) -> None:
            super().__init__(settings, credentials, authority)
            opened.append((settings.redis_authentication, type(credentials)))

    monkeypatch.setattr(sessions, "RedisSessions", Opened)
    join: dict[str, Callable[[], object]] = {
        "begin_rotation": wiring.begin_rotation,
        "purge_sessions": wiring.purge_sessions,
    }
    join[function]()
    assert opened == [(authentication, PROVIDERS[authentication])]


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("sessions-ab12cd.serverless.euc1.cache.amazonaws.com", True),
        ("master.sessions.ab12cd.euc1.cache.amazonaws.com", False),
    ],
)
def test_a_token_names_the_type_of_the_cache_that_the_host_is(
    host: str, named: bool, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a key")
    wire("purge_sessions", REDIS_HOST=host, REDIS_AUTHENTICATION="iam", **LOGINS["iam"])
    store = cast("Any", wiring.purge_sessions().sessions)
    _, token = store._credentials.get_credentials()
    assert ("ResourceType=ServerlessCache" in token) is named


@pytest.mark.parametrize("function", ["begin_rotation", "purge_sessions"])
def test_a_login_that_lacks_something_is_told_at_init(function: str, wire: Wire) -> None:
    wire(function, REDIS_AUTHENTICATION="password", REDIS_PASSWORD_SECRET="")
    join: dict[str, Callable[[], object]] = {
        "begin_rotation": wiring.begin_rotation,
        "purge_sessions": wiring.purge_sessions,
    }
    with pytest.raises(errors.SettingsInvalid, match="REDIS_PASSWORD_SECRET is missing"):
        join[function]()


@pytest.mark.parametrize("mode", ["scan", "flush"])
@pytest.mark.parametrize("pace", PACES)
def test_a_purge_has_the_mode_and_the_pace_that_are_configured(
    pace: str, mode: str, wire: Wire
) -> None:
    wire("purge_sessions", PURGE_MODE=mode, PURGE_PACE=pace)
    options = wiring.purge_sessions().options
    assert (options.pace, options.flush) == (PACES[pace], mode == "flush")
    wire("begin_rotation", PURGE_PACE=pace)
    assert wiring.begin_rotation().pace == PACES[pace]


@pytest.mark.parametrize("mode", ["scan", "flush"])
def test_what_is_checked_of_redis_is_the_mode(mode: str, wire: Wire) -> None:
    wire("purge_sessions", PURGE_MODE=mode)
    *_, last = wiring.purge_sessions().checks
    assert cast("Any", last).keywords == {"flush": mode == "flush"}
