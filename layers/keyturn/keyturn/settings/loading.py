"""The environment, read once: the only module that reads `os.environ`.

A function's settings are one frozen dataclass; a field's name in capitals is the variable's name.
All problems are reported at once, at init, so that one deployment can correct them all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from keyturn import errors
from keyturn.settings import conflicts
from keyturn.settings.types import (
    PARSERS,
    DeliveryMode,
    ManualRotationMode,
    Names,
    OptionalUrl,
    Port,
    Prefixes,
    PurgeMode,
    PurgePace,
    RedisAuthentication,
    Roles,
    SecretArn,
    Services,
    Url,
    Urls,
    VaultAuthentication,
    VaultPath,
)


@dataclass(frozen=True)
class SecretSettings:
    """Which secret."""

    secret_arn: SecretArn

    @property
    def account(self) -> str:
        """The account of the secret, and so of the stack."""
        return self.secret_arn.split(":")[4]


@dataclass(frozen=True)
class TrustSettings:
    """Which secret holds the certificate authorities of the cluster, Redis and Vault."""

    certificate_authorities_secret: SecretArn


@dataclass(frozen=True)
class ClusterSettings(TrustSettings):
    """Which cluster, and which namespace."""

    cluster_name: str
    cluster_endpoint: Url
    namespace: str


@dataclass(frozen=True)
class PodKeySettings:
    """Where the pods read the key: from which Kubernetes Secret, if they read one at all."""

    delivery_mode: DeliveryMode
    kubernetes_secret: str
    kubernetes_secret_key: str
    vault_static_secret: str

    @property
    def reads_kubernetes_secret(self) -> bool:
        """Whether the pods read the Kubernetes Secret, and not Vault or Secrets Manager."""
        if self.delivery_mode == "vault":
            return bool(self.vault_static_secret)
        return self.delivery_mode != "none"


@dataclass(frozen=True)
class VaultSettings:
    """Which secret of which Vault the pods read, and how Keyturn logs in (DeliveryMode vault)."""

    vault_address: OptionalUrl
    vault_namespace: str
    vault_mount: VaultPath
    vault_path: VaultPath
    vault_field: str
    vault_authentication: VaultAuthentication
    vault_auth_mount: VaultPath
    vault_role: str
    vault_server_id: str
    vault_credentials_secret: str


@dataclass(frozen=True)
class DeliverySettings(PodKeySettings):
    """How the key is delivered to the pods."""

    external_secret: str


@dataclass(frozen=True)
class RolloutSettings:
    """Which workloads hold the key, and how long their rollouts may take."""

    services: Services
    rollout_seconds: int


@dataclass(frozen=True)
class SessionSettings(TrustSettings):
    """The session store, and the pace of a purge. Database and prefixes are never guessed."""

    redis_host: str
    redis_port: Port
    redis_database: int
    redis_tls: bool
    redis_authentication: RedisAuthentication
    redis_user: str
    redis_password_secret: str
    redis_cache_name: str
    session_prefixes: Prefixes
    purge_pace: PurgePace


@dataclass(frozen=True)
class ValidationSettings:
    """The URLs that must answer before and after a rotation."""

    health_urls: Urls
    login_url: Url
    login_redirect_hosts: Names


@dataclass(frozen=True)
class NotificationSettings:
    """The channels, and the stack's name. Empty means no channel."""

    topic_arn: str
    event_bus: str
    slack_webhook_secret: str
    powertools_service_name: str


@dataclass(frozen=True)
class CalledSettings(SecretSettings):
    """Of a function that changes something, and confirms that the state machine has called it."""

    state_machine_arn: str


@dataclass(frozen=True)
class RotateSecretSettings(SecretSettings):
    """Of `rotate_secret`."""

    state_machine_arn: str
    preflight_arn: str
    manual_rotation_mode: ManualRotationMode


@dataclass(frozen=True)
class BeginRotationSettings(CalledSettings, SessionSettings, NotificationSettings):
    """Of `begin_rotation`."""


@dataclass(frozen=True)
class DeliverKeySettings(CalledSettings, ClusterSettings, DeliverySettings, VaultSettings):
    """Of `deliver_key`."""


@dataclass(frozen=True)
class RestartServiceSettings(CalledSettings, ClusterSettings, PodKeySettings):
    """Of `restart_service`."""

    services: Services


@dataclass(frozen=True)
class CheckRolloutSettings(SecretSettings, ClusterSettings, PodKeySettings, RolloutSettings):
    """Of `check_rollout`."""


@dataclass(frozen=True)
class PurgeSessionsSettings(CalledSettings, SessionSettings):
    """Of `purge_sessions`."""

    purge_mode: PurgeMode


@dataclass(frozen=True)
class RestorePreviousKeySettings(CalledSettings):
    """Of `restore_previous_key`."""


@dataclass(frozen=True)
class ValidateRotationSettings(SecretSettings, ClusterSettings, PodKeySettings, ValidationSettings):
    """Of `validate_rotation`."""

    services: Services


@dataclass(frozen=True)
class FinishRotationSettings(CalledSettings, NotificationSettings):
    """Of `finish_rotation`."""

    preflight_arn: str
    record_bucket: str


@dataclass(frozen=True)
class RespondToFindingSettings(SecretSettings, NotificationSettings):
    """Of `respond_to_finding`: the stack's resources, and how often findings may rotate."""

    cluster_name: str
    namespace: str
    key_roles: Roles
    finding_scope_roles: Roles
    finding_cooldown_minutes: int
    finding_daily_limit: int
    allow_sample_findings: bool


@dataclass(frozen=True)
class WatchKeySettings(SecretSettings, SessionSettings, NotificationSettings):
    """Of `watch_key`."""

    state_machine_arn: str
    preflight_arn: str
    manual_rotation_mode: ManualRotationMode
    key_age_warning_days: int
    key_age_critical_days: int
    rotation_notice_hours: int


OPTIONAL = {
    "topic_arn",
    "event_bus",
    "slack_webhook_secret",
    "record_bucket",
    "finding_scope_roles",
    "external_secret",
    "vault_static_secret",
    "vault_address",
    "vault_namespace",
    "vault_path",
    "vault_role",
    "vault_server_id",
    "vault_credentials_secret",
    "redis_user",
    "redis_password_secret",
    "redis_cache_name",
}

Settings = TypeVar("Settings")


def load(kind: type[Settings], environment: Mapping[str, str] | None = None) -> Settings:
    """Read one function's settings from the environment.

    Raises SettingsInvalid with every missing or malformed variable in its message.
    """
    environment = os.environ if environment is None else environment
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]
        variable = field.name.upper()
        text = environment.get(variable, "")
        if not text.strip() and field.name not in OPTIONAL:
            problems.append(f"{variable} is missing")
            continue
        try:
            values[field.name] = PARSERS[types[field.name]](text)
        except ValueError as problem:
            problems.append(f"{variable} {problem}")
    problems += conflicts.find(values)
    if problems:
        raise errors.SettingsInvalid(
            f"{'; '.join(problems)}. Nothing was done. Correct the stack's parameters and deploy."
        )
    return kind(**values)
