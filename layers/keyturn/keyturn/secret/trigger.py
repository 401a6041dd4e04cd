"""Why a rotation started, and with it the mode of its run. Pure.

Secrets Manager does not report who started a rotation. The token does, if the caller chose it:
`emergency-…`, `emergency-gd-…` for a GuardDuty finding, `planned-…`. A finding's token counts as
one only if `respond_to_finding` has recorded it, and otherwise as a manual emergency. Any other
token is the schedule's if the rotation window was open, and otherwise that of a manual
`rotate-secret`, whose mode is the parameter ManualRotationMode. A token is no authentication:
anyone who may rotate the secret may choose one, and it can only make a rotation more or less
careful.

The answer is the same for the same facts. Since it is part of the execution's input, which must be
the same bytes at every retry, `at` must be the time of the version and not the present time.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from keyturn.secret import rotation_window

Mode = Literal["scheduled", "emergency"]

EMERGENCY, FINDING, PLANNED = "emergency-", "emergency-gd-", "planned-"


@dataclass(frozen=True)
class Trigger:
    """Why a rotation started: its kind, its sentence for messages, its mode, its finding."""

    kind: str
    mode: Mode
    reason: str
    finding: str = ""


RECORDED = Trigger("finding", "emergency", "A GuardDuty finding may mean that the key is exposed.")
# By the prefix of the token.
CHOSEN = {
    EMERGENCY: Trigger("emergency", "emergency", "An emergency rotation was started manually."),
    PLANNED: Trigger("planned", "scheduled", "A planned rotation was started manually."),
}


@dataclass(frozen=True)
class Schedule:
    """A secret's rotation rules and dates, as DescribeSecret shows them."""

    expression: str | None
    duration: str | None
    enabled: bool
    next_rotation: datetime | None


def classify(
    token: str, schedule: Schedule, at: datetime, manual_mode: Mode, finding: str = ""
) -> Trigger:
    """Why the rotation of a token started. If that is uncertain, it is manual.

    `finding` is the recorded finding of the rotation.
    """
    if finding and token.startswith(FINDING):
        return replace(RECORDED, finding=finding)
    for prefix, chosen in CHOSEN.items():
        if token.startswith(prefix):
            return chosen
    if not schedule.enabled or schedule.expression is None:
        return _manual("The secret has no rotation schedule that is on.", manual_mode)
    try:
        window = rotation_window.open_window(schedule.expression, schedule.duration, at)
    except ValueError as unclear:
        return _manual(f"Whether the schedule started it is uncertain ({unclear}).", manual_mode)
    if window is None:
        return _manual(f"It was outside the rotation window of {schedule.expression}.", manual_mode)
    return Trigger("schedule", "scheduled", f"The rotation window was open: {window}.")


def _manual(why: str, mode: Mode) -> Trigger:
    return Trigger("manual", mode, f"rotate-secret was called manually. {why}"[:300])
