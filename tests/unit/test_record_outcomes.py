"""The record of a run that turned back, and of an emergency: what stopped it, what is so now."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from keyturn.reporting import record
from keyturn.reporting.messages import finished_message
from keyturn.run.run import Run, parse_run
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.ledgers import AT, ENTRIES, START, caught, failed_at, ledger_until


def composed(ledger: Any, run: Run, at: datetime) -> Any:
    """The record, as JSON."""
    return record.compose(ledger, run, at)


def turned_back(stopped_at: str, run: Run, **later: Any) -> Any:
    """The ledger of a way back that went to its end, or met what `later` says."""
    turned = {
        "decided": "move AWSCURRENT back",
        "from": NEW,
        "to": OLD,
        "deliver": True,
        "restart": True,
        "startedAt": "2026-11-24T12:01:00.000Z",
        "seconds": 0.2,
    }
    back = {name: ENTRIES[name] for name in ENTRIES if name != "begin_rotation"}
    return {
        **run.rollback_to(OLD).as_ledger(),
        "start": {**START, "startedAt": turned["startedAt"]},
        "restore_previous_key": turned,
        "before_rollback": failed_at(stopped_at, "RolloutFailed", "1 of 3 new"),
        **back,
        **later,
    }


def test_a_run_that_turned_back_is_restored_and_says_what_stopped_it(run: Run) -> None:
    found = composed(turned_back("RestartServices", run), run.rollback_to(OLD), NOON)
    assert (found["outcome"], found["mode"]) == ("rolled-back", "scheduled")
    assert found["failure"] == {
        "step": "RestartServices",
        "error": "RolloutFailed",
        "says": "1 of 3 new",
    }
    assert found["rollback"] == {"from": NEW, "to": OLD, "deliver": True, "restart": True}
    assert found["rollbackFailure"] is None
    assert found["versions"] == {"new": NEW, "previous": OLD}


def test_the_steps_of_the_way_back_follow_those_of_the_way(run: Run) -> None:
    found = composed(turned_back("RestartServices", run), run.rollback_to(OLD), NOON)
    told = [(step["name"], step.get("rollback", False)) for step in found["steps"]]
    assert told == [
        ("BeginRotation", False),
        ("DeliverKey", False),
        ("RestorePreviousKey", True),
        ("DeliverKey", True),
        ("RestartServices", True),
        ("ConfirmDelivery", True),
        ("PurgeSessions", True),
        ("ValidateRotation", True),
    ]


def test_a_way_back_that_fails_says_both(run: Run) -> None:
    ledger = turned_back(
        "ValidateRotation", run, failures={"restart_services": caught("RolloutOverdue", "too slow")}
    )
    del ledger["restart_services"], ledger["purge_sessions"], ledger["validate_rotation"]
    found = composed(ledger, run.rollback_to(OLD), NOON)
    assert found["outcome"] == "failed"
    assert found["failure"]["error"] == "RolloutFailed"
    assert found["rollbackFailure"] == {
        "step": "RestartServices",
        "error": "RolloutOverdue",
        "says": "too slow",
    }


def test_a_way_back_that_was_refused_says_why(run: Run) -> None:
    ledger = failed_at("DeliverKey", "DeliveryRefused", "it is immutable")
    ledger["failures"]["restore_previous_key"] = caught("RollbackRefused", "it was ruled out")
    found = composed(ledger, run, NOON)
    assert found["outcome"] == "failed"
    assert found["failure"]["step"] == "DeliverKey"
    assert found["rollbackFailure"] == {
        "step": "RestorePreviousKey",
        "error": "RollbackRefused",
        "says": "it was ruled out",
    }


def test_a_run_that_was_overtaken_at_the_turn_is_superseded(run: Run) -> None:
    ledger = failed_at("DeliverKey")
    ledger["failures"]["restore_previous_key"] = caught("Superseded", "by another")
    assert composed(ledger, run, NOON)["outcome"] == "superseded"


def emergency(ledger: Any) -> Any:
    early = {**ENTRIES["purge_sessions"], "deleted": 1990}
    urgent = {**ledger["rotation"], "mode": "emergency"}
    return {**ledger, "rotation": urgent, "purge_before_restart": early}


def test_an_emergency_names_the_service_that_was_not_restarted_first(
    run: Run,
) -> None:
    ledger = emergency(failed_at("ValidateRotation", "RestartOverwritten", "no stamp"))
    not_restarted = {"service": "web-console", "failure": caught("RolloutFailed", "no image")}
    also = {"service": "auth-service", "failure": caught("RolloutOverdue", "auth-service: late")}
    ledger["restart_services"] = [*ledger["restart_services"], not_restarted, also]
    found = composed(ledger, replace(run, mode="emergency"), NOON)
    assert found["outcome"] == "failed"
    assert found["failure"] == {
        "step": "RestartServices",
        "error": "RolloutFailed",
        "says": "web-console: no image; auth-service: late",
    }


def test_an_emergency_tells_what_ended_first_and_how_long_it_took(run: Run) -> None:
    found = composed(emergency(ledger_until(None)), replace(run, mode="emergency"), NOON)
    assert (found["mode"], found["outcome"]) == ("emergency", "succeeded")
    assert (found["sessions"]["endedFirst"], found["sessions"]["deleted"]) == (1990, 40)
    assert found["timings"] == {
        "secondsToPromotion": 10.0,
        "secondsToLastOldPod": 108.0,
        "secondsToLastOldSession": 62.0,
    }


def test_an_emergency_that_failed_has_ended_the_sessions_all_the_same(run: Run) -> None:
    ledger = emergency(failed_at("RestartServices", "RolloutFailed", "1 of 3 new"))
    ledger["purge_sessions"] = ENTRIES["purge_sessions"]
    found = composed(ledger, replace(run, mode="emergency"), NOON)
    assert (found["outcome"], found["failure"]["step"]) == ("failed", "RestartServices")
    assert (found["rollback"], found["rollbackFailure"]) == (None, None)
    assert found["timings"]["secondsToLastOldPod"] is None
    assert found["timings"]["secondsToLastOldSession"] == 62.0


def test_a_purge_that_failed_is_the_failure_unless_something_failed_before(run: Run) -> None:
    ledger = failed_at("PurgeSessions", "SessionStoreUnavailable", "down")
    found = composed(ledger, run, NOON)
    assert found["outcome"] == "failed"
    assert found["failure"] == {
        "step": "PurgeSessions",
        "error": "SessionStoreUnavailable",
        "says": "down",
    }
    both = emergency(failed_at("RestartServices"))
    both["failures"] |= ledger["failures"]
    assert composed(both, run, NOON)["failure"]["step"] == "RestartServices"


@pytest.mark.parametrize("asked", ["", ASKED])
def test_without_the_moment_it_was_asked_for_nothing_is_timed(asked: str, run: Run) -> None:
    this = replace(run, origin=replace(run.origin, at=asked))
    timed = composed(ledger_until(None), this, NOON)["timings"]
    assert all((seconds is None) is (asked == "") for seconds in timed.values())


def test_a_minimal_input_is_a_run_too() -> None:
    """What somebody types who starts an execution by hand."""
    by_hand = {"rotation": {"rotationId": NEW, "secretArn": ARN, "mode": "scheduled"}}
    failed = {**by_hand, "failures": {"begin_rotation": caught("AccessDenied", "no")}}
    found = composed(failed, parse_run(by_hand, ARN), NOON)
    assert (found["outcome"], found["startedAt"]) == ("failed", AT)


VAULT = {"vaultVersion": 8, "vaultVersionBefore": 7, "destroysExposed": True}
DESTROYED = {"destroyed": [6, 7], "unreadable": [], "says": "destroyed versions 6, 7."}


def in_vault(**later: Any) -> Any:
    """The ledger of an emergency that delivered to Vault."""
    ledger = ledger_until(None)
    ledger["rotation"] = {**ledger["rotation"], "mode": "emergency"}
    return {**ledger, "deliver_key": {**ledger["deliver_key"], **VAULT}, **later}


def test_the_record_names_the_versions_in_vault_and_those_that_were_destroyed(run: Run) -> None:
    emergency = replace(run, mode="emergency")
    found = composed(in_vault(destroy_exposed_versions=DESTROYED), emergency, NOON)
    assert found["outcome"] == "succeeded"
    assert found["delivery"] == {
        "target": "Kubernetes Secret web/session-key",
        "written": True,
        "vaultVersion": 8,
        "vaultVersionBefore": 7,
        **DESTROYED,
    }
    assert (
        "destroyed versions 6, 7." in finished_message(emergency, found, "arn:of-the-machine").text
    )


def test_an_emergency_whose_exposed_versions_stay_has_failed_there(run: Run) -> None:
    emergency = replace(run, mode="emergency")
    failed = in_vault(
        failures={"destroy_exposed_versions": caught("VaultSealed", "Vault is sealed")}
    )
    found = composed(failed, emergency, NOON)
    assert found["outcome"] == "failed"
    assert found["failure"] == {
        "step": "DestroyExposedVersions",
        "error": "VaultSealed",
        "says": "Vault is sealed",
    }
    assert (
        "stopped at DestroyExposedVersions"
        in finished_message(emergency, found, "arn:of-the-machine").text
    )


MARKED = {"exposed": [OLD], "unlabelled": [OLD], "otherFieldsChanged": True}


def test_the_record_of_an_emergency_names_marked_versions_and_fields(
    run: Run,
) -> None:
    emergency = replace(run, mode="emergency")
    found = composed(in_vault(mark_exposed=MARKED), emergency, NOON)
    assert (found["outcome"], found["exposure"]) == ("succeeded", MARKED)
    said = finished_message(emergency, found, "arn:of-the-machine")
    assert f"differ from those of {OLD}" in said.fields["Other fields"]
    same = composed(in_vault(mark_exposed={**MARKED, "otherFieldsChanged": False}),
                          emergency, NOON)  # fmt: skip
    assert "Other fields" not in finished_message(emergency, same, "arn:of-the-machine").fields


def test_an_emergency_that_cannot_mark_what_it_replaced_fails_there(run: Run) -> None:
    emergency = replace(run, mode="emergency")
    failed = in_vault(
        failures={"mark_exposed": caught("AccessDenied", "AWS denied secretsmanager:TagResource")}
    )
    found = composed(failed, emergency, NOON)
    assert (found["outcome"], found["failure"]["step"]) == ("failed", "MarkExposed")
    said = finished_message(emergency, found, "arn:of-the-machine").text
    assert "may still carry AWSPREVIOUS" in said
    assert "stopped at" not in said
