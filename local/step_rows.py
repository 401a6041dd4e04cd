"""The steps of a rotation as they are shown, one row each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

StepState = Literal["waiting", "working", "done", "failed", "rolled back"]
MARKS: dict[StepState, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "working": ("●", "yellow"),
    "done": ("✔", "green"),
    "failed": ("✘", "red"),
    "rolled back": ("↩", "yellow"),
}
ENDED = {"done", "failed", "rolled back"}
PURGES = {"PurgeBeforeRestart", "PurgeSessions"}  # lines of the gauges tell how far these are


@dataclass
class StepRow:
    """One step of the rotation on the screen."""

    name: str
    state: StepState = "waiting"
    seconds: float | None = None
    note: str = ""
    back: bool = False  # a step of the roll-back

    @property
    def place(self) -> tuple[str, bool]:
        """What tells a row from the others: the roll-back goes through the same steps."""
        return self.name, self.back

    @property
    def is_purge(self) -> bool:
        """Whether the step ends sessions."""
        return self.name in PURGES

    @property
    def took(self) -> str:
        """How long the step took, as it is shown."""
        return "" if self.seconds is None else f"{self.seconds:.2f} s"


def with_row(rows: Sequence[StepRow], row: StepRow) -> list[StepRow]:
    """The rows with a new state of one of them.

    The steps of a roll-back are added as it reaches them, before the last step, which ends every
    run; the steps that the run has not reached are removed. Other unplanned steps are left out.
    """
    if any(known.place == row.place for known in rows):
        return [row if known.place == row.place else known for known in rows]
    if not row.back or not rows:
        return [*rows]
    *before, last = rows
    return [*(known for known in before if known.state != "waiting"), row, last]
