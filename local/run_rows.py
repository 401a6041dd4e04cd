"""The rows of a run on the screen, from its execution's history.

A step ends well or with the name of its error; what has failed stays so. A roll-back goes through
some of the same states again, and has rows of its own for them.
"""

from collections.abc import Mapping
from typing import Any

from keyturn.reporting.wording import count_of
from keyturn.run.ledger import STEPS as RECORDED
from local.state_machines import Progress
from local.step_rows import StepRow, StepState

ROLLBACK = "RestorePreviousKey"
STEPS = {
    **RECORDED,
    "AnnounceEmergency": "announcement",
    "PurgeBeforeRestart": "purge_before_restart",
    "MarkExposed": "mark_exposed",
    "DestroyExposedVersions": "destroy_exposed_versions",
    ROLLBACK: "restore_previous_key",
    "FinishRotation": "record",
}
# How a run ends is what the row of its last state shows.
OUTCOMES: Mapping[str, StepState] = {"failed": "failed", "rolled-back": "rolled back"}


class RunRows:
    """One row for each state that is shown, kept up to date by the events of the history."""

    def __init__(self) -> None:
        self._rows = {name: StepRow(name, back=name == ROLLBACK) for name in STEPS}
        self._caught: dict[str, Any] = {}

    def see(self, progress: Progress) -> list[StepRow]:
        """The rows that an event has changed, in order."""
        entered = progress.kind.endswith("StateEntered")
        ledger = progress.input if entered else progress.output
        if not progress.kind.endswith(("StateEntered", "StateExited")) or _is_of_a_service(ledger):
            return []
        failed = self._failed(ledger)
        return [*failed, *(self._entered if entered else self._left)(progress)]

    def _failed(self, ledger: Any) -> list[StepRow]:
        """The row that was working when the state machine caught an error.

        A Map that fails is never left: its error is seen as the next state is entered.
        """
        before, self._caught = self._caught, _caught_in(ledger)
        new = [failure for name, failure in self._caught.items() if before.get(name) != failure]
        working = [row for row in self._rows.values() if row.state == "working"] if new else []
        return [self._show(row.name, "failed", row.seconds, new[0]["Error"]) for row in working]

    def _entered(self, progress: Progress) -> list[StepRow]:
        state = progress.state
        if state == ROLLBACK:
            self._rows |= {name: StepRow(name, back=True) for name in RECORDED}
        if state not in self._rows:
            return []
        row = self._rows[state]
        return [self._show(state, "working", row.seconds, row.note)]

    def _left(self, progress: Progress) -> list[StepRow]:
        state = progress.state
        if state not in self._rows or self._rows[state].state != "working":
            return []
        entry = (progress.output or {}).get(STEPS[state])
        if entry is None:
            return [self._show(state, "failed")]
        return [
            self._show(state, _state_of(state, entry), _seconds(state, entry), _note(state, entry))
        ]

    def _show(
        self, name: str, state: StepState, seconds: float | None = None, note: str = ""
    ) -> StepRow:
        self._rows[name] = StepRow(name, state, seconds, note, back=self._rows[name].back)
        return self._rows[name]


def _is_of_a_service(ledger: Any) -> bool:
    """Whether a state is one of RestartServices' own, of which each gets one service."""
    return isinstance(ledger, Mapping) and "service" in ledger


def _caught_in(ledger: Any) -> dict[str, Any]:
    """What the state machine has caught so far, by the state that failed."""
    return dict(ledger.get("failures", {})) if isinstance(ledger, Mapping) else {}


def _state_of(state: str, entry: Any) -> StepState:
    if state == "FinishRotation":
        return OUTCOMES.get(entry.get("outcome"), "done")
    if isinstance(entry, list):  # an emergency goes on when a service could not be restarted
        return "failed" if any("failure" in restarted for restarted in entry) else "done"
    goes_on = not entry.get("finished", True) or entry.get("state") == "waiting"
    return "working" if goes_on else "done"


def _seconds(state: str, entry: Any) -> float | None:
    if isinstance(entry, list):
        return max((rolled.get("seconds", 0.0) for rolled in entry), default=None)
    # The record's seconds are those of the whole run.
    return None if state == "FinishRotation" else entry.get("seconds")


def _note(state: str, entry: Any) -> str:
    """What a state found, in a few words."""
    if state == "RestartServices":
        return ", ".join(_restarted(rolled) for rolled in entry)
    if state in {"PurgeSessions", "PurgeBeforeRestart"} and not entry["finished"]:
        return _purging(entry)
    if state == "DestroyExposedVersions":
        return f"destroyed in {entry['target']}: version {', '.join(map(str, entry['destroyed']))}"
    if state == "DeliverKey" and entry["state"] == "waiting":
        return str(entry["says"])
    if state == "BeginRotation":
        return f"{count_of(entry['sessions'], 'session')} will end, stakeholders are notified"
    notes = {
        "MarkExposed": "marked as exposed: {versions}",
        "PurgeBeforeRestart": "{deleted:,} deleted ({perSecond:,.0f} a second)",
        "AnnounceEmergency": "queued",
        "RestorePreviousKey": "AWSCURRENT is {to} again",
        "DeliverKey": "{target} holds key {fingerprint}, read back",
        "ConfirmDelivery": "{target} still holds key {fingerprint}",
        "PurgeSessions": "{deleted:,} deleted ({perSecond:,.0f} a second), {left} left,"
        " {createdSince} new since",
        "ValidateRotation": "login answers {login[status]}, no key errors in the logs",
        "FinishRotation": "{outcome}",
    }
    versions = ", ".join(entry.get("exposed", ())) or "no version"
    return notes[state].format_map({**entry, "versions": versions})


def _restarted(rolled: Mapping[str, Any]) -> str:
    """What became of one service."""
    if failure := rolled.get("failure"):
        return f"{rolled['service']}: not restarted ({failure.get('Error')})"
    return f"{rolled['service']}: {rolled['says']}"


def _purging(entry: Mapping[str, Any]) -> str:
    """How far a purge has come that goes on."""
    if not entry["deleted"]:
        return f"{count_of(entry['keysBefore'], 'key')} to walk"
    to_go, seconds = entry["sessionsToGo"], entry["secondsToGo"]
    told = f"{entry['deleted']:,} deleted ({entry['perSecond']:,.0f} a second)"
    return told if seconds is None else f"{told}, {to_go:,} to go, about {seconds:.0f} s"
