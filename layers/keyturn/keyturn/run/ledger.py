"""The ledger that the state machine passes from state to state: a type for each entry.

A function gets the ledger and returns its entry, which the state machine keeps under the name of
the state in snake case. `startedAt` and `seconds` of an entry are added by `telemetry.step`. What a
state catches is kept under the same name in `failures`, so that a failure names its step. A
rollback begins a new ledger and keeps the first one under `before_rollback`.

The names are those of the JSON: mypy checks every access, and `parse_ledger` checks once that the
entries of an input have the fields that their types require.
"""

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import (
    Any,
    Literal,
    NotRequired,
    TypedDict,
    cast,
    get_args,
    get_type_hints,
    is_typeddict,
)

from keyturn import errors
from keyturn.run.times import parse_timestamp


class Timed(TypedDict):
    """When a step began (ISO 8601, UTC), and how long it took."""

    startedAt: NotRequired[str]
    seconds: NotRequired[float]


class Start(TypedDict):
    """What the state machine gives to every run: when it began, and what it restarts."""

    startedAt: str
    services: list[str]
    pollSeconds: int


class SessionCount(TypedDict):
    """How many sessions there are; `counted` is false where there may be more."""

    sessions: int
    counted: bool
    problem: NotRequired[str]


class BeginRotationEntry(SessionCount, Timed):
    """How many sessions will end, and what became of the message on each channel."""

    announced: dict[str, str]


class MarkExposedEntry(Timed):
    """The versions that an emergency marked, and those that lost AWSPREVIOUS."""

    exposed: list[str]
    unlabelled: list[str]
    otherFieldsChanged: bool | None


class DeliverKeyEntry(Timed, total=False):
    """How far the delivery is; `delivery` is the revision of what the pods read, once it is done.

    `asked` and `askedAt` are of an operator's sync. The versions of Vault are those that were
    written, and that were written upon.
    """

    state: Literal["planned", "waiting", "done"]
    target: str
    written: bool
    says: str
    delivery: str
    fingerprint: str
    previousFingerprint: str | None
    asked: int
    askedAt: str
    vaultVersion: int
    vaultVersionBefore: int | None
    destroysExposed: bool
    restartedByOperator: list[str]
    looks: int
    pauseSeconds: int


class RestartServiceEntry(Timed):
    """A service whose restart was started, or had been."""

    service: str
    restarted: bool
    alsoRestartedBy: str | None
    podsBefore: int


class CheckRolloutEntry(Timed, total=False):
    """The last look at a service's rollout."""

    service: str
    state: Literal["waiting", "done"]
    says: str
    stalled: bool
    replicas: int
    alsoRestartedBy: str | None
    podsBefore: int
    podsAfter: int
    notRestarted: str | None
    looks: int
    pauseSeconds: int


class Failure(TypedDict):
    """What the state machine has caught: the error's name, and its text as Lambda returns it."""

    Error: str
    Cause: NotRequired[str]


class ServiceFailure(TypedDict):
    """A service that an emergency could not restart."""

    service: str
    failure: Failure


class ConfirmDeliveryEntry(Timed):
    """What the pods read after their restart."""

    target: str | None
    fingerprint: str


class PrimaryEntry(TypedDict):
    """How far the purge of one primary is, see `sessions.progress`."""

    primary: str
    identity: str
    phase: str
    cursor: str
    left: int
    found: int


class PurgeSessionsEntry(Timed, total=False):
    """How far a purge is, see `sessions.progress.progress_entry`; empty before it begins."""

    keysBefore: int
    keysAfter: int
    walks: list[PrimaryEntry]
    acknowledged: int
    restarts: int
    finished: bool
    before: int
    deleted: int
    vanished: int
    left: int
    createdSince: int
    createdPerSecond: float
    perSecond: float
    sessionsToGo: int | None
    secondsToGo: float | None


class UrlStatus(TypedDict):
    """A URL and the status that it answered with."""

    url: str
    status: int


class LogsEntry(TypedDict):
    """What the logs of the new pods show, see `validation.log_report`."""

    findings: list[dict[str, Any]]
    lines: dict[str, int]
    logs: int
    pods: list[dict[str, Any]]
    complete: bool
    reason: str
    says: str


class ValidateRotationEntry(Timed):
    """The facts that prove that users can log in."""

    health: list[UrlStatus]
    login: UrlStatus
    logs: LogsEntry


class DestroyExposedVersionsEntry(Timed):
    """The versions in Vault that were destroyed, and those that could not be read."""

    target: str
    destroyed: list[int]
    unreadable: list[int]
    says: str


class RotationInput(TypedDict):
    """What a run is: the input of its execution, see `run.Run`."""

    rotationId: str
    secretArn: str
    mode: str
    version: str
    previousVersion: str | None
    trigger: dict[str, str]
    fingerprint: str | None
    olderVersion: NotRequired[str]


RestorePreviousKeyEntry = TypedDict(
    "RestorePreviousKeyEntry",
    {
        "decided": str,
        "from": str,
        "to": str,
        "deliver": bool,
        "restart": bool,
        "rotation": RotationInput,
        "start": Start,
        "startedAt": NotRequired[str],
        "seconds": NotRequired[float],
    },
)


class Ledger(TypedDict, total=False):
    """Everything that the state machine passes on; an entry is absent before its state."""

    execution: str
    rotation: RotationInput
    start: Start
    begin_rotation: BeginRotationEntry
    purge_before_restart: PurgeSessionsEntry
    mark_exposed: MarkExposedEntry
    deliver_key: DeliverKeyEntry
    service: str
    restart_service: RestartServiceEntry
    check_rollout: CheckRolloutEntry
    restart_services: list[CheckRolloutEntry | ServiceFailure]
    confirm_delivery: ConfirmDeliveryEntry
    purge_sessions: PurgeSessionsEntry
    validate_rotation: ValidateRotationEntry
    destroy_exposed_versions: DestroyExposedVersionsEntry
    restore_previous_key: RestorePreviousKeyEntry
    failures: dict[str, Failure]
    before_rollback: "Ledger"


# What `deliver_key` is called for: by DeliverKey, ConfirmDelivery, MarkExposed and
# DestroyExposedVersions.
Action = Literal["deliver", "confirm", "mark-exposed", "destroy-exposed-versions"]

# The states that a record shows as steps, in their order, and the entry of each.
StepEntry = Literal[
    "begin_rotation",
    "deliver_key",
    "restart_services",
    "confirm_delivery",
    "purge_sessions",
    "validate_rotation",
]
STEPS: Mapping[str, StepEntry] = {
    "BeginRotation": "begin_rotation",
    "DeliverKey": "deliver_key",
    "RestartServices": "restart_services",
    "ConfirmDelivery": "confirm_delivery",
    "PurgeSessions": "purge_sessions",
    "ValidateRotation": "validate_rotation",
}


def parse_ledger(event: Mapping[str, Any]) -> Ledger:
    """The ledger of a function's input, each entry with the fields that its type requires.

    Raises RequestRefused, and names the entry and the field.
    """
    for name, required in _required_fields().items():
        if name not in event:
            continue
        if not isinstance(event[name], Mapping):
            raise errors.RequestRefused(f"The input's '{name}' is not an object. Nothing was done.")
        if missing := sorted(required - event[name].keys()):
            raise errors.RequestRefused(
                f"The input's '{name}' has no '{missing[0]}'. Nothing was done."
            )
    return cast("Ledger", event)


@functools.cache
def _required_fields() -> Mapping[str, frozenset[str]]:
    """The required fields of each entry but `rotation`, with which `run.parse_run` is stricter."""
    kinds = get_type_hints(Ledger).items()
    return {
        name: kind.__required_keys__
        for name, kind in kinds
        if is_typeddict(kind) and kind is not RotationInput
    }


def parse_action(event: Mapping[str, Any]) -> Action:
    """What `deliver_key` has to do. Raises RequestRefused for any other word."""
    for action in get_args(Action):
        if event.get("action") == action:
            return cast("Action", action)
    raise errors.RequestRefused(
        f"The input's action is none of {', '.join(get_args(Action))}. Nothing was done."
    )


def start_of(ledger: Ledger) -> Start:
    """What the run began with. Raises RequestRefused where it has not begun."""
    return ledger["start"] if "start" in ledger else _missing("start")


def started_at(ledger: Ledger) -> datetime:
    """When the run began. Raises RequestRefused where it has not."""
    return parse_timestamp(start_of(ledger)["startedAt"])


def delivery_of(ledger: Ledger) -> DeliverKeyEntry:
    """The delivery so far. Raises RequestRefused where none is planned."""
    return ledger["deliver_key"] if "deliver_key" in ledger else _missing("deliver_key")


def restart_of(ledger: Ledger) -> RestartServiceEntry:
    """The restart of the service. Raises RequestRefused where none was started."""
    return ledger["restart_service"] if "restart_service" in ledger else _missing("restart_service")


def sessions_counted(ledger: Ledger) -> int | None:
    """How many sessions there were when the run began; None where they were not all counted."""
    first = ledger.get("before_rollback") or ledger
    begun = first.get("begin_rotation")
    return begun["sessions"] if begun and begun["counted"] else None


def text(fields: Mapping[str, Any], name: str) -> str:
    """A text of an input. Raises RequestRefused where there is none."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise errors.RequestRefused(f"The input has no text '{name}'. Nothing was done.")
    return value


def _missing(name: str) -> Any:
    raise errors.RequestRefused(f"The input has no entry '{name}'. Nothing was done.")
