"""The run: one rotation on its way through the state machine.

Its id is the secret's new `VersionId`, which is the rotation's `ClientRequestToken`. It names the
execution, annotates the pods, and is in every log line, message and record. The state machine
passes a ledger from state to state: the facts of the run under `rotation`, and each state's result
under the name of its function. A function gets the ledger and returns its own entry.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast, get_args

from keyturn import errors
from keyturn.run.ledger import Ledger, RotationInput

Mode = Literal["scheduled", "emergency", "rollback"]
MODES: tuple[str, ...] = get_args(Mode)

# What may be a VersionId (Secrets Manager: 32 to 64 characters) and the name of an execution too.
ROTATION_ID = re.compile(r"[A-Za-z0-9_-]{32,64}")
# The suffix of a later execution of a run: the ten hexadecimal digits that the retry command adds
# (commands of earlier releases add the time, ten decimal digits), or a number if names were taken.
LATER_EXECUTION = r"(-[0-9A-Fa-f]{10}|_\d{1,2})?"
# The version before may be one that no rotation has made.
ANY_VERSION_ID = re.compile(r"[\x21-\x7e]{1,64}")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)")


# Why a run was started, by the kind of its trigger. An input has a kind and never a text: messages
# and the record show the sentence from here.
REASONS: Mapping[str, str] = {
    "schedule": "The rotation window of the secret's schedule was open.",
    "planned": "A planned rotation was started manually, with a token planned-...",
    "emergency": "An emergency rotation was started manually, with a token emergency-...",
    "finding": "A GuardDuty finding may mean that the key is exposed.",
    "manual": "rotate-secret was called outside the rotation window, or without a schedule that"
    " shows one, and without a token planned-... or emergency-...",
    "watch": "AWSCURRENT was found on a version that no run had delivered to the services.",
}
# The facts of a GuardDuty finding that are shown, in forms that cannot hold an attacker's text.
FINDING_TYPE = r"[A-Za-z]{1,40}:[A-Za-z0-9]{1,40}/[A-Za-z0-9.!&()-]{1,80}"
FINDING_ID = r"[0-9a-f]{32}"


@dataclass(frozen=True)
class Origin:
    """Why a run was started, as a kind of `REASONS`, and when it was requested (ISO 8601, UTC).

    `finding` is the type and the id of a GuardDuty finding, and empty for other kinds.
    """

    kind: str = "schedule"
    at: str = ""
    finding: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """The form in ledgers and records; a finding only if there is one."""
        shown = asdict(self)
        return shown if self.finding else {k: v for k, v in shown.items() if k != "finding"}

    @property
    def reason(self) -> str:
        """The kind in a sentence, with the finding where there is one."""
        return (
            f"{REASONS[self.kind]} Finding: {self.finding}." if self.finding else REASONS[self.kind]
        )


@dataclass(frozen=True)
class Run:
    """The facts of a run, set once, when the execution is started.

    `version` is the version that it delivers to the services: its own rotation's, or, in a
    rollback, the previous one. `previous` is the version that was current before it.
    `fingerprint` identifies the key of its rotation: a principal that cannot read the key cannot
    prepare an execution with the same input before the promotion. `older` is the version that was
    previous until an emergency was promoted: pods may run its key if a run was overtaken.
    """

    rotation_id: str
    secret_arn: str
    mode: Mode
    previous: str | None = None
    origin: Origin = field(default_factory=Origin)
    version: str = ""
    fingerprint: str | None = None
    older: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", self.version or self.rotation_id)

    @property
    def execution_name(self) -> str:
        """The execution name, so that starting the run twice makes one run."""
        return f"rot-{self.rotation_id}"

    @property
    def preflight_name(self) -> str:
        """The name under which the functions are asked during an emergency."""
        return f"pre-{self.rotation_id}"

    def as_input(self) -> RotationInput:
        """What the execution's input has under `rotation`."""
        given: RotationInput = {
            "rotationId": self.rotation_id,
            "secretArn": self.secret_arn,
            "mode": self.mode,
            "version": self.version,
            "previousVersion": self.previous,
            "trigger": self.origin.facts,
            "fingerprint": self.fingerprint,
        }
        if self.older:
            given["olderVersion"] = self.older
        return given

    def as_ledger(self) -> Ledger:
        """The execution's input."""
        return {"rotation": self.as_input()}

    def is_input(self, given: Mapping[str, Any]) -> bool:
        """Whether an execution's input is this run's.

        A retry may not know the previous version, and never the one before it. The watch starts a
        run without reading the key, and names itself as the trigger.
        """
        rotation = given.get("rotation")
        if given.keys() != {"rotation"} or not isinstance(rotation, Mapping):
            return False
        own: Mapping[str, object] = {**self.as_input()}
        same = {"rotationId", "secretArn", "mode", "version"}
        same |= {"previousVersion"} if self.previous else set()
        by_watch = (rotation.get("trigger") or {}).get("kind") == "watch"
        same |= {"fingerprint"} if self.fingerprint and not by_watch else set()
        return all(rotation.get(name) == own[name] for name in same)

    def rollback_to(self, version: str) -> "Run":
        """The rollback of this run."""
        return replace(self, mode="rollback", version=version)


def parse_run(event: Mapping[str, Any], secret_arn: str) -> Run:
    """Read the run from a function's input, and refuse a run of any other secret.

    Raises RequestRefused.
    """
    rotation = event.get("rotation")
    if not isinstance(rotation, Mapping):
        raise errors.RequestRefused("The input has no entry 'rotation'. Nothing was done.")
    rotation_id = rotation.get("rotationId")
    if not isinstance(rotation_id, str) or not ROTATION_ID.fullmatch(rotation_id):
        raise errors.RequestRefused(
            "The input has no rotation id of 32 to 64 letters, digits, hyphens. Nothing was done."
        )
    if rotation.get("secretArn") != secret_arn:
        raise errors.RequestRefused(
            f"The input names another secret than {secret_arn}. Nothing was done."
        )
    mode = rotation.get("mode")
    if mode not in MODES:
        raise errors.RequestRefused(f"The input's mode is none of {MODES}. Nothing was done.")
    previous = rotation.get("previousVersion")
    version = rotation.get("version") or rotation_id
    if version != rotation_id and (mode != "rollback" or version != previous):
        raise errors.RequestRefused(
            "`version` differs from `rotationId`, which only mode `rollback` permits."
            " Nothing was done."
        )
    fingerprint = rotation.get("fingerprint")
    older = rotation.get("olderVersion")
    if older is not None and not _is(ANY_VERSION_ID, older):
        raise errors.RequestRefused("The input's older version is malformed. Nothing was done.")
    if previous is not None and not _is(ANY_VERSION_ID, previous):
        raise errors.RequestRefused("The input's previous version is malformed. Nothing was done.")
    if fingerprint is not None and not _is(FINGERPRINT, fingerprint):
        raise errors.RequestRefused("The input's fingerprint is malformed. Nothing was done.")
    origin = _origin(rotation.get("trigger") or {})
    return Run(
        rotation_id, secret_arn, cast("Mode", mode), previous, origin, version, fingerprint, older
    )


def _origin(trigger: Any) -> Origin:
    """Why the run was started, from known kinds alone. Raises RequestRefused for any other."""
    kind, at = (
        (trigger.get("kind", "schedule"), trigger.get("at", "")) if trigger else ("schedule", "")
    )
    if kind not in REASONS:
        raise errors.RequestRefused("The input's trigger has an unknown kind. Nothing was done.")
    if at and not _is(TIMESTAMP, at):
        raise errors.RequestRefused("The input's trigger has no valid time. Nothing was done.")
    return Origin(kind, at, _finding(trigger))


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _finding(origin: Mapping[str, Any]) -> str:
    """The finding of an origin, if it has its strict form; anything else is not shown."""
    finding = str(origin.get("finding", ""))
    return finding if re.fullmatch(f"{FINDING_TYPE} {FINDING_ID}", finding) else ""
