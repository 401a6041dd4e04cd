"""`keyturn.recovery`: the way back, open once, to the key before, and never to a lost one."""

from typing import Any

import pytest

from keyturn import errors, recovery
from keyturn.labels import Labels
from keyturn.recovery import Move
from keyturn.run import Run
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeSecretStore

NEWER = "22222222-2222-4222-8222-222222222222"
RUN = Run(NEW, ARN, "scheduled", OLD)
PROMOTED = {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
BACK = {OLD: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"]}


@pytest.mark.parametrize(("labels", "move"), [(PROMOTED, Move.RESTORE), (BACK, Move.NOTHING)])
def test_the_label_moves_back_once(labels: Labels, move: Move) -> None:
    assert recovery.next_move(RUN, labels) is move


@pytest.mark.parametrize(
    "labels",
    [
        {NEWER: ["AWSCURRENT"]},  # an emergency has taken the label off the versions before
        {NEWER: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"]},
        {NEWER: ["AWSCURRENT"], OLD: ["AWSPREVIOUS"]},
    ],
)
def test_a_run_that_was_overtaken_restores_nothing_and_says_so(labels: Labels) -> None:
    with pytest.raises(errors.Superseded, match=NEWER):
        recovery.next_move(RUN, labels)


@pytest.mark.parametrize(
    ("run", "labels"),
    [
        (Run(NEW, ARN, "emergency", OLD), PROMOTED),
        (RUN.back_to(OLD), PROMOTED),
        (Run(NEW, ARN, "scheduled"), PROMOTED),
        (RUN, {NEW: ["AWSCURRENT"]}),
        (RUN, {OLD: ["KEPT"], NEW: ["AWSCURRENT"]}),
    ],
)
def test_there_is_no_way_back(run: Run, labels: Labels) -> None:
    with pytest.raises(errors.RestoreRefused, match=NEW):
        recovery.next_move(run, labels)


@pytest.mark.parametrize(
    ("done", "deliver", "restart"),
    [
        ({}, False, False),
        ({"begin_rotation": {}}, True, False),
        ({"begin_rotation": {}, "deliver_key": {"state": "waiting"}}, True, False),
        ({"begin_rotation": {}, "deliver_key": {"state": "done"}}, True, True),
    ],
)
def test_the_way_back_goes_as_far_as_the_run_had_come(
    done: dict[str, Any], deliver: bool, restart: bool
) -> None:
    store = FakeSecretStore({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT", "AWSPENDING"]}, {})
    told = recovery.restore(store, RUN, {**RUN.as_ledger(), **done}, NOON)
    assert (told["deliver"], told["restart"]) == (deliver, restart)
    assert (told["rotation"]["mode"], told["rotation"]["version"]) == ("recovery", OLD)
    assert store.labels() == BACK
