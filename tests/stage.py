"""A whole rotation on fakes: the functions' own handlers, joined as `wiring` joins them."""

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest

from keyturn import telemetry, wiring
from keyturn.delivery import external_secrets, kubernetes_secret, strategy
from keyturn.delivery import vault as delivery_vault
from keyturn.findings import policy as finding_policy
from keyturn.monitoring import actions, key_health, message_text
from keyturn.rollout.status import Pod, Workload
from keyturn.rotation import steps
from keyturn.run import times
from keyturn.secret import key
from keyturn.sessions import store as session_store
from keyturn.settings.loading import (
    BeginRotationSettings,
    CheckRolloutSettings,
    DeliverKeySettings,
    FinishRotationSettings,
    PurgeSessionsSettings,
    RespondToFindingSettings,
    RestartServiceSettings,
    RestorePreviousKeySettings,
    ValidateRotationSettings,
    WatchKeySettings,
    load,
)
from keyturn.validation.endpoints import Answer
from keyturn.validation.pod_logs import ContainerLog, Line
from tests.conftest import ARN, NEW, NOON, OLD, STAMP
from tests.fakes import (
    FakeChannel,
    FakeClock,
    FakeCluster,
    FakeExecutions,
    FakeLooks,
    FakeOperator,
    FakeQuestions,
    FakeRecordStore,
    FakeRuns,
    FakeSecretStore,
    FakeSessionStore,
    FakeTarget,
    FakeVaultSecret,
    FakeWeb,
    telling,
)
from tests.project import environment

SERVICES = ("web-console", "auth-service")
MACHINE = environment("deliver_key")["STATE_MACHINE_ARN"]


def running(service: str) -> Workload:
    """A Deployment that runs the old key."""
    return Workload(service, 1, 1, False, 2, 2, 2, 2, key_version=OLD)


def two_pods(service: str, version: str, delivery: str | None = None) -> list[Pod]:
    """Two pods of one delivery of a key version."""
    names = [f"{service}-{version[0]}-{number}" for number in (1, 2)]
    return [Pod(name, version, uid=f"uid-of-{name}", key_delivery=delivery) for name in names]


@dataclass
class Stage:
    """Everything that a rotation touches, as fakes, as it is before a rotation."""

    old: key.SessionKey = field(default_factory=key.generate_key)
    store: FakeSecretStore = field(default_factory=FakeSecretStore)
    runs: FakeRuns = field(default_factory=FakeRuns)
    executions: FakeExecutions = field(default_factory=lambda: FakeExecutions(MACHINE))
    functions: FakeQuestions = field(default_factory=FakeQuestions)
    target: FakeTarget = field(default_factory=FakeTarget)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    sessions: FakeSessionStore = field(default_factory=FakeSessionStore)
    web: FakeWeb = field(default_factory=FakeWeb)
    records: FakeRecordStore = field(default_factory=FakeRecordStore)
    channel: FakeChannel = field(default_factory=FakeChannel)
    operator: FakeOperator = field(init=False)
    vault: FakeVaultSecret = field(default_factory=FakeVaultSecret)
    mode: str = "kubernetes-secret"
    now: datetime = NOON + timedelta(minutes=2)

    def __post_init__(self) -> None:
        """Set the scene: two services that run the old key, three sessions, a pending version."""
        self.store.stages = {OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}
        self.store.documents = {OLD: json.dumps({key.FIELD: self.old.base64})}
        self.target.value = self.old.base64
        self.vault.put(**{key.FIELD: self.old.base64, "OTHER": "of somebody else"})
        self.operator = FakeOperator(self.target, self.old.base64)
        self.operator.sync(NOON - timedelta(minutes=30))
        self.cluster.workloads = {service: running(service) for service in SERVICES}
        self.cluster.pods_of = {service: two_pods(service, OLD) for service in SERVICES}
        self.sessions.keys = {"session:1", "session:2", "session:3", "sessions:4"}
        settings = load(ValidateRotationSettings, environment("validate_rotation"))
        self.web.answers = {url: Answer(url, 200) for url in settings.health_urls}
        self.web.answers[settings.login_url] = Answer(
            settings.login_url, 302, f"https://{settings.login_redirect_hosts[0]}/authorize"
        )

    @property
    def new(self) -> key.SessionKey:
        """The key of the new version."""
        return key.parse_document(self.store.documents[NEW]).key

    @property
    def delivery(self) -> strategy.DeliveryStrategy:
        """The delivery mode that is configured."""
        ways: dict[str, strategy.DeliveryStrategy] = {
            "kubernetes-secret": kubernetes_secret.KubernetesSecretDelivery(self.target),
            "external-secrets": external_secrets.ExternalSecretsDelivery(
                self.target, self.operator, "session-key"
            ),
            "vault": delivery_vault.VaultDelivery(self.vault),
            "none": strategy.NoDelivery(),
        }
        return ways[self.mode]

    def wire(self, patch: pytest.MonkeyPatch) -> None:
        """Have `wiring` join these fakes, with the template's settings, two minutes after noon."""
        store = cast("Any", self.store)
        restart = load(RestartServiceSettings, environment("restart_service"))
        check = load(CheckRolloutSettings, environment("check_rollout"))
        begin = load(BeginRotationSettings, environment("begin_rotation"))
        deliver = load(DeliverKeySettings, environment("deliver_key"))
        purge = load(PurgeSessionsSettings, environment("purge_sessions"))
        validate = load(ValidateRotationSettings, environment("validate_rotation"))
        restore = load(RestorePreviousKeySettings, environment("restore_previous_key"))
        finish = load(FinishRotationSettings, environment("finish_rotation"))
        respond = load(RespondToFindingSettings, environment("respond_to_finding"))
        calls, told, cluster = self.executions, telling(self.channel), self.cluster
        wired: dict[str, Any] = {
            "respond_to_finding": wiring.RespondToFinding(
                store, told, finding_policy.scope_of(respond)
            ),
            "rotate_secret": self._rotation(),
            "begin_rotation": wiring.BeginRotation(calls, begin, store, self.sessions, told),
            "deliver_key": wiring.DeliverKey(calls, deliver, store, self.delivery),
            "restart_service": wiring.RestartService(calls, restart, store, cluster),
            "check_rollout": wiring.CheckRollout(check, store, cluster, cluster),
            "purge_sessions": wiring.PurgeSessions(calls, purge, store, self.sessions),
            "restore_previous_key": wiring.RestorePreviousKey(calls, restore, store),
            "validate_rotation": wiring.ValidateRotation(
                validate, store, self.web, cluster, cluster
            ),
            "finish_rotation": wiring.FinishRotation(
                calls, finish, self.records, told, self.functions
            ),
            "watch_key": self._watch(),
        }
        for name, joined in wired.items():
            patch.setattr(wiring, name, partial(_same, joined))
        for module in (times, telemetry):
            patch.setattr(module, "now", lambda: self.now)

    def promote(self) -> None:
        """Be where the state machine starts: the new version has a key and is current."""
        self.store.documents[NEW] = json.dumps({key.FIELD: key.generate_key().base64})
        self.store.stages = {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
        self.operator.provides = self.new.base64

    def roll_out(self, service: str) -> None:
        """Do what Kubernetes does after a restart."""
        restarted = self.cluster.workloads[service]
        self.cluster.workloads[service] = replace(
            restarted, observed_generation=restarted.generation
        )
        self.cluster.pods_of[service] = two_pods(service, NEW, restarted.key_delivery)
        lines = [Line(self.now, "cannot decrypt session")]
        self.cluster.logs += [
            ContainerLog(pod.name, "app", lines, gets_key=True, trouble="")
            for pod in self.cluster.pods_of[service]
        ]

    def restart_all(self) -> None:
        """Be where the validation starts: every pod is of the events' own restart."""
        for service in SERVICES:
            seen = self.cluster.workloads[service]
            stamped = replace(seen, key_version=STAMP.version, key_delivery=STAMP.delivery)
            self.cluster.workloads[service] = stamped
            self.roll_out(service)

    def _watch(self) -> actions.Watch:
        settings = load(WatchKeySettings, environment("watch_key"))
        return actions.Watch(
            place=message_text.StackRefs(ARN, settings.state_machine_arn),
            limits=key_health.Limits(timedelta(days=30), timedelta(days=90), timedelta(hours=48)),
            secret=self.store,
            runs=self.runs,
            users=partial(
                session_store.count_sessions,
                self.sessions,
                session_store.PACES["fast"],
                FakeClock(),
            ),
            notifications=telling(self.channel),
            questions=FakeLooks(),
        )

    def _rotation(self) -> steps.Rotation:
        return steps.Rotation(ARN, self.store, self.runs, self.functions, "emergency")


@dataclass(frozen=True)
class Context:
    """What Lambda tells a function of its call."""

    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:keyturn"
    aws_request_id: str = "1"


def handler_of(function: str, patch: pytest.MonkeyPatch) -> Callable[[Any, Any], Any]:
    """Import a function afresh and return its handler; what it returns is JSON."""
    patch.delitem(sys.modules, function, raising=False)
    handler: Callable[[Any, Any], Any] = importlib.import_module(function).handler
    return handler


def _same(joined: Any) -> Any:
    return joined
