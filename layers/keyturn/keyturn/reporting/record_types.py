"""The form of a record, which is the output of a run: a type for each part of the document."""

from typing import Literal, NotRequired, TypedDict

from keyturn.run.ledger import LogsEntry, UrlStatus

Outcome = Literal["succeeded", "rolled-back", "failed", "superseded"]


class Sessions(TypedDict):
    """What the purge did; None where it was not reached. `endedFirst`: before the restart."""

    before: int | None
    deleted: int | None
    left: int | None
    createdSince: int | None
    createdPerSecond: float | None
    perSecond: float | None
    keysBefore: int | None
    keysAfter: int | None
    vanished: int | None
    claim: str | None
    endedFirst: int | None


class Service(TypedDict):
    """A service whose last old pod is gone."""

    name: str
    replicas: int
    podsBefore: int
    podsAfter: int
    alsoRestartedBy: str | None
    notRestarted: str | None
    seconds: float


class Step(TypedDict):
    """A step of the run, or of its rollback, which was completed."""

    name: str
    startedAt: str
    seconds: float
    rollback: NotRequired[bool]


class Timings(TypedDict):
    """Seconds from the request until the key was current, and the last old pod and session gone."""

    secondsToPromotion: float | None
    secondsToLastOldPod: float | None
    secondsToLastOldSession: float | None


class Fingerprints(TypedDict):
    """The names of the new key and of the one before."""

    new: str | None
    previous: str | None


class Versions(TypedDict):
    """The secret's versions: the run's own, and the one before."""

    new: str
    previous: str | None


class Delivery(TypedDict):
    """Where the key went; in Vault, to which version upon which, and which ones were destroyed."""

    target: str | None
    written: bool | None
    vaultVersion: NotRequired[int]
    vaultVersionBefore: NotRequired[int | None]
    destroyed: NotRequired[list[int]]
    unreadable: NotRequired[list[int]]
    says: NotRequired[str]


class Exposure(TypedDict):
    """What an emergency has marked and unlabelled, and whether other fields changed with it."""

    exposed: list[str]
    unlabelled: list[str]
    otherFieldsChanged: bool | None


class Validation(TypedDict, total=False):
    """What proved that users can log in; empty where it was not reached."""

    health: list[UrlStatus]
    login: UrlStatus
    logs: LogsEntry


class StepFailure(TypedDict):
    """The step that stopped the run, and its error."""

    step: str
    error: str
    says: str


Rollback = TypedDict("Rollback", {"from": str, "to": str, "deliver": bool, "restart": bool})


class Record(TypedDict):
    """The document of a run."""

    rotationId: str
    mode: str
    outcome: Outcome
    trigger: dict[str, str]
    versions: Versions
    sessions: Sessions
    services: list[Service]
    steps: list[Step]
    timings: Timings
    fingerprints: Fingerprints
    delivery: Delivery
    exposure: Exposure | None
    validation: Validation
    failedChecks: list[str]
    failure: StepFailure | None
    rollback: Rollback | None
    rollbackFailure: StepFailure | None
    secretArn: str
    startedAt: str
    finishedAt: str
    seconds: float
    keptAt: NotRequired[str | None]
