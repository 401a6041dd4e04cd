"""The run: one rotation on its way through the state machine.

Its id is the secret's new `VersionId`, which is the rotation's `ClientRequestToken`. It names the
execution, stamps the pods, and is in every log line, message and record. The state machine passes a
ledger from state to state: what the run is, under `rotation`, and each state's result under the
name of its function. A function gets the ledger and returns its own entry.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from keyturn import errors

Ledger = Mapping[str, Any]
Mode = Literal["scheduled", "emergency", "recovery"]
MODES: tuple[str, ...] = get_args(Mode)

# What may be a VersionId (Secrets Manager: 32 to 64 characters) and the name of an execution too.
ROTATION_ID = re.compile(r"[A-Za-z0-9_-]{32,64}")
# What is shown of a GuardDuty finding: forms in which no text of an attacker has room.
FINDING_TYPE = r"[A-Za-z]{1,40}:[A-Za-z0-9]{1,40}/[A-Za-z0-9.!&()-]{1,80}"
FINDING_ID = r"[0-9a-f]{32}"


@dataclass(frozen=True)
class Origin:
    """Why a run was started: of which kind, in a sentence, when it was asked for, by which finding.

    `finding` is the type and the id of a GuardDuty finding, and empty for other kinds.
    """

    kind: str = "schedule"
    reason: str = "the rotation schedule"
    at: str = ""
    finding: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """As ledgers and records show it; a finding only where there is one."""
        shown = asdict(self)
        return shown if self.finding else {k: v for k, v in shown.items() if k != "finding"}


@dataclass(frozen=True)
class Run:
    """What a run is: set once, when the execution is started.

    `version` is what it brings to the services: its own rotation's, or, on the way back (mode
    `recovery`), the one before. `previous` is the version that was current before it.
    `failed_checks` is what the checks of the environment had against it, which stops no emergency.
    """

    rotation_id: str
    secret_arn: str
    mode: Mode
    previous: str | None = None
    origin: Origin = field(default_factory=Origin)
    version: str = ""
    failed_checks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", self.version or self.rotation_id)

    @property
    def execution_name(self) -> str:
        """The name that makes starting the run twice one run."""
        return f"rot-{self.rotation_id}"

    def as_ledger(self) -> dict[str, dict[str, Any]]:
        """The execution's input."""
        return {
            "rotation": {
                "rotationId": self.rotation_id,
                "secretArn": self.secret_arn,
                "mode": self.mode,
                "version": self.version,
                "previousVersion": self.previous,
                "trigger": self.origin.facts,
                "failedChecks": list(self.failed_checks),
            }
        }

    def back_to(self, version: str) -> "Run":
        """The way back of this run."""
        return replace(self, mode="recovery", version=version)


def parse(ledger: Ledger, secret_arn: str) -> Run:
    """Read the run from a ledger, and refuse a run of any other secret.

    Raises RequestRefused.
    """
    rotation = entry(ledger, "rotation")
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
    origin, previous = rotation.get("trigger") or {}, rotation.get("previousVersion")
    version = rotation.get("version") or rotation_id
    if version != rotation_id and (mode != "recovery" or version != previous):
        raise errors.RequestRefused(
            "The input's version is another than its rotation's, which only the way back may have."
            " Nothing was done."
        )
    told = Origin(
        **{name: str(origin[name]) for name in ("kind", "reason", "at") if name in origin},
        finding=_finding(origin),
    )
    failed = tuple(map(str, rotation.get("failedChecks") or ()))
    return Run(rotation_id, secret_arn, cast("Mode", mode), previous, told, version, failed)


def _finding(origin: Mapping[str, Any]) -> str:
    """The finding of an origin, if it has its strict form: anything else is shown to nobody."""
    found = str(origin.get("finding", ""))
    return found if re.fullmatch(f"{FINDING_TYPE} {FINDING_ID}", found) else ""


def entry(ledger: Ledger, name: str) -> Mapping[str, Any]:
    """What a state before this one wrote into the ledger.

    Raises RequestRefused where it is not there: the states have run out of order.
    """
    found = ledger.get(name)
    if not isinstance(found, Mapping):
        raise errors.RequestRefused(f"The input has no entry '{name}'. Nothing was done.")
    return found


def text(found: Mapping[str, Any], name: str) -> str:
    """A text of the ledger or of one of its entries. Raises RequestRefused where there is none."""
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise errors.RequestRefused(f"The input has no text '{name}'. Nothing was done.")
    return value


def timestamp(moment: datetime) -> str:
    """A moment as ledgers, records and log lines write it: UTC, milliseconds, ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Read back what `timestamp` wrote."""
    return datetime.fromisoformat(text)


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)
