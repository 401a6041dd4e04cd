"""The four steps of a Secrets Manager rotation, as decisions over the label map.

Secrets Manager calls createSecret, setSecret, testSecret and finishSecret in turn, with the id of a
new version that carries AWSPENDING and, at first, no value. It may repeat the whole rotation with
the same token, also after a promotion. `next_move` decides from what the labels say; `take_step`
does what was decided. Whatever is repeated ends in the same state and never in a second key.

Source: AWS Secrets Manager User Guide, "Lambda rotation functions"; API reference of
PutSecretValue and UpdateSecretVersionStage.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol, cast, get_args

from keyturn import errors, key
from keyturn.run import ROTATION_ID, Run

AWSCURRENT, AWSPENDING, AWSPREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"

Step = Literal["createSecret", "setSecret", "testSecret", "finishSecret"]
STEPS: tuple[str, ...] = get_args(Step)
Labels = Mapping[str, Sequence[str]]
Check = Callable[[], object]


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


class SecretStore(Protocol):
    """The one secret, as a rotation needs it."""

    def labels(self) -> Labels:
        """Version ids and their staging labels, value-less versions included."""

    def find(self, version: str) -> str | None:
        """The document of a version, or None where it has no value yet."""

    def read(self, version: str) -> str:
        """The document of a version that has one; waits a little for a new version to be seen."""

    def write_pending(self, version: str, document: str, rotation_token: str | None) -> bool:
        """Store the pending version's value; False where another value was stored first."""

    def move_current(self, to_version: str, from_version: str) -> None:
        """Compare and swap AWSCURRENT. Raises LabelMoved."""

    def drop_pending(self, version: str) -> None:
        """Take AWSPENDING off a version, if it is there."""


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
        facts = {"checked": run_checks(rotation.checks_before_promotion)}
    elif move is Move.TEST:
        facts = _test(rotation, request)
    elif move is Move.PROMOTE:
        facts = _promote(rotation, request, labels)
    elif move is Move.ENSURE_STARTED:
        facts = _ensure_started(rotation, request)
    else:
        facts = {}
    return {"move": request.step, "decided": move.value, **facts}


def confirm_current(store: SecretStore, run: Run) -> None:
    """See that the run's version still carries AWSCURRENT. Raises Superseded."""
    current = labelled(store.labels(), AWSCURRENT)
    if current != run.rotation_id:
        raise errors.Superseded(
            f"AWSCURRENT is {current} and no longer {run.rotation_id}: another rotation has"
            " overtaken this run, which does nothing more. Follow the other run."
        )


def labelled(labels: Labels, label: str) -> str | None:
    """The version that carries a label."""
    return next((version for version, carried in labels.items() if label in carried), None)


def run_checks(checks: Iterable[Check]) -> int:
    """Run every check, so that all problems are told at once; returns how many passed.

    Raises the first problem's error, the other problems in its message.
    """
    problems: list[errors.KeyturnError] = []
    passed = 0
    for check in checks:
        try:
            check()
        except errors.KeyturnError as problem:
            problems.append(problem)
        else:
            passed += 1
    if len(problems) > 1:
        others = "; ".join(f"{type(other).__name__}: {other}" for other in problems[1:])
        raise type(problems[0])(f"{problems[0]} Also: {others}") from problems[0]
    if problems:
        raise problems[0]
    return passed


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


def _test(rotation: Rotation, request: Request) -> dict[str, Any]:
    """The key works and the services are healthy.

    It may equal the current key: `rotate-secret --no-rotate-immediately` runs this step alone, on a
    copy of the current value, and is the dry run.
    """
    tested = key.parse_document(rotation.store.read(request.version)).key
    key.prove(tested)
    healthy = run_checks(rotation.checks_of_health)
    return {"fingerprint": tested.fingerprint, "checked": healthy}


def _promote(rotation: Rotation, request: Request, labels: Labels) -> dict[str, Any]:
    current = labelled(labels, AWSCURRENT)
    if current is None:
        raise errors.LabelMoved("No version carries AWSCURRENT. Nothing was promoted.")
    key.parse_document(rotation.store.read(request.version))
    try:
        rotation.store.move_current(request.version, current)
    except errors.LabelMoved:
        if labelled(rotation.store.labels(), AWSCURRENT) != request.version:
            raise
    return {"previous": current, **_ensure_started(rotation, request)}


def _ensure_started(rotation: Rotation, request: Request) -> dict[str, Any]:
    """Start the run, then tidy the label.

    In this order, since a retry after a lost answer comes here again and a label that was left does
    no harm: Secrets Manager accepts AWSPENDING on the current version.
    """
    run = Run(request.version, rotation.secret_arn, "scheduled")
    rotation.runs.ensure_started(run)
    rotation.store.drop_pending(request.version)
    return {"execution": run.execution_name}
