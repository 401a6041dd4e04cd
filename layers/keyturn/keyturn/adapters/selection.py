# ruff: noqa: PLC0415 - a function loads only the vendors that its settings select
"""The adapters that the settings select.

Each is imported where it is selected: a function loads only the vendors that it uses.
"""

from typing import TYPE_CHECKING

from keyturn.delivery import external_secrets, kubernetes_secret, strategy, vault, vault_operator
from keyturn.reporting.notifications import Notifications
from keyturn.sessions import store as session_store
from keyturn.settings.loading import (
    CalledSettings,
    ClusterSettings,
    DeliverKeySettings,
    NotificationSettings,
    SecretSettings,
    SessionSettings,
    TrustSettings,
)

if TYPE_CHECKING:
    from keyturn.adapters.aws.secrets_manager import SecretsManager
    from keyturn.adapters.aws.step_functions import StepFunctionsRuns
    from keyturn.adapters.certificate_authorities import StoredAuthorities
    from keyturn.adapters.kubernetes.api import KubernetesApi
    from keyturn.reporting.notifications import Channel
    from keyturn.settings.types import SecretArn


def executions(settings: CalledSettings) -> "StepFunctionsRuns":
    """The executions of the state machine, for a function that looks up its own call."""
    from keyturn.adapters.aws.step_functions import StepFunctionsRuns

    return StepFunctionsRuns(settings.state_machine_arn)


def secret(settings: SecretSettings) -> "SecretsManager":
    """The one secret."""
    from keyturn.adapters.aws.secrets_manager import SecretsManager

    return SecretsManager(settings.secret_arn)


def notifications(settings: NotificationSettings, secret_arn: "SecretArn") -> Notifications:
    """Every channel that is configured."""
    from keyturn.adapters.aws.notifications import EventBridgeBus, SnsTopic
    from keyturn.adapters.slack import Slack

    channels: list[Channel] = []
    if settings.topic_arn:
        channels.append(SnsTopic(settings.topic_arn))
    if settings.event_bus:
        channels.append(EventBridgeBus(settings.event_bus))
    if settings.slack_webhook_secret:
        channels.append(Slack(settings.slack_webhook_secret))
    return Notifications(channels, f"{settings.powertools_service_name} in {secret_arn.place}")


def sessions(settings: SessionSettings) -> session_store.SessionStore:
    """The session store, with the configured login."""
    from keyturn.adapters.redis.credentials import ElastiCacheToken, StoredPassword, is_serverless
    from keyturn.adapters.redis.sessions import RedisSessions

    authority = _authorities(settings).of("redis")
    if settings.redis_authentication == "password":
        password = StoredPassword(settings.redis_password_secret, settings.redis_user)
        return RedisSessions(settings, password, authority)
    if settings.redis_authentication == "iam":
        token = ElastiCacheToken(
            settings.redis_cache_name,
            settings.redis_user,
            serverless=is_serverless(settings.redis_host),
        )
        return RedisSessions(settings, token, authority)
    return RedisSessions(settings, None, authority)


def kubernetes_api(settings: ClusterSettings) -> "KubernetesApi":
    """The API of the cluster."""
    from keyturn.adapters.kubernetes.api import KubernetesApi

    return KubernetesApi(settings, _authorities(settings).of("cluster"))


def _authorities(settings: TrustSettings) -> "StoredAuthorities":
    from keyturn.adapters.certificate_authorities import StoredAuthorities

    return StoredAuthorities(settings.certificate_authorities_secret)


def delivery(api: "KubernetesApi", settings: DeliverKeySettings) -> strategy.DeliveryStrategy:
    """The configured delivery strategy."""
    from keyturn.adapters.kubernetes.secrets import KubernetesExternalSecret, KubernetesSecret

    if settings.delivery_mode == "none":
        return strategy.NoDelivery()
    if settings.delivery_mode == "vault":
        return _vault_delivery(api, settings)
    target = KubernetesSecret(api, settings)
    if settings.delivery_mode == "external-secrets":
        operator = KubernetesExternalSecret(api, settings)
        return external_secrets.ExternalSecretsDelivery(
            target, operator, settings.kubernetes_secret
        )
    return kubernetes_secret.KubernetesSecretDelivery(target)


def _vault_delivery(
    api: "KubernetesApi", settings: DeliverKeySettings
) -> strategy.DeliveryStrategy:
    """Delivery to Vault, continued by the Vault Secrets Operator if its resource is named."""
    from keyturn.adapters.kubernetes.secrets import KubernetesSecret
    from keyturn.adapters.kubernetes.vault_secrets_operator import KubernetesStaticSecret
    from keyturn.adapters.vault.kv_secret import KvSecret

    secret = KvSecret(settings, _authorities(settings).of("vault"))
    write = vault.VaultDelivery(secret)
    if not settings.vault_static_secret:
        return write
    return vault_operator.VaultOperatorDelivery(
        write,
        KubernetesSecret(api, settings),
        KubernetesStaticSecret(api, settings),
        vault_operator.Source(
            settings.vault_mount,
            settings.vault_path,
            settings.vault_namespace,
            settings.kubernetes_secret,
        ),
    )
