"""The rollback: when a scheduled run fails for good, the key before it becomes current again.

Allowed once a run, and never to an exposed key: an emergency is never rolled back, and neither is a
run whose previous version is marked (`secret.exposure`). It is one compare-and-swap of AWSCURRENT;
then the state machine delivers the old key to the services as it delivered the new one.
`next_action` decides from the labels and the marks.

Source: AWS Secrets Manager User Guide, "Roll back a secret to a previous version".
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from keyturn import errors
from keyturn.run.ledger import Ledger, RestorePreviousKeyEntry, start_of
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from keyturn.secret import exposure
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS, Labels, labelled


class RollbackAction(Enum):
    """What the labels call for."""

    RESTORE = "move AWSCURRENT back"
    NOTHING = "nothing: AWSCURRENT is back already"


class SecretStore(exposure.MarkStore, Protocol):
    """The one secret, as a rollback needs it."""

    def labels(self) -> Labels:
        """Version ids and their staging labels."""

    def move_current(self, to_version: str, from_version: str) -> None:
        """Compare and swap AWSCURRENT. Raises LabelMoved."""

    def drop_label(self, label: str, version: str) -> None:
        """Take a label off a version, if it is there."""


def next_action(run: Run, labels: Labels, marks: Sequence[exposure.Mark]) -> RollbackAction:
    """Decide whether the previous key may become current again. Pure.

    Raises RollbackRefused, Superseded.
    """
    if run.mode != "scheduled":
        raise errors.RollbackRefused(
            f"A run of mode {run.mode} has no rollback. Version {run.rotation_id} stays current."
        )
    current = labelled(labels, AWSCURRENT)
    mark = exposure.find_mark(marks, run.previous) if run.previous else None
    if run.previous and current == run.previous and mark is None:
        return RollbackAction.NOTHING
    if current not in {run.rotation_id, run.previous}:
        raise errors.Superseded(
            f"AWSCURRENT is {current} and no longer {run.rotation_id}: another rotation has"
            " overtaken this run, which restores nothing. Follow the other run."
        )
    if mark:
        raise errors.RollbackRefused(
            f"Version {run.previous} is marked as exposed since {format_timestamp(mark.at)}, so it"
            f" is never restored. AWSCURRENT is {current}. Fix the cause and retry the run."
        )
    if run.previous is None or run.previous not in labels:
        raise errors.RollbackRefused(
            f"The version before {run.rotation_id} is gone, so no rollback is possible."
            f" {current} stays current. Fix the cause and retry the run."
        )
    if AWSPREVIOUS not in labels[run.previous]:
        raise errors.RollbackRefused(
            f"Version {run.previous} no longer carries AWSPREVIOUS: it was excluded."
            f" {current} stays current. Fix the cause and retry the run."
        )
    return RollbackAction.RESTORE


def roll_back(
    store: SecretStore, run: Run, ledger: Ledger, at: datetime
) -> RestorePreviousKeyEntry:
    """Make the previous version current again.

    Returns what the rollback begins with, its `rotation` and `start`, and which steps it needs:
    `deliver`, `restart`. Raises RollbackRefused, Superseded.
    """
    move = _look(store, run)
    previous = run.previous or ""
    if move is RollbackAction.RESTORE:
        try:
            store.move_current(previous, run.rotation_id)
        except errors.LabelMoved:
            # The answer to an earlier call was lost, or another rotation has overtaken the run.
            _look(store, run)
    store.drop_label(AWSPENDING, run.rotation_id)
    return {
        "decided": move.value,
        "from": run.rotation_id,
        "to": previous,
        "deliver": "begin_rotation" in ledger,
        "restart": _restarts_began(ledger),
        "rotation": run.rollback_to(previous).as_input(),
        "start": {**start_of(ledger), "startedAt": format_timestamp(at)},
    }


def _look(store: SecretStore, run: Run) -> RollbackAction:
    """Decide from the marks and then the labels: an emergency promotes first and marks after."""
    marks = store.marks()
    return next_action(run, store.labels(), marks)


def _restarts_began(ledger: Ledger) -> bool:
    """Whether pods may run the new key: only then are they restarted, and users logged out."""
    delivered = ledger.get("deliver_key")
    return delivered is not None and delivered.get("state") == "done"
