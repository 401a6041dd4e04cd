"""Back once, never after an emergency, and never over another's rotation."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from keyturn import errors
from keyturn.rotation import rollback
from keyturn.rotation.rollback import RollbackAction
from keyturn.run import run as run_run
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from keyturn.secret.exposure import Mark
from keyturn.secret.staging_labels import labelled
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeSecretStore
from tests.ledgers import ledger_until

OTHER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def failing(run: Run) -> Run:
    return replace(run, mode="scheduled", previous=OLD)


@pytest.fixture
def store() -> FakeSecretStore:
    return FakeSecretStore({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, {OLD: "{}", NEW: "{}"})


def current(store: FakeSecretStore) -> str | None:
    return labelled(store.labels(), "AWSCURRENT")


def restore(store: FakeSecretStore, failing: Run, until: str = "ValidateRotation") -> Any:
    return rollback.roll_back(store, failing, ledger_until(until), NOON)


def test_the_previous_version_becomes_current_and_the_failed_one_unusable(
    store: FakeSecretStore, failing: Run
) -> None:
    store.stages[NEW].append("AWSPENDING")
    turned = restore(store, failing)
    assert store.stages == {OLD: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"]}
    assert (turned["from"], turned["to"]) == (NEW, OLD)


def test_there_is_no_way_back_to_a_version_that_is_marked_as_exposed(
    store: FakeSecretStore, failing: Run
) -> None:
    """Also where somebody gave AWSPREVIOUS, or AWSCURRENT, back to it."""
    store.mark_exposed(Mark(OLD, NOON, "finding"))
    for stages in (
        {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
        {OLD: [], NEW: ["AWSCURRENT"]},
        {OLD: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"]},
    ):
        store.stages = stages
        before = {version: [*labels] for version, labels in stages.items()}
        with pytest.raises(errors.RollbackRefused, match="marked as exposed since 2026-11-24"):
            restore(store, failing)
        assert store.stages == before


def test_a_run_whose_previous_version_an_emergency_has_marked_is_overtaken(
    store: FakeSecretStore, failing: Run
) -> None:
    """The emergency marks both versions that may be in use; the run is not on top any more."""
    store.mark_exposed(Mark(OLD, NOON, "emergency"))
    store.stages = {OLD: [], NEW: [], OTHER: ["AWSCURRENT"]}
    with pytest.raises(errors.Superseded, match=OTHER):
        restore(store, failing)


def test_a_mark_of_another_version_closes_no_way(store: FakeSecretStore, failing: Run) -> None:
    store.mark_exposed(Mark(OTHER, NOON, "emergency"))
    assert restore(store, failing)["to"] == OLD


def test_the_way_back_is_a_run_of_the_previous_version_that_begins_now(
    store: FakeSecretStore, failing: Run
) -> None:
    turned = restore(store, failing)
    back = run_run.parse_run({"rotation": turned["rotation"]}, ARN)
    assert (back.mode, back.version, back.rotation_id) == ("rollback", OLD, NEW)
    assert back.execution_name == failing.execution_name
    assert turned["start"]["startedAt"] == format_timestamp(NOON)
    assert turned["start"]["services"] == ["web-console", "auth-service"]


@pytest.mark.parametrize(
    ("stopped_at", "deliver", "restart"),
    [
        ("BeginRotation", False, False),
        ("DeliverKey", True, False),
        ("RestartServices", True, True),
        ("ValidateRotation", True, True),
    ],
)
def test_it_goes_back_as_far_as_the_run_had_come(
    stopped_at: str, store: FakeSecretStore, failing: Run, *, deliver: bool, restart: bool
) -> None:
    turned = restore(store, failing, stopped_at)
    assert (turned["deliver"], turned["restart"]) == (deliver, restart)


def test_a_delivery_that_still_waits_has_restarted_nothing(
    store: FakeSecretStore, failing: Run
) -> None:
    ledger: Any = {**ledger_until("DeliverKey"), "deliver_key": {"state": "waiting"}}
    turned = rollback.roll_back(store, failing, ledger, NOON)
    assert (turned["deliver"], turned["restart"]) == (True, False)


def test_a_lost_answer_is_repeated_and_moves_nothing_more(
    store: FakeSecretStore, failing: Run
) -> None:
    store.lost_answers = 1
    with pytest.raises(errors.SecretsManagerUnavailable):
        restore(store, failing)
    again = restore(store, failing)
    assert again["decided"] == RollbackAction.NOTHING.value
    assert current(store) == OLD
    assert again["to"] == OLD


@pytest.mark.parametrize("mode", ["emergency", "rollback"])
def test_an_emergency_and_a_way_back_have_no_way_back(
    mode: run_run.Mode, store: FakeSecretStore, failing: Run
) -> None:
    before = store.labels()
    with pytest.raises(errors.RollbackRefused, match="has no rollback"):
        restore(store, replace(failing, mode=mode))
    assert store.labels() == before


@pytest.mark.parametrize("carried", [[], ["AWSPENDING"], ["custom"]])
def test_a_version_that_was_ruled_out_is_not_restored(
    carried: list[str], store: FakeSecretStore, failing: Run
) -> None:
    store.stages[OLD] = carried
    with pytest.raises(errors.RollbackRefused, match="no longer carries AWSPREVIOUS"):
        restore(store, failing)
    assert current(store) == NEW


def test_a_version_that_is_gone_cannot_be_restored(failing: Run) -> None:
    store = FakeSecretStore({NEW: ["AWSCURRENT"]}, {NEW: "{}"})
    for previous in (None, OLD):
        with pytest.raises(errors.RollbackRefused, match="is gone"):
            restore(store, replace(failing, previous=previous))
    assert current(store) == NEW


def test_another_rotation_is_left_alone(store: FakeSecretStore, failing: Run) -> None:
    store.stages = {OLD: [], NEW: ["AWSPREVIOUS"], OTHER: ["AWSCURRENT"]}
    before = store.labels()
    with pytest.raises(errors.Superseded, match=OTHER):
        restore(store, failing)
    assert store.labels() == before


@pytest.mark.parametrize("others", [{}, {NEW: ["AWSPREVIOUS"]}, {OLD: ["AWSPREVIOUS"]}])
def test_an_emergency_that_took_the_labels_off_has_overtaken_the_run(
    others: dict[str, list[str]], failing: Run
) -> None:
    with pytest.raises(errors.Superseded, match=OTHER):
        rollback.next_action(failing, {OTHER: ["AWSCURRENT"], **others}, [])


def test_a_rotation_that_overtakes_at_this_very_moment_is_left_alone(failing: Run) -> None:
    class Overtaken(FakeSecretStore):
        def move_current(self, to_version: str, from_version: str) -> None:
            self.stages = {OLD: [], NEW: ["AWSPREVIOUS"], OTHER: ["AWSCURRENT"]}
            super().move_current(to_version, from_version)

    store = Overtaken({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, {OLD: "{}", NEW: "{}"})
    with pytest.raises(errors.Superseded):
        restore(store, failing)
    assert current(store) == OTHER


LABELS = [[], ["AWSCURRENT"], ["AWSPREVIOUS"], ["AWSPENDING"]]


@pytest.mark.parametrize(("old", "new"), list(itertools.product(LABELS, LABELS)))
@pytest.mark.parametrize("mode", run_run.MODES)
def test_only_a_scheduled_run_on_top_whose_previous_version_is_kept_goes_back(
    mode: run_run.Mode, old: list[str], new: list[str], failing: Run
) -> None:
    this = replace(failing, mode=mode)
    try:
        move = rollback.next_action(this, {OLD: old, NEW: new}, [])
    except (errors.RollbackRefused, errors.Superseded):
        move = None
    restorable = mode == "scheduled" and old == ["AWSPREVIOUS"] and new == ["AWSCURRENT"]
    restored = mode == "scheduled" and old == ["AWSCURRENT"]
    expected = (
        RollbackAction.RESTORE if restorable else RollbackAction.NOTHING if restored else None
    )
    assert move == expected
