# ruff: noqa: PLC0415 - adapters are imported where they are wired, see below
"""Joins nouns and adapters: what each function works with, from its settings.

Each function calls one of these at init, so settings are read and found wanting before any event.
Adapters are imported here inside the calls: a function loads only the vendors that it uses.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from keyturn import (
    delivery,
    finding,
    logs,
    purge,
    rollout,
    secret,
    sessions,
    synchronization,
    validation,
)
from keyturn.settings import (
    BeginRotationSettings,
    ClusterSettings,
    DeliverKeySettings,
    DeliverySettings,
    FinishRotationSettings,
    PurgeSessionsSettings,
    RespondToFindingSettings,
    RestartSettings,
    RotateSecretSettings,
    SecretSettings,
    SessionSettings,
    ValidateRotationSettings,
    load,
)

if TYPE_CHECKING:
    from keyturn.adapters.kubernetes import KubernetesApi
    from keyturn.adapters.secrets_manager import SecretsManager
    from keyturn.record import Notifier, RecordStore
    from keyturn.response import Secret
    from keyturn.sessions import Pace


@dataclass(frozen=True)
class Beginning:
    """What `begin_rotation` works with."""

    settings: BeginRotationSettings
    secret: "SecretsManager"
    sessions: sessions.SessionStore
    notifier: "Notifier"

    @property
    def pace(self) -> "Pace":
        """The pace that is configured."""
        return sessions.PACES[self.settings.purge_pace]


@dataclass(frozen=True)
class Delivering:
    """What `deliver_key` works with."""

    settings: DeliverKeySettings
    secret: "SecretsManager"
    way: delivery.Way


@dataclass(frozen=True)
class Restarting:
    """What `restart_service` and `check_rollout` work with."""

    settings: RestartSettings
    secret: secret.SecretStore
    cluster: rollout.Cluster
    logs: logs.Logs

    @property
    def limit(self) -> timedelta:
        """How long one service's rollout may take."""
        return timedelta(seconds=self.settings.rollout_seconds)


@dataclass(frozen=True)
class Purging:
    """What `purge_sessions` works with."""

    settings: PurgeSessionsSettings
    secret: secret.SecretStore
    sessions: sessions.SessionStore

    @property
    def manner(self) -> purge.Manner:
        """The mode and the pace that are configured."""
        pace = sessions.PACES[self.settings.purge_pace]
        return purge.Manner(pace, flush=self.settings.purge_mode == "flush")


@dataclass(frozen=True)
class Validating:
    """What `validate_rotation` works with."""

    settings: ValidateRotationSettings
    secret: secret.SecretStore
    web: validation.Web
    logs: logs.Logs


@dataclass(frozen=True)
class Finishing:
    """What `finish_rotation` works with."""

    settings: FinishRotationSettings
    records: "RecordStore"
    notifier: "Notifier"


@dataclass(frozen=True)
class Responding:
    """What `respond_to_finding` works with."""

    secret: "Secret"
    notifier: "Notifier"
    scope: finding.Scope


def rotating() -> secret.Rotation:
    """What `rotate_secret` works with: every check that a run could fail on, before it starts."""
    from keyturn.adapters.http import UrllibWeb
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster
    from keyturn.adapters.step_functions import StepFunctionsRuns

    settings = load(RotateSecretSettings)
    api = _api(settings)
    cluster, way = KubernetesCluster(api, settings), _way(api, settings)
    store, web = _sessions(settings), UrllibWeb()
    return secret.Rotation(
        secret_arn=settings.secret_arn,
        store=_secret(settings),
        runs=StepFunctionsRuns(settings.state_machine_arn),
        checks_before_promotion=[
            way.check_ready,
            *(partial(rollout.check_ready, cluster, service) for service in settings.services),
            partial(sessions.check_ready, store, flush=settings.purge_mode == "flush"),
        ],
        checks_of_health=[partial(validation.check_health, web, settings.health_urls)],
    )


def beginning() -> Beginning:
    """What `begin_rotation` works with."""
    from keyturn.adapters.notifications import AwsNotifier

    settings = load(BeginRotationSettings)
    return Beginning(settings, _secret(settings), _sessions(settings), AwsNotifier(settings))


def delivering() -> Delivering:
    """What `deliver_key` works with."""
    settings = load(DeliverKeySettings)
    return Delivering(settings, _secret(settings), _way(_api(settings), settings))


def restarting() -> Restarting:
    """What `restart_service` and `check_rollout` work with."""
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster

    settings = load(RestartSettings)
    cluster = KubernetesCluster(_api(settings), settings)
    return Restarting(settings, _secret(settings), cluster, cluster)


def purging() -> Purging:
    """What `purge_sessions` works with."""
    settings = load(PurgeSessionsSettings)
    return Purging(settings, _secret(settings), _sessions(settings))


def validating() -> Validating:
    """What `validate_rotation` works with."""
    from keyturn.adapters.http import UrllibWeb
    from keyturn.adapters.kubernetes_workloads import KubernetesCluster

    settings = load(ValidateRotationSettings)
    cluster = KubernetesCluster(_api(settings))
    return Validating(settings, _secret(settings), UrllibWeb(), cluster)


def finishing() -> Finishing:
    """What `finish_rotation` works with."""
    from keyturn.adapters.notifications import AwsNotifier
    from keyturn.adapters.s3 import S3Records

    settings = load(FinishRotationSettings)
    return Finishing(settings, S3Records(settings.record_bucket), AwsNotifier(settings))


def responding() -> Responding:
    """What `respond_to_finding` works with."""
    from keyturn.adapters.notifications import AwsNotifier

    settings = load(RespondToFindingSettings)
    scope = finding.scope_of(settings)
    return Responding(_secret(settings), AwsNotifier(settings), scope)


def _secret(settings: SecretSettings) -> "SecretsManager":
    from keyturn.adapters.secrets_manager import SecretsManager

    return SecretsManager(settings.secret_arn)


def _sessions(settings: SessionSettings) -> sessions.SessionStore:
    from keyturn.adapters.redis import RedisSessions
    from keyturn.adapters.redis_credentials import ElastiCacheToken, StoredPassword

    if settings.redis_authentication == "password":
        return RedisSessions(
            settings, StoredPassword(settings.redis_password_secret, settings.redis_user)
        )
    if settings.redis_authentication == "iam":
        return RedisSessions(
            settings, ElastiCacheToken(settings.redis_cache_name, settings.redis_user)
        )
    return RedisSessions(settings)


def _api(settings: ClusterSettings) -> "KubernetesApi":
    from keyturn.adapters.kubernetes import KubernetesApi

    return KubernetesApi(settings)


def _way(api: "KubernetesApi", settings: DeliverySettings) -> delivery.Way:
    """The delivery mode that is configured."""
    from keyturn.adapters.kubernetes_secret import KubernetesExternalSecret, KubernetesSecret

    if settings.delivery_mode == "none":
        return delivery.NothingToDeliver()
    target = KubernetesSecret(api, settings)
    if settings.delivery_mode == "external-secrets":
        operator = KubernetesExternalSecret(api, settings)
        return synchronization.ForcedSync(target, operator, settings.kubernetes_secret)
    return delivery.DirectWrite(target)
