"""Every run has a record of what it did, wherever it stopped."""

import json
from typing import Any

import pytest

from keyturn.reporting import record
from keyturn.rotation.preflight import Problem
from keyturn.run.ledger import STEPS
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.ledgers import AT, ENTRIES, FINGERPRINTS, WAITING, failed_at, ledger_until


def compose(ledger: Any, run: Run) -> Any:
    return record.compose(json.loads(json.dumps(ledger)), run, NOON)


def test_the_record_of_a_whole_run_holds_every_fact(run: Run) -> None:
    assert compose(ledger_until(None), run) == {
        "rotationId": NEW,
        "mode": "scheduled",
        "outcome": "succeeded",
        "trigger": {
            "kind": "schedule",
            "reason": "The rotation window of the secret's schedule was open.",
            "at": ASKED,
        },
        "versions": {"new": NEW, "previous": OLD},
        "sessions": {
            "before": 41,
            "deleted": 40,
            "vanished": 0,
            "left": 1,
            "createdSince": 3,
            "createdPerSecond": 1.5,
            "perSecond": 20.0,
            "keysBefore": 51,
            "keysAfter": 14,
            "claim": "40 ended; of those that existed when the purge began, 1 could not be"
            " deleted; 3 created since (1.5 a second)",
            "endedFirst": None,
        },
        "services": [
            {
                "name": service,
                "replicas": 2,
                "podsBefore": 2,
                "podsAfter": 2,
                "alsoRestartedBy": restarter,
                "notRestarted": None,
                "seconds": seconds,
            }
            for service, restarter, seconds in (
                ("web-console", None, 39.0),
                ("auth-service", "Reloader", 34.0),
            )
        ],
        "steps": [
            {"name": "BeginRotation", "startedAt": "2026-11-24T11:59:10.000Z", "seconds": 0.5},
            {"name": "DeliverKey", "startedAt": AT, "seconds": 0.2},
            {"name": "RestartServices", "startedAt": "2026-11-24T12:00:04.000Z", "seconds": 39.0},
            {"name": "ConfirmDelivery", "startedAt": AT, "seconds": 0.1},
            {"name": "PurgeSessions", "startedAt": AT, "seconds": 2.0},
            {"name": "ValidateRotation", "startedAt": AT, "seconds": 1.0},
        ],
        "timings": {
            "secondsToPromotion": 10.0,
            "secondsToLastOldPod": 108.0,
            "secondsToLastOldSession": 62.0,
        },
        "fingerprints": {"new": FINGERPRINTS[0], "previous": FINGERPRINTS[1]},
        "delivery": {"target": "Kubernetes Secret web/session-key", "written": True},
        "validation": {
            "health": [{"url": "https://console.test/healthz", "status": 200}],
            "login": {"url": "https://console.test/login", "status": 302},
            "logs": ENTRIES["validate_rotation"]["logs"],
        },
        "exposure": None,
        "failedChecks": [],
        "failure": None,
        "rollback": None,
        "rollbackFailure": None,
        "secretArn": ARN,
        "startedAt": "2026-11-24T11:59:10.000Z",
        "finishedAt": format_timestamp(NOON),
        "seconds": 50.0,
    }


def test_the_record_has_what_the_checks_had_against_an_emergency(run: Run) -> None:
    failed = [Problem("ClusterUnavailable", "deliver_key: the API is silent.")]
    found = record.compose(ledger_until(None), run, NOON, failed)
    assert found["failedChecks"] == ["ClusterUnavailable: deliver_key: the API is silent."]


def test_the_first_fields_of_a_record_are_those_that_people_look_for(run: Run) -> None:
    assert list(compose(ledger_until(None), run))[:8] == [
        "rotationId",
        "mode",
        "outcome",
        "trigger",
        "versions",
        "sessions",
        "services",
        "steps",
    ]


@pytest.mark.parametrize("state", list(STEPS))
def test_the_step_that_stopped_the_run_is_named(state: str, run: Run) -> None:
    found = compose(failed_at(state, "AccessDenied", "the role lacks it"), run)
    assert found["outcome"] == "failed"
    assert found["failure"] == {"step": state, "error": "AccessDenied", "says": "the role lacks it"}
    names = list(STEPS)
    assert [step["name"] for step in found["steps"]] == names[: names.index(state)]


def test_a_purge_that_stopped_half_way_is_the_step_that_stopped_the_run(run: Run) -> None:
    ledger = failed_at("PurgeSessions", "SessionStoreUnavailable")
    half = {**ENTRIES["purge_sessions"], "phase": "delete", "finished": False, "deleted": 12}
    found = compose({**ledger, "purge_sessions": half}, run)
    assert found["failure"]["step"] == "PurgeSessions"
    assert found["sessions"]["deleted"] == 12


def test_a_delivery_that_failed_is_the_step_that_stopped_the_run(run: Run) -> None:
    found = compose(failed_at("DeliverKey", "DeliveryRefused", "it is immutable"), run)
    assert found["failure"]["step"] == "DeliverKey"
    assert found["delivery"] == {"target": None, "written": None}
    assert found["fingerprints"] == {"new": None, "previous": None}


def test_a_delivery_that_failed_while_waiting_is_the_failed_step(
    run: Run,
) -> None:
    ledger = {**failed_at("DeliverKey", "SyncOverdue", "it was asked"), "deliver_key": WAITING}
    found = compose(ledger, run)
    assert found["outcome"] == "failed"
    assert found["failure"] == {
        "step": "DeliverKey",
        "error": "SyncOverdue",
        "says": "it was asked",
    }
    assert [step["name"] for step in found["steps"]] == ["BeginRotation", "DeliverKey"]
    assert found["steps"][1] == {"name": "DeliverKey", "startedAt": AT, "seconds": 35.0}
    assert found["delivery"] == {"target": WAITING["target"], "written": False}
    assert found["fingerprints"] == {"new": FINGERPRINTS[0], "previous": FINGERPRINTS[1]}
    assert (found["services"], found["validation"]) == ([], {})


def test_a_run_that_was_overtaken_while_its_delivery_waited_is_superseded(run: Run) -> None:
    found = compose({**failed_at("DeliverKey", "Superseded"), "deliver_key": WAITING}, run)
    assert (found["outcome"], found["failure"]["step"]) == ("superseded", "DeliverKey")


def test_a_run_that_was_overtaken_is_superseded_and_not_failed(run: Run) -> None:
    found = compose(failed_at("DeliverKey", "Superseded", "another has overtaken it"), run)
    assert found["outcome"] == "superseded"
    assert found["failure"]["step"] == "DeliverKey"


@pytest.mark.parametrize(
    ("failure", "summary"),
    [
        ({"Error": "States.Timeout"}, ""),
        ({"Error": "States.Timeout", "Cause": "it took too long"}, "it took too long"),
        ({"Error": "Lambda.Unknown", "Cause": '["a list"]'}, '["a list"]'),
        ({"Error": "Sandbox.Timedout", "Cause": '{"errorType": "x"}'}, '{"errorType": "x"}'),
    ],
)
def test_what_the_platform_says_is_kept_as_it_stands(
    failure: dict[str, str], summary: str, run: Run
) -> None:
    found = compose({**ledger_until("DeliverKey"), "failures": {"deliver_key": failure}}, run)
    assert found["failure"] == {"step": "DeliverKey", "error": failure["Error"], "says": summary}


def test_a_very_long_cause_is_cut(run: Run) -> None:
    found = compose(failed_at("DeliverKey", summary="x" * 40_000), run)
    assert len(found["failure"]["says"]) == record.SUMMARY_LENGTH


def test_only_our_own_errors_are_outcomes() -> None:
    assert record.outcome({}) == "succeeded"
    assert record.outcome({"failures": {"deliver_key": {"Error": ""}}}) == "failed"
    assert record.outcome({"failures": {"deliver_key": {"Error": "Superseded"}}}) == "superseded"
