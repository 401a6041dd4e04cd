# ruff: noqa: PLC0415 - adapters are imported where they are wired, see below
"""Joins nouns and adapters: what each function works with, from its settings.

Each function calls one of these at init, so settings are read and found wanting before any event.
Adapters are imported here inside the calls: a function loads only the vendors that it uses.
"""

import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from keyturn import (
    alert,
    care,
    delivery,
    finding,
    secret,
    sessions,
    synchronization,
    vault_delivery,
    vault_synchronization,
    watch,
)
from keyturn.channels import Notifications
from keyturn.equipment import (
    Beginning,
    Checking,
    Delivering,
    Finishing,
    Purging,
    Responding,
    Restarting,
    Restoring,
    Validating,
)
from keyturn.settings import (
    BeginRotationSettings,
    CalledSettings,
    CheckRolloutSettings,
    ClusterSettings,
    DeliverKeySettings,
    FinishRotationSettings,
    NotificationSettings,
    PurgeSessionsSettings,
    RespondToFindingSettings,
    RestartServiceSettings,
    RestorePreviousKeySettings,
    RotateSecretSettings,
    SecretSettings,
    SessionSettings,
    TrustSettings,
    ValidateRotationSettings,
    WatchKeySettings,
    load,
)

if TYPE_CHECKING:
    from keyturn.adapters.certificate_authorities import StoredAuthorities
    from keyturn.adapters.kubernetes import KubernetesApi
    from keyturn.adapters.secrets_manager import SecretsManager
    from keyturn.adapters.step_functions import StepFunctionsRuns
    from keyturn.channels import Channel
    from keyturn.variables import SecretArn


def rotating() -> secret.Rotation:
    """What `rotate_secret` works with."""
    from keyturn.adapters.step_functions import StepFunctionsQuestions, StepFunctionsRuns

    settings = load(RotateSecretSettings)
    return secret.Rotation(
        secret_arn=settings.secret_arn,
        store=_secret(settings),
        runs=StepFunctionsRuns(settings.state_machine_arn),
        functions=StepFunctionsQuestions(settings.preflight_arn),
        manual_mode=settings.manual_rotation_mode.mode,
    )


def beginning() -> Beginning:
    """What `begin_rotation` works with."""
    settings = load(BeginRotationSettings)
    return Beginning(
        _executions(settings),
        settings,
        _secret(settings),
        _sessions(settings),
        _notifications(settings, settings.secret_arn),
    )


def delivering() -> Delivering:
    """What `deliver_key` works with."""
    settings = load(DeliverKeySettings)
    way = _way(_api(settings), settings)
    return Delivering(_executions(settings), settings, _secret(settings), way)


def restarting() -> Restarting:
    """What `restart_service` works with."""
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster

    settings = load(RestartServiceSettings)
    cluster = KubernetesCluster(_api(settings), settings)
    return Restarting(_executions(settings), settings, _secret(settings), cluster)


def checking() -> Checking:
    """What `check_rollout` works with."""
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster

    settings = load(CheckRolloutSettings)
    cluster = KubernetesCluster(_api(settings), settings)
    return Checking(settings, _secret(settings), cluster, cluster)


def purging() -> Purging:
    """What `purge_sessions` works with."""
    settings = load(PurgeSessionsSettings)
    return Purging(_executions(settings), settings, _secret(settings), _sessions(settings))


def validating() -> Validating:
    """What `validate_rotation` works with."""
    from keyturn.adapters.http import UrllibWeb
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster

    settings = load(ValidateRotationSettings)
    cluster = KubernetesCluster(_api(settings), settings)
    return Validating(settings, _secret(settings), UrllibWeb(), cluster, cluster)


def restoring() -> Restoring:
    """What `restore_previous_key` works with."""
    settings = load(RestorePreviousKeySettings)
    return Restoring(_executions(settings), settings, _secret(settings))


def finishing() -> Finishing:
    """What `finish_rotation` works with."""
    from keyturn.adapters.s3 import S3Records
    from keyturn.adapters.step_functions import StepFunctionsQuestions

    settings = load(FinishRotationSettings)
    return Finishing(
        _executions(settings),
        settings,
        S3Records(settings.record_bucket, settings.account),
        _notifications(settings, settings.secret_arn),
        StepFunctionsQuestions(settings.preflight_arn),
    )


def responding() -> Responding:
    """What `respond_to_finding` works with."""
    settings = load(RespondToFindingSettings)
    return Responding(
        _secret(settings), _notifications(settings, settings.secret_arn), finding.scope_of(settings)
    )


def watching() -> care.Watch:
    """What `watch_key` works with."""
    from keyturn.adapters.step_functions import StepFunctionsQuestions, StepFunctionsRuns

    settings = load(WatchKeySettings)
    pace = sessions.PACES[settings.purge_pace]
    return care.Watch(
        place=alert.Place(settings.secret_arn, settings.state_machine_arn),
        limits=watch.Limits(
            old=timedelta(days=settings.key_age_warning_days),
            too_old=timedelta(days=settings.key_age_critical_days),
            notice=timedelta(hours=settings.notice_hours),
            manual_mode=settings.manual_rotation_mode.mode,
        ),
        secret=_secret(settings),
        runs=StepFunctionsRuns(settings.state_machine_arn),
        users=partial(sessions.count, _sessions(settings), pace, time),
        notifications=_notifications(settings, settings.secret_arn),
        questions=StepFunctionsQuestions(settings.preflight_arn),
    )


def _executions(settings: CalledSettings) -> "StepFunctionsRuns":
    from keyturn.adapters.step_functions import StepFunctionsRuns

    return StepFunctionsRuns(settings.state_machine_arn)


def _secret(settings: SecretSettings) -> "SecretsManager":
    from keyturn.adapters.secrets_manager import SecretsManager

    return SecretsManager(settings.secret_arn)


def _notifications(settings: NotificationSettings, secret_arn: "SecretArn") -> Notifications:
    """Every channel that is configured."""
    from keyturn.adapters.notifications import EventBus, Topic
    from keyturn.adapters.slack import Slack

    channels: list[Channel] = []
    if settings.topic_arn:
        channels.append(Topic(settings.topic_arn))
    if settings.event_bus:
        channels.append(EventBus(settings.event_bus))
    if settings.slack_webhook_secret:
        channels.append(Slack(settings.slack_webhook_secret))
    return Notifications(channels, f"{settings.powertools_service_name} in {secret_arn.place}")


def _sessions(settings: SessionSettings) -> sessions.SessionStore:
    from keyturn.adapters.redis import RedisSessions
    from keyturn.adapters.redis_credentials import ElastiCacheToken, StoredPassword, is_serverless

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


def _api(settings: ClusterSettings) -> "KubernetesApi":
    from keyturn.adapters.kubernetes import KubernetesApi

    return KubernetesApi(settings, _authorities(settings).of("cluster"))


def _authorities(settings: TrustSettings) -> "StoredAuthorities":
    from keyturn.adapters.certificate_authorities import StoredAuthorities

    return StoredAuthorities(settings.certificate_authorities_secret)


def _way(api: "KubernetesApi", settings: DeliverKeySettings) -> delivery.Way:
    """The delivery mode that is configured."""
    from keyturn.adapters.kubernetes_secret import KubernetesExternalSecret, KubernetesSecret

    if settings.delivery_mode == "none":
        return delivery.NothingToDeliver()
    if settings.delivery_mode == "vault":
        return _vault(api, settings)
    target = KubernetesSecret(api, settings)
    if settings.delivery_mode == "external-secrets":
        operator = KubernetesExternalSecret(api, settings)
        return synchronization.ForcedSync(target, operator, settings.kubernetes_secret)
    return delivery.DirectWrite(target)


def _vault(api: "KubernetesApi", settings: DeliverKeySettings) -> delivery.Way:
    """Delivery to Vault, and on by the Vault Secrets Operator where its resource is named."""
    from keyturn.adapters.kubernetes_secret import KubernetesSecret
    from keyturn.adapters.vault import KvSecret
    from keyturn.adapters.vault_secrets_operator import KubernetesStaticSecret

    secret = KvSecret(settings, _authorities(settings).of("vault"))
    write = vault_delivery.VaultWrite(secret, settings.vault_destroy_exposed)
    if not settings.vault_static_secret:
        return write
    return vault_synchronization.VaultSync(
        write,
        KubernetesSecret(api, settings),
        KubernetesStaticSecret(api, settings),
        vault_synchronization.Source(
            settings.vault_mount,
            settings.vault_path,
            settings.vault_namespace,
            settings.kubernetes_secret,
        ),
    )
