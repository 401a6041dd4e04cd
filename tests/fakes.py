"""In-memory stands-in for what the nouns need, with the faults of the real ones.

Each implements a noun's `Protocol`; `tests/contract` runs the same cases on these and the real.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from keyturn import errors
from keyturn.delivery.external_secrets import ExternalSecret
from keyturn.delivery.kubernetes_secret import SecretContent
from keyturn.delivery.vault import SecretVersion, VersionMetadata
from keyturn.delivery.vault_operator import StaticSecret
from keyturn.monitoring import key_health
from keyturn.reporting.notifications import Message, Notifications
from keyturn.rollout.pod_annotations import KEY_DELIVERY, KEY_VERSION, Stamp
from keyturn.rollout.status import Pod, Workload
from keyturn.rotation.preflight import Answers, FunctionAnswer, Question
from keyturn.run.run import Run
from keyturn.secret import exposure, finding_history
from keyturn.secret.staging_labels import Version
from keyturn.secret.trigger import Schedule
from keyturn.sessions.store import ScanPage
from keyturn.validation.endpoints import Answer
from keyturn.validation.pod_logs import ContainerLog, ServiceLogs

EVERY_DAY = "cron(0 0 * * ? *)"  # with a window of a whole day: any moment is scheduled
MADE = datetime(2026, 11, 1, tzinfo=UTC)  # versions of which nothing else is said


@dataclass
class FakeSecretStore:
    """One secret: versions with labels and, for most, a document."""

    stages: dict[str, list[str]] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    lost_answers: int = 0
    racing_document: str | None = None
    writes: list[str] = field(default_factory=list)
    rules: Schedule = field(default_factory=lambda: Schedule(EVERY_DAY, "24h", True, None))
    asked_at: datetime = datetime(2026, 11, 24, 11, 59, tzinfo=UTC)
    made: dict[str, datetime] = field(default_factory=dict)
    rotations: list[str] = field(default_factory=list)
    changed_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    tags_down: bool = False
    deleted_at: datetime | None = None
    keeps_pending: bool = False

    def seen(self) -> key_health.Secret:
        return key_health.Secret(
            tuple(self.versions()),
            self.changed_at,
            self.rules,
            self.deleted_at,
            tuple(self.marks()),
        )

    def marks(self) -> list[exposure.Mark]:
        return exposure.exposed_versions(self.tags)

    def mark_exposed(self, mark: exposure.Mark) -> None:
        if self.tags_down:
            raise errors.SecretsManagerUnavailable("TagResource failed")
        for dropped in exposure.tags_to_drop(mark, self.tags, self.stages):
            del self.tags[dropped]
        self.tags[mark.tag_key] = mark.tag_value

    def started_rotations(self) -> list[finding_history.StartedRotation]:
        return finding_history.started_rotations(self.tags)

    def record_rotation(self, started: finding_history.StartedRotation) -> None:
        if self.tags_down:
            raise errors.SecretsManagerUnavailable("TagResource failed")
        for dropped in finding_history.tags_to_drop(started, self.tags):
            del self.tags[dropped]
        self.tags[started.tag_key] = started.tag_value

    def versions(self) -> list[Version]:
        seen = [v for v, labels in self.stages.items() if labels or v in self.documents]
        return [
            Version(
                version,
                self.made.get(version, MADE) if version in self.documents else None,
                frozenset(self.stages[version]),
            )
            for version in seen
        ]

    def start_rotation(self, token: str) -> bool:
        for version, labels in self.stages.items():
            if "AWSPENDING" in labels and "AWSCURRENT" not in labels and version != token:
                return False
        if token not in self.stages:
            self.stages[token] = ["AWSPENDING"]
            self.rotations.append(token)
            self._lose_an_answer()
        return True

    def labels(self) -> dict[str, list[str]]:
        return {version: list(labels) for version, labels in self.stages.items()}

    def schedule(self) -> Schedule:
        return self.rules

    def created(self, version: str) -> datetime:
        return self.asked_at

    def find(self, version: str) -> str | None:
        return self.documents.get(version)

    def read(self, version: str) -> str:
        if version not in self.documents:
            raise errors.SecretsManagerUnavailable(f"{version} has no value yet")
        return self.documents[version]

    def write_pending(self, version: str, document: str, rotation_token: str | None) -> bool:
        if self.racing_document is not None:
            self.documents[version], self.racing_document = self.racing_document, None
        if version in self.documents:
            return self.documents[version] == document
        self.documents[version] = document
        self.writes.append(version)
        self._lose_an_answer()
        return True

    def move_current(self, to_version: str, from_version: str) -> None:
        if "AWSCURRENT" not in self.stages.get(from_version, ()):
            raise errors.LabelMoved("AWSCURRENT is elsewhere")
        for labels in self.stages.values():
            if "AWSPREVIOUS" in labels:
                labels.remove("AWSPREVIOUS")
        self.stages[from_version].remove("AWSCURRENT")
        self.stages[from_version].append("AWSPREVIOUS")
        self.stages[to_version].append("AWSCURRENT")
        if "AWSPENDING" in self.stages[to_version] and not self.keeps_pending:
            self.stages[to_version].remove(
                "AWSPENDING"
            )  # "Lambda rotation functions", finishSecret
        self._lose_an_answer()

    def drop_label(self, label: str, version: str) -> None:
        if label in self.stages.get(version, ()):
            self.stages[version].remove(label)

    def _lose_an_answer(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise errors.SecretsManagerUnavailable("the answer was lost; the write stands")


@dataclass
class FakeRuns:
    """Remembers which runs were started; each once."""

    started: list[Run] = field(default_factory=list)
    down: bool = False
    known: list[key_health.Execution] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def was_lost(self, execution_arn: str) -> bool:
        return execution_arn in self.lost

    def executions(self) -> list[key_health.Execution]:
        return list(self.known)

    def outcome(self, execution_arn: str) -> str | None:
        return self.outcomes.get(execution_arn)

    def ensure_started(self, run: Run) -> str:
        if self.down:
            raise errors.StateMachineUnavailable("Step Functions does not answer")
        if not any(run.is_input(started.as_ledger()) for started in self.started):
            self.started.append(run)
        return run.execution_name


@dataclass
class FakeExecutions:
    """The history of one state machine: it has made every call, unless a test says otherwise."""

    state_machine_arn: str = ""
    made_the_call: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def check_ready(self) -> None:
        """Its history can always be read."""

    def wait_for_call(self, execution_arn: str, function_arn: str, payload: Any) -> bool:
        self.asked.append((execution_arn, function_arn))
        return self.made_the_call


@dataclass
class FakeQuestions:
    """Functions that answer what a test says; those that are asked under a name, later."""

    answers: Answers | None = field(
        default_factory=lambda: [FunctionAnswer(function="purge_sessions")]
    )
    down: bool = False
    asked: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def ask(self, question: Question, seconds: float) -> Answers | None:
        self.asked.append(question)
        return self.answers

    def start(self, question: Question, name: str) -> None:
        if self.down:
            raise errors.StateMachineUnavailable("Step Functions does not answer")
        self.started.append(name)

    def answers_of(self, name: str) -> Answers | None:
        return self.answers if name in self.started else None


def sound_answers() -> list[dict[str, Any]]:
    """What the functions answer where services have what was carried to them."""
    target = "Kubernetes Secret web/session-key"
    delivered = {"holds": "current", "version": None, "fingerprint": "0" * 16, "target": target}
    pods = {"web-console": {"current": 2, "others": 0, "unstamped": 0}}
    return [
        {"function": "deliver_key", "delivered": delivered},
        {"function": "check_rollout", "pods": pods},
    ]


@dataclass
class FakeLooks:
    """Those who look for the watch; without answers of the test's own, nothing has drifted."""

    answers: list[dict[str, Any]] = field(default_factory=sound_answers)
    down: bool = False
    late: bool = False
    asked: list[str] = field(default_factory=list)

    def ask(self, question: str, seconds: float) -> list[dict[str, Any]] | None:
        self.asked.append(question)
        if self.down:
            raise errors.StateMachineUnavailable("Step Functions does not answer")
        return None if self.late else self.answers


@dataclass
class FakeTarget:
    """A Kubernetes Secret's field."""

    value: str | None = None
    version: int = 1
    immutable: bool = False
    owner: str | None = None
    conflict: bool = False
    swallows_writes: bool = False
    writes: int = 0
    gone: bool = False
    name: str = "Kubernetes Secret web/session-key"

    def read(self) -> SecretContent:
        if self.gone:
            raise errors.ServiceNotFound(f"{self.name} does not exist")
        return SecretContent(self.value, str(self.version), self.immutable, self.owner)

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        if self.conflict or resource_version != str(self.version):
            raise errors.DeliveryConflict("the object was changed by another writer")
        if dry_run:
            return
        self.writes += 1
        if not self.swallows_writes:
            self.value, self.version = value, self.version + 1


@dataclass
class FakeOperator:
    """The External Secrets Operator with one ExternalSecret, one state of a sync after the other.

    `begin` reads the provider, `write` fills the Secret, `finish` or `fail` tells how it went, as
    `externalsecret_controller.go` does (`shouldRefresh`, `markAsDone`, `markAsFailed`).
    """

    target: FakeTarget
    provides: str | None = field(default=None, repr=False)
    seen: ExternalSecret = field(
        default_factory=lambda: ExternalSecret("session-key", writes="session-key")
    )
    every: timedelta = timedelta(hours=1)
    token: str = ""
    tokens: list[str] = field(default_factory=list)
    dry_runs: list[str] = field(default_factory=list)
    lost_answers: int = 0
    name: str = "ExternalSecret web/session-key"
    _synced: str | None = None
    _working: tuple[datetime, str, str | None] | None = field(default=None, repr=False)

    def read(self) -> ExternalSecret:
        return self.seen

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        if dry_run:
            self.dry_runs.append(token)
            return
        self.token = token
        self.tokens.append(token)
        if self.lost_answers:
            self.lost_answers -= 1
            raise errors.ClusterUnavailable("the answer was lost; the annotation stands")

    def begin(self, at: datetime) -> bool:
        """Begin a sync if one is due, and read what the provider has now."""
        if self._working is None and self._is_due(at):
            self._working = (at.replace(microsecond=0), f"1-{self.token}", self.provides)
        return self._working is not None

    def write(self) -> None:
        """Write what was read into the Secret."""
        assert self._working is not None
        _, _, value = self._working
        if value != self.target.value:
            self.target.value, self.target.version = value, self.target.version + 1

    def finish(self) -> None:
        """Mark the sync as done; its time is when it began."""
        assert self._working is not None
        began, self._synced, _ = self._working
        self.seen = replace(self.seen, ready=True, refreshed_at=began)
        self._working = None

    def fail(self) -> None:
        """Mark the sync as failed; when and what was synced last stays as it was."""
        self.seen, self._working = replace(self.seen, ready=False), None

    def sync(self, at: datetime) -> None:
        """A whole sync, if one is due."""
        if self.begin(at):
            self.write()
            self.finish()

    def _is_due(self, at: datetime) -> bool:
        changed = self._synced != f"1-{self.token}"
        passed = self.seen.refreshed_at is None or at - self.seen.refreshed_at >= self.every
        if self.seen.refresh_policy == "CreatedOnce":
            return self._synced is None
        if self.seen.refresh_policy == "OnChange":
            return changed
        return (self.every > timedelta() or self._synced is None) and (changed or passed)


@dataclass
class FakeVaultSecret:
    """A secret of a KV version 2 engine: each write is a new version, checked against the last."""

    fields: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    deleted: set[int] = field(default_factory=set)
    destroyed: set[int] = field(default_factory=set)
    key_field: str = "SESSION_ENCRYPTION_KEY"
    denied: bool = False
    checks: int = 0
    swallows_writes: bool = False
    keeps_doomed: bool = False
    lost_answers: int = 0
    name: str = "Vault secret/trading-platform/web-console"

    def put(self, **fields: Any) -> int:
        """What somebody else writes."""
        self.fields[len(self.fields) + 1] = fields
        return len(self.fields)

    def check_access(self) -> None:
        self.checks += 1
        if self.denied:
            raise errors.AccessDenied("Vault does not let our token `update` it")

    def read(self) -> SecretVersion:
        if not self.fields:
            raise errors.VaultSecretNotFound(f"{self.name} does not exist")
        latest = len(self.fields)
        if latest in self.deleted | self.destroyed:
            raise errors.VaultVersionDeleted(f"Version {latest} is deleted")
        return SecretVersion(latest, self.key_field, dict(self.fields[latest]))

    def write(self, kept: SecretVersion, value: str) -> None:
        if kept.version != len(self.fields):
            raise errors.DeliveryConflict("the object was changed by another writer")
        if not self.swallows_writes:
            self.put(**{**kept.fields, self.key_field: value})
        if self.lost_answers:
            self.lost_answers -= 1
            raise errors.VaultUnavailable("the answer was lost; the write stands")

    def versions(self) -> list[VersionMetadata]:
        return [
            VersionMetadata(number, number in self.deleted, number in self.destroyed)
            for number in self.fields
        ]

    def value_of(self, version: int) -> str | None:
        if version in self.deleted | self.destroyed or version not in self.fields:
            return None
        return SecretVersion(version, self.key_field, self.fields[version]).value

    def destroy(self, versions: Sequence[int]) -> None:
        if not self.keeps_doomed:
            self.destroyed |= {*versions}


@dataclass
class FakeVaultOperator:
    """The Vault Secrets Operator: `sync` reads Vault and writes the Secret, if it was asked to."""

    secret: FakeVaultSecret
    target: FakeTarget
    seen: StaticSecret = field(
        default_factory=lambda: StaticSecret(
            writes="session-key",
            engine="kv-v2",
            mount="secret",
            path="trading-platform/web-console",
        )
    )
    tokens: list[str] = field(default_factory=list)
    dry_runs: list[str] = field(default_factory=list)
    lost_answers: int = 0
    name: str = "VaultStaticSecret web/web-console"

    def read(self) -> StaticSecret:
        return self.seen

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        if dry_run:
            self.dry_runs.append(token)
            return
        self.tokens.append(token)
        if self.lost_answers:
            self.lost_answers -= 1
            raise errors.ClusterUnavailable("the answer was lost; the annotation stands")

    def sync(self) -> None:
        if self.tokens:
            self.target.value = self.secret.read().value
            self.target.version += 1


@dataclass
class FakeCluster:
    """Workloads and pods that change only when a test says so."""

    workloads: dict[str, Workload] = field(default_factory=dict)
    pods_of: dict[str, Sequence[Pod]] = field(default_factory=dict)
    logs: list[ContainerLog] = field(default_factory=list)
    crashes: list[ContainerLog] = field(default_factory=list)
    restarts: list[tuple[str, bool]] = field(default_factory=list)
    annotations: list[dict[str, str]] = field(default_factory=list)
    matches_reloader: bool | None = False

    def workload(self, service: str) -> Workload:
        if service not in self.workloads:
            raise errors.ServiceNotFound(f"there is no {service}")
        return self.workloads[service]

    def pods(self, service: str) -> Sequence[Pod]:
        if service not in {*self.pods_of, *self.workloads}:
            raise errors.ServiceNotFound(f"there is no {service}")
        return self.pods_of.get(service, ())

    def restart(
        self, service: str, annotations: dict[str, str], resource_version: str, *, dry_run: bool
    ) -> Workload:
        seen = self.workload(service)
        if resource_version != seen.resource_version:
            raise errors.DeliveryConflict(f"someone else wrote {service} first")
        self.restarts.append((service, dry_run))
        self.annotations.append(annotations)
        patched = replace(
            seen,
            generation=seen.generation + 1,
            resource_version=f"{seen.resource_version}+1",
            key_version=annotations[KEY_VERSION],
            key_delivery=annotations.get(KEY_DELIVERY),
        )
        if not dry_run:
            self.workloads[service] = patched
        return patched

    def of_restart(
        self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
    ) -> ServiceLogs:
        """The logs of the containers that run, unless only those that crashed are asked for."""
        found = self.crashes if crashed_only else [*self.logs, *self.crashes]
        pods = self.pods_of.get(service, ())
        return ServiceLogs(
            service,
            [pod.name for pod in pods],
            [pod.name for pod in pods if stamp.is_on(pod)],
            [log for log in found if log.pod.startswith(service)],
        )

    def secret_matches_reloader(self) -> bool | None:
        return self.matches_reloader


@dataclass
class FakeSessionStore:
    """A Redis database; in a cluster each primary, one for each run id, holds a share of it.

    A walk shows what a primary held at its start, in the order of the names.
    """

    keys: set[str] = field(default_factory=set)
    prefixes: tuple[str, ...] = ("session:",)
    runs: list[str] = field(default_factory=lambda: ["run-1"])
    down: bool = False
    denied: str = ""
    undeletable: set[str] = field(default_factory=set)
    page_sizes: list[int] = field(default_factory=list)
    restart_at_page: int | None = None
    flushes: int = 0
    moving: bool = False
    walks: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def primaries(self) -> list["FakePrimary"]:
        if self.down:
            raise errors.SessionStoreUnavailable("Redis does not answer")
        return [FakePrimary(self, index, run) for index, run in enumerate(self.runs)]

    def check_permissions(self, *, flush: bool) -> None:
        if self.denied and (self.denied != "FLUSHDB" or flush):
            raise errors.SessionCommandRefused(f"Redis does not permit {self.denied} to the user")

    def share(self, index: int) -> set[str]:
        """The names on one primary."""
        return {name for name in tuple(self.keys) if sum(name.encode()) % len(self.runs) == index}

    def page_turned(self, keys: int) -> None:
        """Whatever happens while a page is turned; stores that misbehave do so here."""
        self.page_sizes.append(keys)
        if len(self.page_sizes) == self.restart_at_page:
            self.runs = ["run-2", *self.runs[1:]]


@dataclass
class FakePrimary:
    """One primary, as it was when the store was asked; a restart ends its connections."""

    store: FakeSessionStore
    index: int
    identity: str

    @property
    def name(self) -> str:
        return f"redis-{self.index}:6379"

    @property
    def keys(self) -> int:
        return len(self.store.share(self.index))

    def check_settled(self) -> None:
        if self.store.moving:
            raise errors.SessionStoreUnavailable("slots are on their way")

    def latency(self) -> float:
        return 0.0

    def count_page(self, cursor: str, keys: int) -> ScanPage:
        following, matching = self._scan(int(cursor), keys)
        return ScanPage(following, matched=len(matching))

    def delete_page(self, cursor: str, keys: int) -> ScanPage:
        following, matching = self._scan(int(cursor), keys)
        gone = matching - self.store.undeletable
        self.store.keys -= gone
        return ScanPage(following, len(matching), len(gone), len(matching) - len(gone))

    def has_foreign_keys(self, samples: int) -> bool:
        return any(not name.startswith(self.store.prefixes) for name in self._held())

    def flush(self) -> None:
        self.store.keys -= self._held()
        self.store.flushes += 1

    def _held(self) -> set[str]:
        if self.store.down or self.store.runs[self.index] != self.identity:
            raise errors.SessionStoreUnavailable("Redis closed the connection")
        return self.store.share(self.index)

    def _scan(self, cursor: int, keys: int) -> tuple[str, set[str]]:
        self.store.page_turned(keys)
        held = self._held()
        # A cursor means something to the process that gave it; another shows what it likes.
        walk = self.store.walks.setdefault(self.identity, [])
        if cursor == 0:
            walk[:] = sorted(held)
        page = {name for name in walk[cursor : cursor + keys] if name in held}
        end = cursor + keys >= len(walk)
        following = "0" if end else str(cursor + keys)
        return following, {name for name in page if name.startswith(self.store.prefixes)}


@dataclass
class FakeStopwatch:
    """A clock that stands still until a test, or a slow store, moves it."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class FakeClock:
    """Time that stands still until someone sleeps, or a slow store takes its own."""

    seconds: float = 0.0
    slept: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float, /) -> None:
        self.seconds += seconds
        self.slept += seconds


@dataclass
class FakeWeb:
    """URLs and what they answer; a URL that is not known does not answer."""

    answers: dict[str, Answer] = field(default_factory=dict)

    def look(self, url: str) -> Answer:
        if url not in self.answers:
            raise errors.ServiceUnhealthy(f"{url} does not answer.")
        return self.answers[url]


@dataclass
class FakeRecordStore:
    """Keeps records by their run."""

    documents: dict[str, str] = field(default_factory=dict)
    down: bool = False

    def keep(self, name: str, document: str) -> str | None:
        self.check_ready()
        while name in self.documents:
            name += "+"
        self.documents[name] = document
        return f"memory://{name}"

    def check_ready(self) -> None:
        if self.down:
            raise errors.RecordNotStored("the bucket does not answer")


@dataclass
class FakeChannel:
    """Keeps what people were told."""

    told: list[Message] = field(default_factory=list)
    down: bool = False
    name: str = "topic"

    def send(self, message: Message) -> None:
        self.check_ready()
        self.told.append(message)

    def check_ready(self) -> None:
        if self.down:
            raise errors.NotificationFailed(f"the {self.name} did not take it")


def telling(*channels: FakeChannel) -> Notifications:
    """The channels of a stack."""
    return Notifications(channels, "keyturn in account 123456789012, eu-central-1")
