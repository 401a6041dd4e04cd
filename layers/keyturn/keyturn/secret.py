"""The four steps of a Secrets Manager rotation, as decisions over the label map.

Secrets Manager calls createSecret, setSecret, testSecret and finishSecret in turn, with the id of a
new version that carries AWSPENDING and, at first, no value. It may repeat the whole rotation with
the same token, also after a promotion. `next_move` decides from what the labels say; `take_step`
does what was decided. Whatever is repeated ends in the same state and never in a second key.

Source: AWS Secrets Manager User Guide, "Lambda rotation functions"; API reference of
PutSecretValue and UpdateSecretVersionStage.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Protocol, cast, get_args

from keyturn import errors, exposure, finding_history, key
from keyturn.checks import Check, find_problems, run_checks
from keyturn.labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS, Labels, LabelStore, labelled
from keyturn.run import ROTATION_ID, Origin, Run, now, timestamp
from keyturn.trigger import FINDING, Schedule, Trigger, classify

Step = Literal["createSecret", "setSecret", "testSecret", "finishSecret"]
STEPS: tuple[str, ...] = get_args(Step)


class Move(Enum):
    """What a step does, given the labels."""

    CREATE = "create the key of the pending version, unless it has one"
    CHECK_CONSUMERS = "prove that every consumer could take the key"
    TEST = "prove that the pending key works"
    PROMOTE = "move AWSCURRENT to the pending version"
    ENSURE_STARTED = "see that the run was started"
    NOTHING = "nothing: the version is promoted already"


@dataclass(frozen=True)
class Request:
    """Secrets Manager's event. The rotation token is passed on and never shown."""

    step: Step
    version: str
    rotation_token: str | None

    def __repr__(self) -> str:
        return f"Request({self.step}, {self.version})"


class SecretStore(LabelStore, exposure.KeyStore, finding_history.HistoryStore, Protocol):
    """The one secret, as a rotation needs it."""

    def read(self, version: str) -> str:
        """The document of a version that has one; waits a little for a new version to be seen."""

    def write_pending(self, version: str, document: str, rotation_token: str | None) -> bool:
        """Store the pending version's value; False where another value was stored first."""

    def move_current(self, to_version: str, from_version: str) -> None:
        """Compare and swap AWSCURRENT. Raises LabelMoved."""

    def drop_label(self, label: str, version: str) -> None:
        """Take a label off a version, if it is there."""

    def schedule(self) -> Schedule:
        """When the secret is rotated."""

    def created(self, version: str) -> datetime:
        """When a version was made, which is when its rotation was asked for."""


class Runs(Protocol):
    """Starts the state machine."""

    def ensure_started(self, run: Run) -> None:
        """Start the run's execution, or find that it was started."""


@dataclass(frozen=True)
class Rotation:
    """All that the four steps work with."""

    secret_arn: str
    store: SecretStore
    runs: Runs
    checks_before_promotion: Sequence[Check]
    checks_of_health: Sequence[Check]
    manual_mode: Literal["scheduled", "emergency"]

    def trigger(self, version: str, asked: datetime) -> Trigger:
        """Why the version's rotation was started, and so how it goes; the same at every retry."""
        started = self.store.started_rotations() if version.startswith(FINDING) else ()
        finding = finding_history.finding_of(started, version)
        return classify(version, self.store.schedule(), asked, self.manual_mode, finding)


def parse(event: Mapping[str, Any], secret_arn: str) -> Request:
    """Read Secrets Manager's event. Raises RequestRefused for any other secret, step or token."""
    if event.get("SecretId") != secret_arn:
        raise errors.RequestRefused(
            f"This function rotates {secret_arn} and no other secret. Nothing was written."
        )
    step = event.get("Step")
    if step not in STEPS:
        raise errors.RequestRefused(
            f"Unknown step; the steps are {', '.join(STEPS)}. Nothing was written."
        )
    version = event.get("ClientRequestToken")
    if not isinstance(version, str) or not ROTATION_ID.fullmatch(version):
        raise errors.RequestRefused(
            "The ClientRequestToken is not 32 to 64 letters, digits, hyphens or underscores, so it"
            " cannot name an execution. Nothing was written. Rotate again with another token."
        )
    return Request(cast("Step", step), version, event.get("RotationToken"))


def next_move(step: Step, version: str, labels: Labels) -> Move:
    """Decide what a step does. Pure. Raises RequestRefused where it must do nothing at all."""
    if version not in labels:
        raise errors.RequestRefused(
            f"{version} is not a version of this secret. Nothing was written."
        )
    if AWSCURRENT in labels[version]:
        return Move.ENSURE_STARTED if step == "finishSecret" else Move.NOTHING
    if AWSPENDING not in labels[version]:
        raise errors.RequestRefused(
            f"Version {version} is not pending: its rotation was abandoned or is over."
            " Nothing was written. Rotate again with a new token."
        )
    return {
        "createSecret": Move.CREATE,
        "setSecret": Move.CHECK_CONSUMERS,
        "testSecret": Move.TEST,
        "finishSecret": Move.PROMOTE,
    }[step]


def take_step(rotation: Rotation, request: Request) -> dict[str, Any]:
    """Do what the labels call for; returns the facts for the log. The errors are in `errors`."""
    labels = rotation.store.labels()
    move = next_move(request.step, request.version, labels)
    if move is Move.CREATE:
        facts = _create(rotation.store, request, labels)
    elif move is Move.CHECK_CONSUMERS:
        facts = _check(rotation, request, rotation.checks_before_promotion)
    elif move is Move.TEST:
        facts = _test(rotation, request, labels)
    elif move is Move.PROMOTE:
        facts = _promote(rotation, request, labels)
    elif move is Move.ENSURE_STARTED:
        facts = _ensure_started(rotation, _run(rotation, request, labelled(labels, AWSPREVIOUS)))
    else:
        facts = {}
    return {"move": request.step, "decided": move.value, **facts}


def _create(store: SecretStore, request: Request, labels: Labels) -> dict[str, Any]:
    """Get before put: a value that is there already, ours or a racer's, is the key."""
    found = store.find(request.version)
    if found is None:
        current = labelled(labels, AWSCURRENT)
        if current is None:
            raise errors.RequestRefused(
                "The secret has no current version, so there is no document to keep. Nothing was"
                f' written. Store a first value: {{"{key.FIELD}": "<base64 of 32 bytes>"}}.'
            )
        document = key.parse_document(store.read(current)).with_key(key.generate())
        if store.write_pending(request.version, document.to_json(), request.rotation_token):
            return {"created": True, "fingerprint": document.key.fingerprint}
        found = store.read(request.version)
    return {"created": False, "fingerprint": key.parse_document(found).key.fingerprint}


def _test(rotation: Rotation, request: Request, labels: Labels) -> dict[str, Any]:
    """The key works and the services are healthy.

    It may equal the current key: `rotate-secret --no-rotate-immediately` runs this step alone, on a
    copy of the current value, and is the dry run, in which every problem counts.
    """
    tested = key.parse_document(rotation.store.read(request.version)).key
    key.prove(tested)
    if _is_dry_run(rotation.store, labels, tested):
        facts = {"checked": run_checks(rotation.checks_of_health)}
    else:
        facts = _check(rotation, request, rotation.checks_of_health)
    return {"fingerprint": tested.fingerprint, **facts}


def _is_dry_run(store: SecretStore, labels: Labels, tested: key.SessionKey) -> bool:
    current = labelled(labels, AWSCURRENT)
    found = store.find(current) if current else None
    return found is not None and key.parse_document(found).key == tested


def _check(rotation: Rotation, request: Request, checks: Iterable[Check]) -> dict[str, Any]:
    """Run checks, unless it is an emergency: that goes on whatever they say.

    It runs them all once, in the call that promotes the key and hands on what they said (`_run`).
    """
    trigger = rotation.trigger(request.version, rotation.store.created(request.version))
    notes: list[str] = []
    checked = 0 if trigger.mode == "emergency" else run_checks(checks, notes)
    return {"mode": trigger.mode, "checked": checked, **({"notes": notes} if notes else {})}


def _promote(rotation: Rotation, request: Request, labels: Labels) -> dict[str, Any]:
    current = labelled(labels, AWSCURRENT)
    if current is None:
        raise errors.LabelMoved("No version carries AWSCURRENT. Nothing was promoted.")
    key.parse_document(rotation.store.read(request.version))
    run = _run(rotation, request, current)
    try:
        rotation.store.move_current(request.version, current)
    except errors.LabelMoved:
        if labelled(rotation.store.labels(), AWSCURRENT) != request.version:
            raise
    return {"previous": current, **_ensure_started(rotation, run, labelled(labels, AWSPREVIOUS))}


def _run(rotation: Rotation, request: Request, previous: str | None) -> Run:
    """What is to be started; in an emergency with what the checks had against it.

    At a retry they may say something else: if it was started by then, its name makes it one run.
    """
    asked = rotation.store.created(request.version)
    trigger = rotation.trigger(request.version, asked)
    origin = Origin(trigger.kind, trigger.reason, timestamp(asked), trigger.finding)
    run = Run(request.version, rotation.secret_arn, trigger.mode, previous, origin)
    if run.mode != "emergency":
        return run
    checks = [*rotation.checks_before_promotion, *rotation.checks_of_health]
    return replace(run, failed_checks=find_problems(checks))


def _ensure_started(rotation: Rotation, run: Run, before: str | None = None) -> dict[str, Any]:
    """Start the run, then tidy the labels: a retry comes here again, and AWSPENDING does no harm.

    In an emergency what was current is marked as exposed and loses its label, and so does `before`,
    which was previous until then: pods may run its key.
    """
    rotation.runs.ensure_started(run)
    why = {"mode": run.mode, "reason": run.origin.reason, "failedChecks": run.failed_checks}
    if run.mode == "emergency":
        replaced = [one for one in (before, run.previous) if one]  # a retry knows the second alone
        why |= exposure.mark_versions(rotation.store, replaced, "emergency", now())
        if run.previous:
            rotation.store.drop_label(AWSPREVIOUS, run.previous)
    rotation.store.drop_label(AWSPENDING, run.version)
    return {"execution": run.execution_name, **why}
