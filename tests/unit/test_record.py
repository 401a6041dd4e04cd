"""`keyturn.record`: every run has a record, and every message says what is true now."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from keyturn import errors, record
from keyturn.run import Run, timestamp
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeNotifier

AT = "2026-11-24T12:00:00.000Z"
FINGERPRINTS = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")


def rolled(service: str, second: int) -> dict[str, Any]:
    return {
        "service": service,
        "state": "done",
        "says": "2 of 2 new",
        "stalled": False,
        "replicas": 2,
        "alsoRestartedBy": "Reloader" if service == "auth-service" else None,
        "podsBefore": {f"{service}-0": "uid-1", f"{service}-1": "uid-2"},
        "podsAfter": {f"{service}-0": "uid-3", f"{service}-1": "uid-4"},
        "startedAt": f"2026-11-24T12:00:{second:02}.000Z",
        "seconds": 30.0 + second,
    }


ENTRIES: dict[str, Any] = {
    "begin_rotation": {
        "startedAt": "2026-11-24T11:58:00.000Z",
        "seconds": 0.5,
        "previousVersion": OLD,
        "services": ["web-console", "auth-service"],
        "rolloutPollSeconds": 5,
        "sessions": 41,
        "counted": True,
        "announced": True,
    },
    "deliver_key": {
        "startedAt": AT,
        "seconds": 0.2,
        "state": "done",
        "target": "Kubernetes Secret web/session-key",
        "written": True,
        "delivery": "2",
        "fingerprint": FINGERPRINTS[0],
        "previousFingerprint": FINGERPRINTS[1],
    },
    "confirm_delivery": {
        "startedAt": AT,
        "seconds": 0.1,
        "target": "Kubernetes Secret web/session-key",
        "fingerprint": FINGERPRINTS[0],
    },
    "restart_services": [rolled("web-console", 9), rolled("auth-service", 4)],
    "purge_sessions": {
        "startedAt": AT,
        "seconds": 2.0,
        "keysBefore": 51,
        "keysAfter": 14,
        "walks": [],
        "acknowledged": 40,
        "restarts": 0,
        "finished": True,
        "before": 41,
        "deleted": 40,
        "left": 1,
        "createdSince": 3,
        "createdPerSecond": 1.5,
        "perSecond": 20.0,
        "sessionsToGo": 0,
        "secondsToGo": 0.0,
    },
    "validate_rotation": {
        "startedAt": AT,
        "seconds": 1.0,
        "health": [{"url": "https://console.test/healthz", "status": 200}],
        "login": {"url": "https://console.test/login", "status": 302},
        "logs": {"findings": [], "logs": 4, "complete": True},
    },
}
WAITING = {
    "startedAt": AT,
    "seconds": 35.0,
    "state": "waiting",
    "target": "Kubernetes Secret web/session-key by ExternalSecret web/session-key",
    "written": False,
    "says": "waiting for the operator's sync",
    "asked": 2,
    "askedAt": AT,
    "syncedBefore": "1-abc",
    "fingerprint": FINGERPRINTS[0],
    "previousFingerprint": FINGERPRINTS[1],
}


def ledger_until(state: str | None) -> dict[str, Any]:
    """The ledger when `state` is entered; None is the end."""
    names = list(record.STEPS)
    done = names if state is None else names[: names.index(state)]
    written = {record.STEPS[name]: ENTRIES[record.STEPS[name]] for name in done}
    return {**Run(NEW, ARN, "scheduled").as_ledger(), **written}


def caught(error: str, says: str) -> dict[str, str]:
    """What the state machine catches of a function's error."""
    cause = {"errorMessage": says, "errorType": error, "stackTrace": ['File "x.py", line 1']}
    return {"Error": error, "Cause": json.dumps(cause)}


def failed_at(state: str, error: str = "RolloutFailed", says: str = "it stopped") -> dict[str, Any]:
    return {**ledger_until(state), "failure": caught(error, says)}


def compose(ledger: Mapping[str, Any], run: Run) -> dict[str, Any]:
    return record.compose(json.loads(json.dumps(ledger)), run, NOON)


def test_the_record_of_a_whole_run_holds_every_fact(run: Run) -> None:
    assert compose(ledger_until(None), run) == {
        "rotationId": NEW,
        "mode": "scheduled",
        "outcome": "succeeded",
        "versions": {"new": NEW, "previous": OLD},
        "sessions": {
            "before": 41,
            "deleted": 40,
            "left": 1,
            "createdSince": 3,
            "createdPerSecond": 1.5,
            "perSecond": 20.0,
            "keysBefore": 51,
            "keysAfter": 14,
            "claim": "40 ended; of those that existed when the purge began, 1 could not be"
            " deleted; 3 created since (1.5 a second)",
        },
        "services": [
            {
                "name": service,
                "replicas": 2,
                "podsBefore": {f"{service}-0": "uid-1", f"{service}-1": "uid-2"},
                "podsAfter": {f"{service}-0": "uid-3", f"{service}-1": "uid-4"},
                "alsoRestartedBy": restarter,
                "seconds": seconds,
            }
            for service, restarter, seconds in (
                ("web-console", None, 39.0),
                ("auth-service", "Reloader", 34.0),
            )
        ],
        "steps": [
            {"name": "BeginRotation", "startedAt": "2026-11-24T11:58:00.000Z", "seconds": 0.5},
            {"name": "DeliverKey", "startedAt": AT, "seconds": 0.2},
            {"name": "RestartServices", "startedAt": "2026-11-24T12:00:04.000Z", "seconds": 39.0},
            {"name": "ConfirmDelivery", "startedAt": AT, "seconds": 0.1},
            {"name": "PurgeSessions", "startedAt": AT, "seconds": 2.0},
            {"name": "ValidateRotation", "startedAt": AT, "seconds": 1.0},
        ],
        "fingerprints": {"new": FINGERPRINTS[0], "previous": FINGERPRINTS[1]},
        "delivery": {"target": "Kubernetes Secret web/session-key", "written": True},
        "validation": {
            "health": [{"url": "https://console.test/healthz", "status": 200}],
            "login": {"url": "https://console.test/login", "status": 302},
            "logs": {"findings": [], "logs": 4, "complete": True},
        },
        "failure": None,
        "secretArn": ARN,
        "startedAt": "2026-11-24T11:58:00.000Z",
        "finishedAt": timestamp(NOON),
        "seconds": 120.0,
    }


def test_the_first_fields_of_a_record_are_those_that_people_look_for(run: Run) -> None:
    assert list(compose(ledger_until(None), run))[:7] == [
        "rotationId",
        "mode",
        "outcome",
        "versions",
        "sessions",
        "services",
        "steps",
    ]


@pytest.mark.parametrize("state", list(record.STEPS))
def test_the_step_that_stopped_the_run_is_named(state: str, run: Run) -> None:
    found = compose(failed_at(state, "AccessDenied", "the role lacks it"), run)
    assert found["outcome"] == "failed"
    assert found["failure"] == {"step": state, "error": "AccessDenied", "says": "the role lacks it"}
    names = list(record.STEPS)
    assert [step["name"] for step in found["steps"]] == names[: names.index(state)]


def test_a_purge_that_stopped_half_way_is_the_step_that_stopped_the_run(run: Run) -> None:
    ledger = failed_at("ValidateRotation", "SessionStoreUnavailable")
    half = {**ENTRIES["purge_sessions"], "working": "delete", "finished": False, "deleted": 12}
    found = compose({**ledger, "purge_sessions": half}, run)
    assert found["failure"]["step"] == "PurgeSessions"
    assert found["sessions"]["deleted"] == 12


def test_a_delivery_that_failed_is_the_step_that_stopped_the_run(run: Run) -> None:
    found = compose(failed_at("DeliverKey", "DeliveryRefused", "it is immutable"), run)
    assert found["failure"]["step"] == "DeliverKey"
    assert found["delivery"] == {"target": None, "written": None}
    assert found["fingerprints"] == {"new": None, "previous": None}


def test_a_delivery_that_failed_while_it_waited_is_the_step_that_stopped_the_run(
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
    ("failure", "says"),
    [
        ({"Error": "States.Timeout"}, ""),
        ({"Error": "States.Timeout", "Cause": "it took too long"}, "it took too long"),
        ({"Error": "Lambda.Unknown", "Cause": '["a list"]'}, '["a list"]'),
        ({"Error": "Sandbox.Timedout", "Cause": '{"errorType": "x"}'}, '{"errorType": "x"}'),
    ],
)
def test_what_the_platform_says_is_kept_as_it_stands(
    failure: dict[str, str], says: str, run: Run
) -> None:
    found = compose({**ledger_until("DeliverKey"), "failure": failure}, run)
    assert found["failure"] == {"step": "DeliverKey", "error": failure["Error"], "says": says}


def test_a_very_long_cause_is_cut(run: Run) -> None:
    found = compose(failed_at("DeliverKey", says="x" * 40_000), run)
    assert len(found["failure"]["says"]) == record.SAYS_LENGTH


def message_of(ledger: Mapping[str, Any], run: Run) -> record.Message:
    return record.finished_message(run, compose(ledger, run))


def test_the_message_of_a_success_says_that_nothing_is_to_do(run: Run) -> None:
    message = message_of(ledger_until(None), run)
    assert message.kind == "Session Key Rotation Succeeded"
    assert message.subject == "Session key rotation succeeded"
    assert message.text == (
        "Every service runs the new session key, and login works.\n\n"
        "Key:      aaaaaaaaaaaaaaaa (was bbbbbbbbbbbbbbbb)\n"
        "Services:\n"
        "  web-console: 2 new pods, none of the old ones is left\n"
        "  auth-service: 2 new pods, none of the old ones is left\n"
        "Sessions: 40 ended; of those that existed when the purge began, 1 could not be deleted;"
        " 3 created since (1.5 a second)\n\n"
        "You need not do anything.\n\n"
        f"Run: rot-{NEW}, 120.0 s"
    )


@pytest.mark.parametrize("state", list(record.STEPS))
def test_the_message_of_a_failure_says_where_why_and_what_next(state: str, run: Run) -> None:
    message = message_of(failed_at(state, "RolloutFailed", "web-console: 1 of 3 new"), run)
    assert message.subject == "Session key rotation FAILED"
    assert f"stopped at {state}." in message.text
    assert "RolloutFailed: web-console: 1 of 3 new" in message.text
    assert "docs/operations.md, RolloutFailed" in message.text
    assert "None" not in message.text
    done = list(record.STEPS)[: list(record.STEPS).index(state)]
    assert f"Done:     {', '.join(done) or 'nothing'}\n" in message.text


@pytest.mark.parametrize(
    ("state", "half"),
    [
        ("DeliverKey", {"deliver_key": WAITING}),
        ("PurgeSessions", {"purge_sessions": {**ENTRIES["purge_sessions"], "finished": False}}),
    ],
)
def test_a_step_that_stopped_half_way_is_not_told_as_done(
    state: str, half: dict[str, Any], run: Run
) -> None:
    text = message_of({**failed_at(state, "SyncOverdue"), **half}, run).text
    assert f"stopped at {state}." in text
    done = list(record.STEPS)[: list(record.STEPS).index(state)]
    assert f"Done:     {', '.join(done)}\n" in text


def test_the_command_of_a_failure_starts_the_same_run_again(run: Run) -> None:
    text = message_of(failed_at("PurgeSessions"), run).text
    command = next(line for line in text.splitlines() if "start-execution" in line)
    assert f"--name rot-{NEW}-again " in command
    given = command.split("--input '")[1].removesuffix("'")
    assert json.loads(given) == run.as_ledger()


def test_the_message_of_an_overtaken_run_says_whom_to_follow(run: Run) -> None:
    message = message_of(failed_at("DeliverKey", "Superseded"), run)
    assert message.subject == "Session key rotation was overtaken by another"
    assert "Follow the other run." in message.text


def started(run: Run, **seen: Any) -> record.Message:
    return record.started_message(run, {**ENTRIES["begin_rotation"], **seen}, NOON)


def test_the_first_message_says_when_what_for_and_what_it_does_to_users(run: Run) -> None:
    message = started(run)
    assert message.kind == "Session Key Rotation Started"
    assert f"When:    {timestamp(NOON)}\n" in message.text
    assert "Impact:  41 sessions will end. Users have to log in again.\n" in message.text
    assert "Restart: web-console, auth-service, one rolling restart each.\n" in message.text


def test_sessions_that_were_not_all_counted_are_at_least_so_many(run: Run) -> None:
    assert "more than 90000 sessions" in started(run, sessions=90_000, counted=False).text


def every_message(run: Run) -> list[record.Message]:
    failed = [failed_at(state) for state in record.STEPS]
    failed.append({**failed_at("DeliverKey", "SyncOverdue"), "deliver_key": WAITING})
    endings = [ledger_until(None), failed_at("DeliverKey", "Superseded"), *failed]
    return [started(run), *(message_of(ledger, run) for ledger in endings)]


def test_every_subject_fits_an_e_mail(run: Run) -> None:
    """SNS Publish: ASCII, less than 100 characters, no line break, begins with a letter."""
    for message in every_message(run):
        assert message.subject.isascii()
        assert message.subject.isprintable()
        assert message.subject[0].isalpha()
        assert len(message.subject) < 100


def test_every_message_names_its_run_and_carries_plain_facts(run: Run) -> None:
    for message in every_message(run):
        assert run.execution_name in message.text
        assert json.loads(json.dumps(message.facts))["rotationId"] == NEW


def test_a_message_that_nobody_takes_does_not_fail_the_run(run: Run) -> None:
    assert record.tell(FakeNotifier(down=True), started(run)) is False


def test_a_message_is_told_once(run: Run) -> None:
    notifier = FakeNotifier()
    message = started(run)
    assert record.tell(notifier, message) is True
    assert notifier.told == [message]


def test_a_defect_while_telling_is_not_taken_for_a_message_that_nobody_takes(run: Run) -> None:
    class Defective(FakeNotifier):
        def tell(self, message: record.Message) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record.tell(Defective(), started(run))


def test_only_our_own_errors_are_outcomes() -> None:
    assert record.outcome({}) == "succeeded"
    assert record.outcome({"failure": {}}) == "failed"
    assert record.outcome({"failure": {"Error": errors.Superseded.__name__}}) == "superseded"
