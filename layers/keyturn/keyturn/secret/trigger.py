"""Why a rotation started, and with it the mode of its run. Pure.

Secrets Manager does not say who started a rotation. The token does, where the caller chose it:
`emergency-…`, `emergency-gd-…` for a GuardDuty finding, `planned-…`. A finding's is one only if
`respond_to_finding` has recorded it, and else somebody's by hand. Any other token is the schedule's
if the rotation window was open, and somebody's bare `rotate-secret` if not: what that means is the
parameter ManualRotationMode. A token is no authentication: whoever may rotate the secret may choose
one, and it can only make a rotation more or less careful.

The answer is the same for the same facts. Since it goes into the execution's input, which has to be
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
    """Why: the kind for programs, the reason for people, the mode for the run, the finding."""

    kind: str
    mode: Mode
    reason: str
    finding: str = ""


RECORDED = Trigger("finding", "emergency", "A GuardDuty finding means that the key is exposed.")
# By the token's beginning.
CHOSEN = {
    EMERGENCY: Trigger("emergency", "emergency", "Somebody started an emergency rotation."),
    PLANNED: Trigger("planned", "scheduled", "Somebody started a planned rotation."),
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
    """Say why the rotation of a token started. Where it cannot be told for sure it is manual.

    `finding` is what was recorded of the finding that it is for.
    """
    if finding and token.startswith(FINDING):
        return replace(RECORDED, finding=finding)
    for prefix, chosen in CHOSEN.items():
        if token.startswith(prefix):
            return chosen
    if not schedule.enabled or schedule.expression is None:
        return _manual("The secret has no rotation schedule that is on.", manual_mode)
    try:
        found = rotation_window.open_window(
            schedule.expression, schedule.duration, schedule.next_rotation, at
        )
    except ValueError as unclear:
        return _manual(f"Whether the schedule did it is not sure ({unclear}).", manual_mode)
    if found is None:
        return _manual(f"It was outside the rotation window of {schedule.expression}.", manual_mode)
    return Trigger("schedule", "scheduled", f"The rotation window was open: {found}.")


def _manual(why: str, mode: Mode) -> Trigger:
    return Trigger("manual", mode, f"Somebody called rotate-secret. {why}"[:300])
