# ruff: noqa: PLC0415 - adapters are imported where they are wired, see below
"""Joins settings, adapters and decisions: what each function works with.

A factory a function, named as the function, which calls it at init: so settings are read, and
refused, before any event. Where the function answers the preflight, its class knows the checks, in
the order of its work. Adapters are imported inside the factories: a function loads only the vendors
that it uses.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from keyturn import errors
from keyturn.adapters import selection
from keyturn.delivery import inspection as delivery_inspection
from keyturn.delivery import strategy
from keyturn.findings import policy as finding_policy
from keyturn.findings import response
from keyturn.monitoring import actions, key_health, message_text
from keyturn.reporting.notifications import Notifications
from keyturn.rollout import inspection as rollout_inspection
from keyturn.rollout import restart
from keyturn.rotation import preflight, rollback, steps
from keyturn.rotation.preflight import Check, Problem
from keyturn.run import caller
from keyturn.run.run import Run
from keyturn.secret import exposure, staging_labels
from keyturn.sessions import purge
from keyturn.sessions import store as session_store
from keyturn.settings import loading
from keyturn.settings.loading import load
from keyturn.validation import endpoints, pod_logs

if TYPE_CHECKING:
    from keyturn.reporting.record import RecordStore
    from keyturn.sessions.store import Pace


@dataclass(frozen=True)
class Called:
    """Of a function that changes something: it confirms who calls it."""

    executions: caller.Executions

    def confirm(self, run: Run, event: Mapping[str, Any], context: Any) -> None:
        """Confirm that a running execution of the run made this call, see `run.caller`."""
        caller.confirm_caller(
            self.executions, run, caller.Call(str(context.invoked_function_arn), event)
        )


def rotate_secret() -> steps.Rotation:
    """What `rotate_secret` works with."""
    from keyturn.adapters.aws.step_functions import StepFunctionsQuestions, StepFunctionsRuns

    settings = load(loading.RotateSecretSettings)
    return steps.Rotation(
        secret_arn=settings.secret_arn,
        store=selection.secret(settings),
        runs=StepFunctionsRuns(settings.state_machine_arn),
        functions=StepFunctionsQuestions(settings.preflight_arn),
        manual_mode=settings.manual_rotation_mode.mode,
    )


@dataclass(frozen=True)
class BeginRotation(Called):
    """What `begin_rotation` works with."""

    settings: loading.BeginRotationSettings
    secret: staging_labels.LabelStore
    sessions: session_store.SessionStore
    notifications: Notifications

    @property
    def pace(self) -> "Pace":
        """The pace that is configured."""
        return session_store.PACES[self.settings.purge_pace]

    @property
    def checks(self) -> list[Check]:
        """It can read the labels and its execution, count sessions, and notify."""
        return [
            self.secret.labels,
            self.executions.check_ready,
            self.sessions.primaries,
            self.notifications.check_ready,
        ]


def begin_rotation() -> BeginRotation:
    """What `begin_rotation` works with."""
    settings = load(loading.BeginRotationSettings)
    return BeginRotation(
        selection.executions(settings),
        settings,
        selection.secret(settings),
        selection.sessions(settings),
        selection.notifications(settings, settings.secret_arn),
    )


class KeySecret(exposure.ReplacedStore, strategy.KeySource, Protocol):
    """The one secret, as its keys are delivered and ruled out."""


@dataclass(frozen=True)
class DeliverKey(Called):
    """What `deliver_key` works with."""

    settings: loading.DeliverKeySettings
    secret: KeySecret
    delivery: strategy.DeliveryStrategy

    @property
    def checks(self) -> list[Check]:
        """It can read the key in use, and could deliver another."""
        in_use = partial(strategy.check_readable, self.secret)
        return [in_use, self.executions.check_ready, self.delivery.check_ready]

    def answer(self, event: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer what the function is asked: about drift, or whether it could work."""
        if event["question"] == "drift":
            return delivery_inspection.inspect_delivery(
                self.secret, self.delivery, self.secret.marks()
            )
        return preflight.answer_preflight("deliver_key", self.checks)


def deliver_key() -> DeliverKey:
    """What `deliver_key` works with."""
    settings = load(loading.DeliverKeySettings)
    delivery = selection.delivery(selection.kubernetes_api(settings), settings)
    return DeliverKey(
        selection.executions(settings), settings, selection.secret(settings), delivery
    )


@dataclass(frozen=True)
class RestartService(Called):
    """What `restart_service` works with."""

    settings: loading.RestartServiceSettings
    secret: staging_labels.LabelStore
    cluster: restart.Cluster

    @property
    def checks(self) -> list[Check]:
        """It could restart every service, and every service would read the key."""
        services = (partial(restart.check_ready, self.cluster, s) for s in self.settings.services)
        return [self.secret.labels, self.executions.check_ready, *services]


def restart_service() -> RestartService:
    """What `restart_service` works with."""
    from keyturn.adapters.kubernetes.workloads import KubernetesCluster

    settings = load(loading.RestartServiceSettings)
    cluster = KubernetesCluster(selection.kubernetes_api(settings), settings)
    return RestartService(
        selection.executions(settings), settings, selection.secret(settings), cluster
    )


@dataclass(frozen=True)
class CheckRollout:
    """What `check_rollout` works with."""

    settings: loading.CheckRolloutSettings
    secret: staging_labels.LabelStore
    cluster: restart.Cluster
    logs: pod_logs.Logs

    @property
    def limit(self) -> timedelta:
        """How long one service's rollout may take."""
        return timedelta(seconds=self.settings.rollout_seconds)

    @property
    def checks(self) -> list[Check]:
        """It sees every service and its pods, and no rollout is paused for all its time."""
        services = (
            partial(restart.check_in_time, self.cluster, service, self.limit)
            for service in self.settings.services
        )
        return [self.secret.labels, *services]

    def answer(self, event: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer what the function is asked: about drift, or whether it could work."""
        if event["question"] == "drift":
            return rollout_inspection.inspect_pods(
                self.secret, self.cluster, self.settings.services
            )
        return preflight.answer_preflight("check_rollout", self.checks)


def check_rollout() -> CheckRollout:
    """What `check_rollout` works with."""
    from keyturn.adapters.kubernetes.workloads import KubernetesCluster

    settings = load(loading.CheckRolloutSettings)
    cluster = KubernetesCluster(selection.kubernetes_api(settings), settings)
    return CheckRollout(settings, selection.secret(settings), cluster, cluster)


@dataclass(frozen=True)
class PurgeSessions(Called):
    """What `purge_sessions` works with."""

    settings: loading.PurgeSessionsSettings
    secret: staging_labels.LabelStore
    sessions: session_store.SessionStore

    @property
    def options(self) -> purge.PurgeOptions:
        """The mode and the pace that are configured."""
        pace = session_store.PACES[self.settings.purge_pace]
        return purge.PurgeOptions(pace, flush=self.settings.purge_mode == "flush")

    @property
    def checks(self) -> list[Check]:
        """It could purge every primary, as it is configured to."""
        ready = partial(session_store.check_ready, self.sessions, flush=self.options.flush)
        return [self.secret.labels, self.executions.check_ready, ready]


def purge_sessions() -> PurgeSessions:
    """What `purge_sessions` works with."""
    settings = load(loading.PurgeSessionsSettings)
    return PurgeSessions(
        selection.executions(settings),
        settings,
        selection.secret(settings),
        selection.sessions(settings),
    )


@dataclass(frozen=True)
class ValidateRotation:
    """What `validate_rotation` works with."""

    settings: loading.ValidateRotationSettings
    secret: staging_labels.LabelStore
    web: endpoints.Web
    cluster: restart.Cluster
    logs: pod_logs.Logs

    @property
    def checks(self) -> list[Check]:
        """What it validates after a rotation holds before it too."""
        settings = self.settings
        health = partial(endpoints.check_health, self.web, settings.health_urls)
        login = partial(
            endpoints.check_login, self.web, settings.login_url, settings.login_redirect_hosts
        )
        services = (partial(self.cluster.pods, service) for service in settings.services)
        return [self.secret.labels, health, login, *services]


def validate_rotation() -> ValidateRotation:
    """What `validate_rotation` works with."""
    from keyturn.adapters.http import UrllibWeb
    from keyturn.adapters.kubernetes.workloads import KubernetesCluster

    settings = load(loading.ValidateRotationSettings)
    cluster = KubernetesCluster(selection.kubernetes_api(settings), settings)
    return ValidateRotation(settings, selection.secret(settings), UrllibWeb(), cluster, cluster)


@dataclass(frozen=True)
class RestorePreviousKey(Called):
    """What `restore_previous_key` works with."""

    settings: loading.RestorePreviousKeySettings
    secret: rollback.SecretStore

    @property
    def checks(self) -> list[Check]:
        """It sees the labels, and its execution."""
        return [self.secret.labels, self.executions.check_ready]


def restore_previous_key() -> RestorePreviousKey:
    """What `restore_previous_key` works with."""
    settings = load(loading.RestorePreviousKeySettings)
    return RestorePreviousKey(selection.executions(settings), settings, selection.secret(settings))


@dataclass(frozen=True)
class FinishRotation(Called):
    """What `finish_rotation` works with."""

    settings: loading.FinishRotationSettings
    records: "RecordStore"
    notifications: Notifications
    functions: preflight.Questions

    @property
    def checks(self) -> list[Check]:
        """It can reach the records' bucket and its execution, and notify."""
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
        return preflight.problems_in(answers)


def finish_rotation() -> FinishRotation:
    """What `finish_rotation` works with."""
    from keyturn.adapters.aws.s3_records import S3Records
    from keyturn.adapters.aws.step_functions import StepFunctionsQuestions

    settings = load(loading.FinishRotationSettings)
    return FinishRotation(
        selection.executions(settings),
        settings,
        S3Records(settings.record_bucket, settings.account),
        selection.notifications(settings, settings.secret_arn),
        StepFunctionsQuestions(settings.preflight_arn),
    )


@dataclass(frozen=True)
class RespondToFinding:
    """What `respond_to_finding` works with."""

    secret: response.Secret
    notifications: Notifications
    scope: finding_policy.Scope


def respond_to_finding() -> RespondToFinding:
    """What `respond_to_finding` works with."""
    settings = load(loading.RespondToFindingSettings)
    return RespondToFinding(
        selection.secret(settings),
        selection.notifications(settings, settings.secret_arn),
        finding_policy.scope_of(settings),
    )


def watch_key() -> actions.Watch:
    """What `watch_key` works with."""
    from keyturn.adapters.aws.step_functions import StepFunctionsQuestions, StepFunctionsRuns

    settings = load(loading.WatchKeySettings)
    pace = session_store.PACES[settings.purge_pace]
    return actions.Watch(
        place=message_text.StackRefs(settings.secret_arn, settings.state_machine_arn),
        limits=key_health.Limits(
            old=timedelta(days=settings.key_age_warning_days),
            too_old=timedelta(days=settings.key_age_critical_days),
            notice=timedelta(hours=settings.rotation_notice_hours),
            manual_mode=settings.manual_rotation_mode.mode,
        ),
        secret=selection.secret(settings),
        runs=StepFunctionsRuns(settings.state_machine_arn),
        users=partial(session_store.count_sessions, selection.sessions(settings), pace, time),
        notifications=selection.notifications(settings, settings.secret_arn),
        questions=StepFunctionsQuestions(settings.preflight_arn),
    )
