"""The four steps of a Secrets Manager rotation, as decisions over the label map.

Secrets Manager calls createSecret, setSecret, testSecret and finishSecret in turn, with the id of a
new version that carries AWSPENDING and, at first, no value. It may repeat the whole rotation with
the same token, also after a promotion. `next_move` decides from the labels; `take_step`
does what was decided. Whatever is repeated ends in the same state and never in a second key.

Two calls change the secret: PutSecretValue in createSecret, and the move of AWSCURRENT in
finishSecret, which takes AWSPENDING away by itself. A label that is removed by another call can be
read as a rotation that did not complete; what an emergency has to mark and to unlabel is a state of
its run (`exposure.mark_replaced`).

Source: AWS Secrets Manager User Guide, "Lambda rotation functions"; API reference of
PutSecretValue and UpdateSecretVersionStage.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Protocol, cast, get_args

from keyturn import errors
from keyturn.rotation import preflight
from keyturn.run.run import ROTATION_ID, Origin, Run
from keyturn.run.times import format_timestamp
from keyturn.secret import finding_history, key
from keyturn.secret.key import SecretDocument
from keyturn.secret.staging_labels import (
    AWSCURRENT,
    AWSPENDING,
    AWSPREVIOUS,
    Labels,
    LabelStore,
    labelled,
)
from keyturn.secret.trigger import FINDING, Schedule, Trigger, classify

Step = Literal["createSecret", "setSecret", "testSecret", "finishSecret"]
STEPS: tuple[str, ...] = get_args(Step)


class StepAction(Enum):
    """What a step does, given the labels."""

    CREATE = "create the key of the pending version, unless it has one"
    CHECK_CONSUMERS = "run the preflight check of every function of the run"
    TEST = "prove that the pending key works"
    PROMOTE = "move AWSCURRENT to the pending version"
    ENSURE_STARTED = "verify that the run was started"
    NOTHING = "nothing: the version is promoted already"


@dataclass(frozen=True)
class Request:
    """Secrets Manager's event. The rotation token is passed on and never shown."""

    step: Step
    version: str
    rotation_token: str | None

    def __repr__(self) -> str:
        return f"Request({self.step}, {self.version})"


class SecretStore(LabelStore, finding_history.HistoryStore, Protocol):
    """The operations on the secret that a rotation needs."""

    def find(self, version: str) -> str | None:
        """The document of a version, or None if it has no value."""

    def read(self, version: str) -> str:
        """The document of a version that has one; waits briefly for a new version to be visible."""

    def write_pending(self, version: str, document: str, rotation_token: str | None) -> bool:
        """Store the pending version's value; False where another value was stored first."""

    def move_current(self, to_version: str, from_version: str) -> None:
        """Compare and swap AWSCURRENT. Raises LabelMoved."""

    def schedule(self) -> Schedule:
        """When the secret is rotated."""

    def created(self, version: str) -> datetime:
        """When a version was created, which is when its rotation was requested."""


class Runs(Protocol):
    """Starts the state machine."""

    def ensure_started(self, run: Run) -> str:
        """Start the run's execution, or find it started; returns its name."""


@dataclass(frozen=True)
class Rotation:
    """The dependencies of the four steps."""

    secret_arn: str
    store: SecretStore
    runs: Runs
    functions: preflight.Questions
    manual_mode: Literal["scheduled", "emergency"]

    def trigger(self, version: str, asked: datetime) -> Trigger:
        """Why the version's rotation was started, and so its mode; the same at every retry."""
        started = self.store.started_rotations() if version.startswith(FINDING) else ()
        finding = finding_history.finding_of(started, version)
        return classify(version, self.store.schedule(), asked, self.manual_mode, finding)


def parse_request(event: Mapping[str, Any], secret_arn: str) -> Request:
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


def next_action(step: Step, version: str, labels: Labels) -> StepAction:
    """Decide what a step does. Pure. Raises RequestRefused where it must do nothing at all."""
    if version not in labels:
        raise errors.RequestRefused(
            f"{version} is not a version of this secret. Nothing was written."
        )
    if AWSCURRENT in labels[version]:
        return StepAction.ENSURE_STARTED if step == "finishSecret" else StepAction.NOTHING
    if AWSPENDING not in labels[version]:
        raise errors.RequestRefused(
            f"Version {version} is not pending: its rotation was abandoned or is over."
            " Nothing was written. Rotate again with a new token."
        )
    return {
        "createSecret": StepAction.CREATE,
        "setSecret": StepAction.CHECK_CONSUMERS,
        "testSecret": StepAction.TEST,
        "finishSecret": StepAction.PROMOTE,
    }[step]


def take_step(rotation: Rotation, request: Request) -> dict[str, Any]:
    """Act on the decision; returns the facts for the log. The errors are in `errors`."""
    labels = rotation.store.labels()
    move = next_action(request.step, request.version, labels)
    if move is StepAction.CREATE:
        facts = _create(rotation.store, request, labels)
    elif move is StepAction.CHECK_CONSUMERS:
        facts = _preflight(rotation, request)
    elif move is StepAction.TEST:
        facts = _test(rotation, request, labels)
    elif move is StepAction.PROMOTE:
        facts = _promote(rotation, request, labels)
    elif move is StepAction.ENSURE_STARTED:
        document = key.parse_document(rotation.store.read(request.version))
        run = _run(rotation, request, document, previous=labelled(labels, AWSPREVIOUS))
        facts = _ensure_started(rotation, run)
    else:
        facts = {}
    return {"move": request.step, "decided": move.value, **facts}


def _create(store: SecretStore, request: Request, labels: Labels) -> dict[str, Any]:
    """Get before put: an existing value, of this call or a concurrent one, is the key."""
    stored = store.find(request.version)
    if stored is None:
        current = labelled(labels, AWSCURRENT)
        if current is None:
            raise errors.RequestRefused(
                "The secret has no current version, so there is no document to keep. Nothing was"
                f' written. Store a first value: {{"{key.FIELD}": "<base64 of 32 bytes>"}}.'
            )
        document = key.parse_document(store.read(current)).with_key(key.generate_key())
        document.check_size()
        if store.write_pending(request.version, document.to_json(), request.rotation_token):
            return {"created": True, "fingerprint": document.key.fingerprint}
        stored = store.read(request.version)
    return {"created": False, "fingerprint": key.parse_document(stored).key.fingerprint}


def _test(rotation: Rotation, request: Request, labels: Labels) -> dict[str, Any]:
    """Test the key.

    It may equal the current key: `rotate-secret --no-rotate-immediately` runs this step alone, on a
    copy of the current value. That is the dry run, which makes the preflight of a scheduled
    rotation.
    """
    tested = key.parse_document(rotation.store.read(request.version)).key
    key.prove_key(tested)
    facts = {}
    if _is_dry_run(rotation.store, labels, tested):
        facts = _ask(rotation)
    return {"fingerprint": tested.fingerprint, **facts}


def _is_dry_run(store: SecretStore, labels: Labels, tested: key.SessionKey) -> bool:
    current = labelled(labels, AWSCURRENT)
    document = store.find(current) if current else None
    return document is not None and key.parse_document(document).key == tested


def _preflight(rotation: Rotation, request: Request) -> dict[str, Any]:
    """Stop a scheduled rotation that could not finish; an emergency asks after its promotion."""
    trigger = rotation.trigger(request.version, rotation.store.created(request.version))
    facts = {} if trigger.mode == "emergency" else _ask(rotation)
    return {"mode": trigger.mode, **facts}


def _ask(rotation: Rotation) -> dict[str, Any]:
    """Ask every function, and raise the first problem. Nothing has changed yet."""
    answers = rotation.functions.ask("preflight", preflight.WAIT_SECONDS)
    preflight.raise_first_problem(preflight.problems_in(answers))
    return {"asked": len(answers or ()), "notes": preflight.notes_in(answers)}


def _promote(rotation: Rotation, request: Request, labels: Labels) -> dict[str, Any]:
    current = labelled(labels, AWSCURRENT)
    if current is None:
        raise errors.LabelMoved("No version carries AWSCURRENT. Nothing was promoted.")
    document = key.parse_document(rotation.store.read(request.version))
    run = _run(rotation, request, document, previous=current, older=labelled(labels, AWSPREVIOUS))
    if run.mode != "emergency":
        _refuse_other_fields(rotation, request.version, document, current)
    try:
        rotation.store.move_current(request.version, current)
    except errors.LabelMoved:
        if labelled(rotation.store.labels(), AWSCURRENT) != request.version:
            raise
    return {"previous": current, **_ensure_started(rotation, run)}


def _refuse_other_fields(
    rotation: Rotation, version: str, document: SecretDocument, current: str
) -> None:
    """Raise OtherFieldsChanged if the promotion would revert a change of another field.

    A version's value never changes, and the promotion is refused if AWSCURRENT has moved, so
    nothing can change between this check and the move. It does not delay an emergency: the run
    compares the same versions and reports the difference.
    """
    if key.parse_document(rotation.store.read(current)).others == document.others:
        return
    raise errors.OtherFieldsChanged(
        f"Other fields than {key.FIELD} differ between the current version {current} and the new"
        f" one, {version}: they were changed since {version} was made, and a promotion would undo"
        " that. Nothing was promoted. Cancel this rotation, then rotate again with another token:"
        f" aws secretsmanager update-secret-version-stage --secret-id {rotation.secret_arn}"
        f" --version-stage AWSPENDING --remove-from-version-id {version}"
    )


def _run(
    rotation: Rotation,
    request: Request,
    document: SecretDocument,
    *,
    previous: str | None,
    older: str | None = None,
) -> Run:
    """The run to start: the same at every retry, so that its name and input make it one run.

    Only the attempt that promotes knows `older`; an execution with it is still the run.
    """
    asked = rotation.store.created(request.version)
    trigger = rotation.trigger(request.version, asked)
    return Run(
        request.version,
        rotation.secret_arn,
        trigger.mode,
        previous,
        Origin(trigger.kind, format_timestamp(asked), trigger.finding),
        fingerprint=document.key.fingerprint,
        older=older if trigger.mode == "emergency" else None,
    )


def _ensure_started(rotation: Rotation, run: Run) -> dict[str, Any]:
    """Start the run, which does everything else; a retry repeats this and changes nothing."""
    execution = rotation.runs.ensure_started(run)
    if run.mode == "emergency":
        _ask_meanwhile(rotation, run)
    return {"execution": execution, "mode": run.mode, "reason": run.origin.reason}


def _ask_meanwhile(rotation: Rotation, run: Run) -> None:
    """Ask the functions during an emergency; its record has the answers that arrive before its end.

    A failure to ask stops nothing; the record has the missing answers.
    """
    with contextlib.suppress(errors.KeyturnError):
        rotation.functions.start("preflight", run.preflight_name)
