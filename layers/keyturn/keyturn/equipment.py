"""What each function works with: its settings, and the parts that `wiring` has joined for it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from keyturn import (
    delivery,
    finding,
    labels,
    logs,
    purge,
    recovery,
    response,
    rollout,
    sessions,
    validation,
)
from keyturn.channels import Notifications
from keyturn.settings import (
    BeginRotationSettings,
    DeliverKeySettings,
    FinishRotationSettings,
    PurgeSessionsSettings,
    RestartSettings,
    SecretSettings,
    ValidateRotationSettings,
)

if TYPE_CHECKING:
    from keyturn.record import RecordStore
    from keyturn.sessions import Pace


@dataclass(frozen=True)
class Beginning:
    """What `begin_rotation` works with."""

    settings: BeginRotationSettings
    secret: labels.LabelStore
    sessions: sessions.SessionStore
    notifications: Notifications

    @property
    def pace(self) -> "Pace":
        """The pace that is configured."""
        return sessions.PACES[self.settings.purge_pace]


@dataclass(frozen=True)
class Delivering:
    """What `deliver_key` works with."""

    settings: DeliverKeySettings
    secret: delivery.KeySource
    way: delivery.Way


@dataclass(frozen=True)
class Restarting:
    """What `restart_service` and `check_rollout` work with."""

    settings: RestartSettings
    secret: labels.LabelStore
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
    secret: labels.LabelStore
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
    secret: labels.LabelStore
    web: validation.Web
    logs: logs.Logs


@dataclass(frozen=True)
class Restoring:
    """What `restore_previous_key` works with."""

    settings: SecretSettings
    secret: recovery.SecretStore


@dataclass(frozen=True)
class Finishing:
    """What `finish_rotation` works with."""

    settings: FinishRotationSettings
    records: "RecordStore"
    notifications: Notifications


@dataclass(frozen=True)
class Responding:
    """What `respond_to_finding` works with."""

    secret: response.Secret
    notifications: Notifications
    scope: finding.Scope
