"""What each function works with: its settings, and the parts that `wiring` has joined for it.

Each knows the checks by which its function answers the preflight, in the order of its work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from keyturn import (
    caller,
    delivery,
    delivery_state,
    errors,
    exposure,
    finding,
    labels,
    logs,
    purge,
    questions,
    recovery,
    response,
    rollout,
    rollout_state,
    sessions,
    validation,
)
from keyturn.channels import Notifications
from keyturn.checks import Check, Problem
from keyturn.run import Run
from keyturn.settings import (
    BeginRotationSettings,
    CheckRolloutSettings,
    DeliverKeySettings,
    FinishRotationSettings,
    PurgeSessionsSettings,
    RestartServiceSettings,
    RestorePreviousKeySettings,
    ValidateRotationSettings,
)

if TYPE_CHECKING:
    from keyturn.record import RecordStore
    from keyturn.sessions import Pace


@dataclass(frozen=True)
class Called:
    """Of a function that changes something: it confirms who calls it."""

    executions: caller.Executions

    def confirm(self, run: Run, event: Mapping[str, Any], context: Any) -> None:
        """See that a running execution of the run has made this call. See `caller.confirm`."""
        caller.confirm(self.executions, run, caller.Call(str(context.invoked_function_arn), event))


@dataclass(frozen=True)
class Beginning(Called):
    """What `begin_rotation` works with."""

    settings: BeginRotationSettings
    secret: labels.LabelStore
    sessions: sessions.SessionStore
    notifications: Notifications

    @property
    def pace(self) -> "Pace":
        """The pace that is configured."""
        return sessions.PACES[self.settings.purge_pace]

    @property
    def checks(self) -> list[Check]:
        """It sees the labels and its execution, can count sessions, and can tell people."""
        return [
            self.secret.labels,
            self.executions.check_ready,
            self.sessions.primaries,
            self.notifications.check_ready,
        ]


class KeySecret(exposure.ReplacedStore, delivery.KeySource, Protocol):
    """The one secret, as its keys are delivered and ruled out."""


@dataclass(frozen=True)
class Delivering(Called):
    """What `deliver_key` works with."""

    settings: DeliverKeySettings
    secret: KeySecret
    way: delivery.Way

    @property
    def checks(self) -> list[Check]:
        """It can read the key in use, and could deliver another."""
        in_use = partial(delivery.check_readable, self.secret)
        return [in_use, self.executions.check_ready, self.way.check_ready]

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer what the function is asked: about drift, or whether it could work."""
        if event["question"] == "drift":
            return delivery_state.answer(self.secret, self.way, self.secret.marks())
        return questions.answer_preflight("deliver_key", self.checks)


@dataclass(frozen=True)
class Restarting(Called):
    """What `restart_service` works with."""

    settings: RestartServiceSettings
    secret: labels.LabelStore
    cluster: rollout.Cluster

    @property
    def checks(self) -> list[Check]:
        """It could restart every service, and every service would read the key."""
        services = (partial(rollout.check_ready, self.cluster, s) for s in self.settings.services)
        return [self.secret.labels, self.executions.check_ready, *services]


@dataclass(frozen=True)
class Checking:
    """What `check_rollout` works with."""

    settings: CheckRolloutSettings
    secret: labels.LabelStore
    cluster: rollout.Cluster
    logs: logs.Logs

    @property
    def limit(self) -> timedelta:
        """How long one service's rollout may take."""
        return timedelta(seconds=self.settings.rollout_seconds)

    @property
    def checks(self) -> list[Check]:
        """It sees every service and its pods, and no rollout is paused for all its time."""
        services = (
            partial(rollout.check_in_time, self.cluster, service, self.limit)
            for service in self.settings.services
        )
        return [self.secret.labels, *services]

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer what the function is asked: about drift, or whether it could work."""
        if event["question"] == "drift":
            return rollout_state.answer(self.secret, self.cluster, self.settings.services)
        return questions.answer_preflight("check_rollout", self.checks)


@dataclass(frozen=True)
class Purging(Called):
    """What `purge_sessions` works with."""

    settings: PurgeSessionsSettings
    secret: labels.LabelStore
    sessions: sessions.SessionStore

    @property
    def manner(self) -> purge.Manner:
        """The mode and the pace that are configured."""
        pace = sessions.PACES[self.settings.purge_pace]
        return purge.Manner(pace, flush=self.settings.purge_mode == "flush")

    @property
    def checks(self) -> list[Check]:
        """It could purge every primary, as it is configured to."""
        ready = partial(sessions.check_ready, self.sessions, flush=self.manner.flush)
        return [self.secret.labels, self.executions.check_ready, ready]


@dataclass(frozen=True)
class Validating:
    """What `validate_rotation` works with."""

    settings: ValidateRotationSettings
    secret: labels.LabelStore
    web: validation.Web
    cluster: rollout.Cluster
    logs: logs.Logs

    @property
    def checks(self) -> list[Check]:
        """What it validates after a rotation holds before it too."""
        settings = self.settings
        health = partial(validation.check_health, self.web, settings.health_urls)
        login = partial(
            validation.check_login, self.web, settings.login_url, settings.login_redirect_hosts
        )
        services = (partial(self.cluster.pods, service) for service in settings.services)
        return [self.secret.labels, health, login, *services]


@dataclass(frozen=True)
class Restoring(Called):
    """What `restore_previous_key` works with."""

    settings: RestorePreviousKeySettings
    secret: recovery.SecretStore

    @property
    def checks(self) -> list[Check]:
        """It sees the labels, and its execution."""
        return [self.secret.labels, self.executions.check_ready]


@dataclass(frozen=True)
class Finishing(Called):
    """What `finish_rotation` works with."""

    settings: FinishRotationSettings
    records: "RecordStore"
    notifications: Notifications
    functions: questions.Questions

    @property
    def checks(self) -> list[Check]:
        """It reaches the bucket of the records, and its execution, and can tell people."""
        return [
            self.executions.check_ready,
            self.records.check_ready,
            self.notifications.check_ready,
        ]

    def problems_of(self, run: Run) -> list[Problem]:
        """What the functions answered that were asked while an emergency went on.

        A scheduled rotation was not promoted with any. Nothing here fails a record.
        """
        if run.mode != "emergency":
            return []
        try:
            answers = self.functions.answers_of(run.preflight_name)
        except errors.KeyturnError as problem:
            return [Problem(type(problem).__name__, str(problem))]
        return questions.problems_in(answers)


@dataclass(frozen=True)
class Responding:
    """What `respond_to_finding` works with."""

    secret: response.Secret
    notifications: Notifications
    scope: finding.Scope
