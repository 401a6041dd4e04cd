"""What is measured says what the record, the watch and the answer say."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn.reporting import metrics, record
from keyturn.reporting.metrics import Metric
from keyturn.reporting.record_types import Outcome
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from tests.conftest import NEW, NOON
from tests.ledgers import ENTRIES, failed_at, ledger_until

KEY = {"ageDays": 12.5, "pendingSeconds": 0.0, "daysToRotation": 2.25}


def recorded(ledger: Any, run: Run) -> Any:
    return record.compose(ledger, run, NOON)


def by_name(found: list[Metric]) -> dict[str, float]:
    """The values of a run's own measures; those of its steps are told apart by a dimension."""
    return {one.name: one.value for one in found if "step" not in one.dimensions}


def names(found: list[Metric]) -> set[str]:
    return set(by_name(found))


def test_a_whole_run_is_measured_in_every_way(run: Run) -> None:
    found = metrics.run_metrics(recorded(ledger_until(None), run))
    assert by_name(found) == {
        "RotationsSucceeded": 1,
        "RotationTime": 50.0,
        "SessionsEnded": 40,
        "SessionsLeft": 1,
        "PodsReplaced": 4,
        "TimeToLastOldPod": 108.0,
        "TimeToLastOldSession": 62.0,
    }
    assert {tuple(one.dimensions.items()) for one in found if one.name != "StepTime"} == {
        (("mode", "scheduled"),)
    }


def test_each_step_of_the_way_there_is_timed_under_its_name(run: Run) -> None:
    composed = recorded(ledger_until(None), run)
    timed = [one for one in metrics.run_metrics(composed) if one.name == "StepTime"]
    assert {one.dimensions["step"]: one.value for one in timed} == {
        step["name"]: step["seconds"] for step in composed["steps"]
    }
    back = {
        "name": "DeliverKey",
        "startedAt": format_timestamp(NOON),
        "seconds": 77.0,
        "rollback": True,
    }
    composed["steps"].append(back)
    again = metrics.run_metrics(composed)
    assert [one for one in again if one.name == "StepTime"] == timed


def test_an_emergency_has_ended_what_both_its_purges_deleted(run: Run) -> None:
    ledger = {
        **ledger_until(None),
        "purge_before_restart": {**ENTRIES["purge_sessions"], "deleted": 1990},
    }
    ledger["rotation"] = {**ledger["rotation"], "mode": "emergency"}
    found = metrics.run_metrics(recorded(ledger, replace(run, mode="emergency")))
    assert by_name(found)["SessionsEnded"] == 2030
    assert {one.dimensions["mode"] for one in found if "mode" in one.dimensions} == {"emergency"}


@pytest.mark.parametrize(
    ("step", "measured"),
    [
        ("BeginRotation", {"RotationTime"}),
        ("DeliverKey", {"RotationTime"}),
        ("ConfirmDelivery", {"RotationTime", "PodsReplaced", "TimeToLastOldPod"}),
        (
            "ValidateRotation",
            {
                "RotationTime",
                "PodsReplaced",
                "TimeToLastOldPod",
                "TimeToLastOldSession",
                "SessionsEnded",
                "SessionsLeft",
            },
        ),
    ],
)
def test_what_a_run_did_not_come_to_is_not_measured(
    step: str, measured: set[str], run: Run
) -> None:
    found = metrics.run_metrics(recorded(failed_at(step), run))
    assert names(found) == {"RotationsFailed", *measured}


def test_a_purge_that_broke_off_does_not_say_what_it_left(run: Run) -> None:
    broken = {**ENTRIES["purge_sessions"], "finished": False, "deleted": 7, "left": 0}
    ledger = {**failed_at("PurgeSessions", "SessionStoreUnavailable"), "purge_sessions": broken}
    found = by_name(metrics.run_metrics(recorded(ledger, run)))
    assert found["SessionsEnded"] == 7
    assert "SessionsLeft" not in found


def test_no_session_is_a_number_and_no_purge_is_none(run: Run) -> None:
    idle = {**ENTRIES["purge_sessions"], "deleted": 0, "left": 0}
    found = metrics.run_metrics(recorded({**ledger_until(None), "purge_sessions": idle}, run))
    assert by_name(found)["SessionsEnded"] == by_name(found)["SessionsLeft"] == 0


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ("succeeded", "RotationsSucceeded"),
        ("rolled-back", "RotationsRolledBack"),
        ("failed", "RotationsFailed"),
        ("superseded", "RotationsSuperseded"),
    ],
)
def test_every_outcome_is_counted_by_its_name(outcome: Outcome, name: str, run: Run) -> None:
    ended = recorded(ledger_until(None), run)
    ended["outcome"] = outcome
    found = metrics.run_metrics(ended)
    assert found[0] == Metric(name, 1, "count", {"mode": "scheduled"})


def test_beside_a_runs_measures_stands_what_people_ask_first(run: Run) -> None:
    said = metrics.log_fields(recorded(failed_at("DeliverKey", "DeliveryRefused"), run))
    assert said == {
        "rotationId": NEW,
        "outcome": "failed",
        "reason": "The rotation window of the secret's schedule was open.",
        "error": "DeliveryRefused",
        "failedAt": "DeliverKey",
    }
    said = metrics.log_fields(recorded(ledger_until(None), run))
    assert (said["outcome"], said["error"], said["failedAt"]) == ("succeeded", None, None)


def test_the_key_is_measured_in_days_and_a_pending_version_in_seconds() -> None:
    assert metrics.key_metrics(KEY) == [
        Metric("KeyAge", 12.5, "days"),
        Metric("PendingTime", 0.0, "seconds"),
        Metric("TimeToRotation", 2.25, "days"),
    ]


@pytest.mark.parametrize("unknown", ["ageDays", "daysToRotation"])
def test_what_nobody_can_tell_of_the_key_is_not_measured(unknown: str) -> None:
    assert len(metrics.key_metrics({**KEY, unknown: None})) == 2


def answer(decision: str) -> dict[str, Any]:
    seen = format_timestamp(NOON - timedelta(seconds=90.5))
    return {"decision": decision, "lastSeen": seen}


def test_a_finding_that_rotates_the_key_is_timed_from_its_last_activity() -> None:
    assert metrics.finding_metrics(answer("rotate"), NOON) == [
        Metric("FindingsRotated", 1),
        Metric("FindingToRotation", 90.5, "seconds"),
    ]


@pytest.mark.parametrize(
    ("decision", "name"),
    [("mark", "FindingsMarked"), ("notify", "FindingsNotified"), ("ignore", "FindingsIgnored")],
)
def test_other_findings_are_counted(decision: str, name: str) -> None:
    assert metrics.finding_metrics(answer(decision), NOON) == [Metric(name, 1)]
