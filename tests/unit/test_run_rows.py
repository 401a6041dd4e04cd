"""The rows of a run: what has failed stays so, and a roll-back has rows of its own."""

from collections.abc import Mapping
from typing import Any

import pytest

from local.run_rows import RunRows
from local.state_machines import Progress
from local.step_rows import StepRow

STALE = (
    0,
    1,
)  # the emulator gives what comes after a Map that failed the place of its last iteration
CAUGHT = {"Error": "RolloutFailed", "Cause": "{}"}
DELIVERED = {
    "state": "delivered",
    "target": "Kubernetes Secret web/key",
    "fingerprint": "f1",
    "seconds": 0.5,
}
RESTARTED = [{"service": "web", "says": "3 of 3 new", "seconds": 2.0}]
PURGING = {
    "finished": False,
    "deleted": 10,
    "perSecond": 5.0,
    "sessionsToGo": 20,
    "secondsToGo": 4.0,
    "seconds": 2.0,
}


class History:
    """Tells the rows what happens; a state is entered with what the one before it left."""

    def __init__(self) -> None:
        self.rows = RunRows()
        self.ledger: dict[str, Any] = {}

    def enter(self, state: str) -> list[StepRow]:
        return self._see("TaskStateEntered", state, given=self.ledger)

    def leave(self, state: str, **entries: Any) -> list[StepRow]:
        self.ledger = {**self.ledger, **entries}
        return self._see("TaskStateExited", state, left=self.ledger)

    def run(self, state: str, **entries: Any) -> list[StepRow]:
        self.enter(state)
        return self.leave(state, **entries)

    def _see(
        self,
        kind: str,
        state: str,
        given: Mapping[str, Any] | None = None,
        left: Mapping[str, Any] | None = None,
    ) -> list[StepRow]:
        return self.rows.see(Progress(kind, state, STALE, given, left))


def test_a_step_works_and_then_tells_what_it_found() -> None:
    history = History()
    assert history.enter("DeliverKey") == [StepRow("DeliverKey", "working")]
    assert history.leave("DeliverKey", deliver_key=DELIVERED) == [
        StepRow("DeliverKey", "done", 0.5, "Kubernetes Secret web/key holds key f1, read back")
    ]


def test_a_failed_step_has_its_errors_name() -> None:
    history = History()
    failed = history.run(
        "DeliverKey", failures={"deliver_key": {"Error": "DeliveryRefused", "Cause": "{}"}}
    )
    assert failed == [StepRow("DeliverKey", "failed", None, "DeliveryRefused")]
    assert history.enter("AfterFailure") == []


def test_a_failed_map_is_shown_when_the_next_state_is_entered() -> None:
    history = History()
    history.enter("RestartServices")
    history.ledger["failures"] = {"restart_services": CAUGHT}
    assert history.enter("AfterFailure") == [
        StepRow("RestartServices", "failed", None, "RolloutFailed")
    ]


def test_the_steps_of_a_rollback_are_rows_beside_the_failed_one() -> None:
    history = History()
    history.run("DeliverKey", deliver_key=DELIVERED)
    history.enter("RestartServices")
    history.ledger["failures"] = {"restart_services": CAUGHT}
    history.enter("AfterFailure")
    shown = [*history.run("RestorePreviousKey", restore_previous_key={"to": "v1", "seconds": 0.1})]
    history.ledger = {"before_rollback": history.ledger}
    shown += history.run("DeliverKey", deliver_key=DELIVERED)
    shown += history.run("RestartServices", restart_services=RESTARTED)
    assert [(row.name, row.state, row.back) for row in shown] == [
        ("RestorePreviousKey", "done", True),
        ("DeliverKey", "done", True),
        ("RestartServices", "done", True),
    ]


def test_a_roll_back_can_fail_too() -> None:
    history = History()
    history.run("ValidateRotation", failures={"validate_rotation": CAUGHT})
    history.run("RestorePreviousKey", restore_previous_key={"to": "v1", "seconds": 0.1})
    history.ledger = {"before_rollback": history.ledger}
    failed = history.run(
        "DeliverKey", failures={"deliver_key": {"Error": "DeliveryRefused", "Cause": "{}"}}
    )
    assert failed == [StepRow("DeliverKey", "failed", None, "DeliveryRefused", back=True)]


@pytest.mark.parametrize(
    ("state", "name", "entry"),
    [
        ("PurgeSessions", "purge_sessions", PURGING),
        ("PurgeBeforeRestart", "purge_before_restart", PURGING),
        ("DeliverKey", "deliver_key", {"state": "waiting", "says": "asked"}),
    ],
)
def test_a_step_that_goes_on_and_then_fails_has_failed(
    state: str, name: str, entry: dict[str, Any]
) -> None:
    history = History()
    (goes_on,) = history.run(state, **{name: entry})
    assert goes_on.state == "working"
    (failed,) = history.run(state, failures={name: {"Error": "Denied", "Cause": "{}"}})
    assert (failed.state, failed.note) == ("failed", "Denied")


def test_an_announcement_that_was_not_queued_has_failed() -> None:
    (failed,) = History().run("AnnounceEmergency", failures={"announce_emergency": CAUGHT})
    assert (failed.state, failed.note) == ("failed", "RolloutFailed")


def test_an_emergency_names_the_error_of_a_service_that_it_could_not_restart() -> None:
    restarted = [{"service": "auth", "failure": CAUGHT}, *RESTARTED]
    (row,) = History().run("RestartServices", restart_services=restarted)
    assert (row.state, row.seconds) == ("failed", 2.0)
    assert row.note == "auth: not restarted (RolloutFailed), web: 3 of 3 new"


def test_what_a_service_meets_is_no_failure_of_the_run_before_the_map_ends() -> None:
    history = History()
    history.enter("RestartServices")
    within = history._see(
        "PassStateEntered", "ServiceNotRestarted", {"service": "web", "failure": CAUGHT}
    )
    assert within == []


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("succeeded", "done"),
        ("rolled-back", "rolled back"),
        ("failed", "failed"),
        ("superseded", "done"),
    ],
)
def test_the_last_row_shows_how_the_run_has_ended(outcome: str, state: str) -> None:
    (row,) = History().run("FinishRotation", record={"outcome": outcome, "seconds": 9.0})
    assert (row.state, row.seconds, row.note) == (state, None, outcome)


def test_a_record_that_could_not_be_kept_is_no_tick() -> None:
    (row,) = History().run("FinishRotation", recording_failure=CAUGHT)
    assert row.state == "failed"


@pytest.mark.parametrize(
    ("sessions", "says"),
    [(1, "1 session will end"), (2000, "2,000 sessions will end")],
)
def test_sessions_are_told_in_their_number(sessions: int, says: str) -> None:
    (row,) = History().run("BeginRotation", begin_rotation={"sessions": sessions})
    assert row.note == f"{says}, stakeholders are notified"
