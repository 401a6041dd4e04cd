"""One rotation of a secret to one version: what it did so far, and when it is over.

The pure part of rotation: whether a request may start one, whether a run still stands, how it
ended. The labels are the only lock, as they are on AWS.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, Protocol

from local.secrets_manager import labels as label_rules
from local.secrets_manager.errors import previous_rotation_incomplete, token_in_use
from local.secrets_manager.secret import Secret

ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
TEST_STEPS = ("testSecret",)
NOT_PROMOTED = "All four steps succeeded, but AWSCURRENT is not on the new version."
# User guide, "Lambda rotation functions": "don't remove it by using a separate API call, because
# that can indicate to Secrets Manager that the rotation did not complete successfully".
PENDING_REMOVED = "AWSPENDING was removed by a call of its own while the rotation was under way."
ERROR_LENGTH = 500

Outcome = Literal["running", "succeeded", "failed", "abandoned", "cancelled"]


class FunctionOutcome(Protocol):
    """What a synchronous Lambda invocation returned."""

    @property
    def function_error(self) -> str | None:
        """'Handled' or 'Unhandled' when the function failed, else None."""

    @property
    def payload(self) -> bytes:
        """The function's result or error, as JSON."""


class StepListener(Protocol):
    """Follows the steps of rotations as they happen."""

    def __call__(
        self,
        secret_arn: str,
        version_id: str,
        step: str,
        state: Literal["started", "succeeded", "failed"],
        seconds: float,
        error: str | None,
    ) -> None:
        """Hear of one step; `seconds` is 0 and `error` None when it starts."""


@dataclass(frozen=True)
class StepRun:
    """One call of the rotation function; `error` is None when it succeeded."""

    step: str
    attempt: int
    started_at: datetime
    seconds: float
    error: str | None


@dataclass(frozen=True)
class RotationReport:
    """What was seen of a rotation, so far or to its end.

    `error` is what made the last attempt fail; `retry_at` is when the next one starts, if one will.
    """

    secret_arn: str
    version_id: str
    outcome: Outcome
    steps: tuple[StepRun, ...]
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    retry_at: datetime | None


@dataclass
class Run:
    """A rotation in progress or over; only changed inside a transaction of the store."""

    secret: Secret
    version_id: str
    steps: tuple[str, ...]
    started_at: datetime
    outcome: Outcome = "running"
    ended_at: datetime | None = None
    error: str | None = None
    retry_at: datetime | None = None
    pending_removed: bool = False
    history: list[StepRun] = field(default_factory=list)
    wake: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        """Whether there is anything left to do."""
        return self.outcome == "running"

    @property
    def completed(self) -> bool:
        """Whether the secret was rotated; a test rotates nothing."""
        return self.outcome == "succeeded" and not self.is_test

    @property
    def is_test(self) -> bool:
        """Whether this only tries the rotation function on a temporary version."""
        return self.steps == TEST_STEPS

    def stands(self) -> bool:
        """Whether the labels still call for this run."""
        labels = self.secret.labels
        holds_pending = labels.get(label_rules.PENDING) == self.version_id
        promoted = labels.get(label_rules.CURRENT) == self.version_id
        return holds_pending or (promoted and not self.is_test)

    def may_retry(self) -> bool:
        """Whether the run may start over: no other rotation has taken AWSPENDING since."""
        holder = self.secret.labels.get(label_rules.PENDING)
        return self.running and not self.is_test and holder in (None, self.version_id)

    def shortfall(self) -> str | None:
        """Say what is missing after the last step succeeded; None when the rotation is complete."""
        promoted = self.secret.labels.get(label_rules.CURRENT) == self.version_id
        if self.is_test or (promoted and not self.pending_removed):
            return None
        return PENDING_REMOVED if promoted else NOT_PROMOTED

    def end(self, outcome: Outcome, now: datetime) -> None:
        """Close the run."""
        self.outcome = outcome
        self.ended_at = now
        self.retry_at = None
        self.wake.set()

    def report(self) -> RotationReport:
        """Return a copy of what is known."""
        return RotationReport(
            self.secret.arn,
            self.version_id,
            self.outcome,
            tuple(self.history),
            self.started_at,
            self.ended_at,
            self.error,
            self.retry_at,
        )


class Admission(Enum):
    """The answer to a request for a rotation."""

    START = "start"
    RESUME = "resume"
    ALREADY_DONE = "already done"


def admit(secret: Secret, token: str, run: Run | None) -> Admission:
    """Decide on a rotation to version `token`; `run` is the last one with that token, if any.

    Refused while AWSPENDING is on a version other than AWSCURRENT, except for that version's own
    token, which takes the unfinished rotation up again. A token whose rotation runs or is complete
    changes nothing. Source: API reference, RotateSecret; AWS leaves the last two cases open.
    """
    if run is not None and (run.running or run.completed):
        return Admission.ALREADY_DONE
    if secret.blocked_by not in (None, token):
        raise previous_rotation_incomplete()
    if secret.blocked_by == token or (run is not None and run.stands()):
        return Admission.RESUME
    if token in secret.versions:
        raise token_in_use(token, secret.arn)
    return Admission.START


def step_error(outcome: FunctionOutcome) -> str | None:
    """Say in one line why a step failed, from the function's own error; None if it did not."""
    if outcome.function_error is None:
        return None
    try:
        told = json.loads(outcome.payload)
    except ValueError:
        told = None
    if not isinstance(told, Mapping):
        return f"The function failed ({outcome.function_error})."
    parts = (told.get("errorType"), told.get("errorMessage"))
    text = ": ".join(str(part) for part in parts if part)
    return text[:ERROR_LENGTH] or f"The function failed ({outcome.function_error})."
