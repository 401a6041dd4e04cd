"""Every message says what is true now, and what to do next."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from keyturn.reporting import commands, messages, record
from keyturn.reporting.notifications import Message
from keyturn.run.caller import is_execution_of
from keyturn.run.ledger import STEPS, SessionCount
from keyturn.run.run import Origin, Run
from keyturn.run.times import format_timestamp
from tests import shell
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.ledgers import ENTRIES, START, WAITING, failed_at, ledger_until

MACHINE = "arn:of-the-stack"
FINDING = Origin("finding", "2026-11-24T11:57:58.000Z")
TIMINGS = {"secondsToLastOldPod": 41.5, "secondsToLastOldSession": 12.0}
NO_WAY_BACK = {"step": "RestorePreviousKey", "error": "LabelMoved", "says": "it moved on"}


def record_of(run: Run, ledger: Any, **changes: Any) -> Any:
    return {**record.compose(json.loads(json.dumps(ledger)), run, NOON), **changes}


def message_of(run: Run, ledger: Mapping[str, Any], **changes: Any) -> Message:
    return messages.finished_message(run, record_of(run, ledger, **changes), MACHINE)


def started(run: Run, **seen: Any) -> Message:
    count = cast("SessionCount", {"sessions": 41, "counted": True, **seen})
    return messages.started_message(run, START, count, NOON)


def emergency(run: Run) -> Run:
    return replace(run, mode=cast("Any", "emergency"))


def every_message(run: Run) -> list[Message]:
    waiting = {**failed_at("DeliverKey", "SyncOverdue"), "deliver_key": WAITING}
    stopped = [*(failed_at(state) for state in STEPS), waiting]
    urgent: dict[str, Any] = {"mode": "emergency"}
    return [
        started(run),
        started(emergency(run)),
        message_of(run, ledger_until(None)),
        message_of(run, ledger_until(None), **urgent, timings=TIMINGS),
        message_of(run, failed_at("DeliverKey", "Superseded")),
        *(message_of(run, ledger) for ledger in stopped),
        *(message_of(run, ledger, outcome="rolled-back") for ledger in stopped),
        *(message_of(run, ledger, rollbackFailure=NO_WAY_BACK) for ledger in stopped),
        *(message_of(run, ledger, **urgent) for ledger in stopped),
    ]


def test_the_message_of_a_success_names_pods_that_were_not_restarted(run: Run) -> None:
    ledger = copy.deepcopy(ledger_until(None))
    others = "1 pod of another owner: debug (no controller)"
    ledger["restart_services"][0]["notRestarted"] = others
    told = message_of(run, ledger)
    assert told.fields["Services"].startswith(
        f"web-console: 2 new pods, none of the old ones is left, not restarted: {others}; "
    )
    assert told.next_steps.endswith("may still hold the old one. Restart or delete them.")
    assert messages.NOTHING_TO_DO not in told.text


def test_the_message_of_a_success_says_that_nothing_is_to_do(run: Run) -> None:
    message = message_of(run, ledger_until(None))
    assert message.kind == "Session Key Rotation Succeeded"
    assert message.subject == "Session key rotation succeeded"
    assert message.text == (
        "Every service runs the new session key, and login works.\n\n"
        f"When:     {format_timestamp(NOON)}, 50.0 s after its start\n"
        "Impact:   Users have to log in again. Sessions: 40 ended; of those that existed when the"
        " purge began, 1 could not be deleted; 3 created since (1.5 a second).\n"
        f"Reason:   The rotation window of the secret's schedule was open.\n"
        "Services: web-console: 2 new pods, none of the old ones is left;"
        " auth-service: 2 new pods, none of the old ones is left\n"
        "Key:      aaaaaaaaaaaaaaaa (was bbbbbbbbbbbbbbbb)\n"
        f"Run:      rot-{NEW}\n\n"
        "No action is needed."
    )


def test_the_end_of_an_emergency_says_how_long_the_old_key_was_in_use(run: Run) -> None:
    found = replace(run, origin=FINDING)
    told = message_of(found, ledger_until(None), mode="emergency", timings=TIMINGS)
    assert told.subject == "Session key rotation succeeded (emergency)"
    assert told.fields["Reason"] == FINDING.reason
    assert told.fields["Pods"] == "the last old pod was gone 41.5 s after the trigger"
    assert told.fields["Sessions"] == "the last old session was gone 12 s after the trigger"
    assert "cannot be restored" in told.text
    assert "Continue the incident response" in told.next_steps


@pytest.mark.parametrize("state", list(STEPS))
def test_the_message_of_a_failure_says_where_why_and_what_next(state: str, run: Run) -> None:
    message = message_of(run, failed_at(state, "RolloutFailed", "web-console: 1 of 3 new"))
    assert message.subject == "Session key rotation FAILED"
    assert f"stopped at {state}." in message.summary
    assert message.fields["Error"] == "RolloutFailed: web-console: 1 of 3 new"
    assert "docs/operations.md, RolloutFailed" in message.next_steps
    done = list(STEPS)[: list(STEPS).index(state)]
    assert message.fields["Done"] == (", ".join(done) or "nothing")
    assert f"AWSCURRENT is the new version, {NEW}." in message.fields["Key"]


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
    told = message_of(run, {**failed_at(state, "SyncOverdue"), **half})
    assert f"stopped at {state}." in told.summary
    done = list(STEPS)[: list(STEPS).index(state)]
    assert told.fields["Done"] == ", ".join(done)


@pytest.mark.parametrize("mode", ["scheduled", "emergency"])
def test_the_command_of_a_failure_starts_the_same_run_again(mode: str, run: Run) -> None:
    command = message_of(run, failed_at("PurgeSessions"), mode=mode).command
    given = shell.options(command.replace(MACHINE, "arn:of-the-stack"))
    assert json.loads(given["--input"]) == run.as_ledger()
    assert is_execution_of(run, given["--name"])
    assert given["--name"] != run.execution_name


def test_the_command_gives_another_name_each_time_also_twice_in_a_second(run: Run) -> None:
    command = commands.run_again(run, "arn:of-the-stack")
    names = {shell.options(command)["--name"] for _ in range(5)}
    assert len(names) == 5
    assert all(is_execution_of(run, name) for name in names)


def test_the_name_of_the_longest_run_that_is_run_again_fits_step_functions(run: Run) -> None:
    longest = replace(run, rotation_id="x" * 64, version="")
    command = commands.run_again(longest, "arn:of-the-stack")
    name = shell.options(command)["--name"]
    assert len(name) <= 80
    assert is_execution_of(longest, name)


def test_the_command_of_a_run_survives_a_quote_in_its_input(run: Run) -> None:
    class Told(Run):
        def as_ledger(self) -> Any:
            return {"rotation": {"previousVersion": 'it\'s "out"; $(id)'}}

    told = Told(run.rotation_id, run.secret_arn, run.mode)
    given = shell.options(commands.run_again(told, "arn:of-the-stack"))
    assert json.loads(given["--input"]) == told.as_ledger()


def test_a_run_that_was_undone_says_so_why_and_how_to_try_again(run: Run) -> None:
    told = message_of(run, failed_at("RestartServices", "RolloutFailed"), outcome="rolled-back")
    assert told.kind == "Session Key Rotation Rolled Back"
    assert told.subject == "Session key rotation FAILED, previous key restored"
    assert "stopped at RestartServices and was rolled back" in told.summary
    assert told.fields["Key"] == f"AWSCURRENT is the previous version again, {OLD}."
    assert told.fields["Error"] == "RolloutFailed: it stopped"
    assert "docs/operations.md, RolloutFailed" in told.next_steps
    assert told.command.startswith(f"aws secretsmanager rotate-secret --secret-id {ARN} ")


def test_a_way_back_that_failed_too_is_told_with_both_causes(run: Run) -> None:
    told = message_of(run, failed_at("RestartServices"), rollbackFailure=NO_WAY_BACK)
    assert told.subject == "Session key rotation FAILED, and the rollback failed"
    assert told.fields["Error"] == "RolloutFailed: it stopped"
    assert told.fields["Rollback"] == "LabelMoved: it moved on"
    assert "docs/operations.md, LabelMoved" in told.next_steps
    assert told.command.startswith(f"aws secretsmanager describe-secret --secret-id {ARN}")


def test_an_emergency_that_failed_keeps_the_new_key_and_asks_to_act_now(run: Run) -> None:
    found = replace(run, origin=FINDING)
    told = message_of(found, failed_at("RestartServices"), mode="emergency")
    assert told.subject == "Session key rotation FAILED IN AN EMERGENCY"
    assert "The new session key stays" in told.summary
    assert "never restored" in told.summary
    assert told.next_steps.startswith("Act now. ")
    assert told.fields["Reason"] == FINDING.reason
    assert told.fields["Pods"] == "the last old pod: not yet confirmed gone"


def test_what_the_logs_only_mention_is_reported(
    run: Run,
) -> None:
    summary = "12 log lines mention a key error and prove none."
    validated = ENTRIES["validate_rotation"]

    def fields(**logs: Any) -> Mapping[str, str]:
        ledger = {**ledger_until(None), "validate_rotation": {**validated, "logs": logs}}
        return message_of(run, ledger).fields

    assert fields(**{**validated["logs"], "says": summary})["Logs"] == summary
    assert "Logs" not in fields(**validated["logs"])


def test_an_emergency_reports_what_would_have_stopped_a_scheduled_run(
    run: Run,
) -> None:
    failed = ["ClusterUnavailable: the API is silent.", "ServiceUnhealthy: 503"]
    said = f"failed, and did not stop the rotation: {'; '.join(failed)}"
    for ledger in (ledger_until(None), failed_at("RestartServices")):
        told = message_of(emergency(run), ledger, mode="emergency", failedChecks=failed)
        assert told.fields["Checks"] == said
        assert "Checks" not in message_of(emergency(run), ledger, mode="emergency").fields


def test_the_message_of_an_overtaken_run_says_whom_to_follow(run: Run) -> None:
    message = message_of(run, failed_at("DeliverKey", "Superseded"))
    assert message.subject == "Session key rotation was overtaken by another"
    assert message.next_steps == "Follow the other run."


@pytest.mark.parametrize(
    ("stopped_at", "purged", "impact"),
    [
        ("DeliverKey", {}, "None known: no restart completed"),
        ("PurgeSessions", {}, "no session was deleted"),
        ("PurgeSessions", {"finished": False, "deleted": 12}, "Sessions ended so far: 12"),
        ("ValidateRotation", {"finished": True}, "Sessions: 40 ended"),
    ],
)
def test_the_impact_of_a_failure_is_what_it_has_done_to_users(
    stopped_at: str, purged: dict[str, Any], impact: str, run: Run
) -> None:
    ledger = failed_at(stopped_at)
    if purged:
        ledger["purge_sessions"] = {**ENTRIES["purge_sessions"], **purged}
    assert impact in message_of(run, ledger).fields["Impact"]


def test_the_first_message_says_when_what_for_and_what_it_does_to_users(run: Run) -> None:
    message = started(run)
    assert message.kind == "Session Key Rotation Started"
    assert message.fields == {
        "When": format_timestamp(NOON),
        "Impact": "41 sessions will end. Users have to log in again.",
        "Reason": run.origin.reason,
        "Mode": "scheduled",
        "Restart": "web-console, auth-service, one rolling restart each.",
        "Run": f"rot-{NEW}",
    }
    assert message.next_steps.startswith("No action is needed.")


def test_the_first_message_of_an_emergency_is_not_taken_for_a_planned_one(run: Run) -> None:
    told = started(emergency(run))
    assert told.subject == "EMERGENCY session key rotation started: users have to log in again"
    assert "may be known to others" in told.summary


def test_sessions_that_were_not_all_counted_are_at_least_so_many(run: Run) -> None:
    assert "more than 90,000 sessions" in started(run, sessions=90_000, counted=False).text


def test_every_subject_fits_an_e_mail(run: Run) -> None:
    """SNS Publish: ASCII, less than 100 characters, no line break, begins with a letter."""
    for message in every_message(run):
        assert message.subject.isascii()
        assert message.subject.isprintable()
        assert message.subject[0].isalpha()
        assert len(message.subject) < 100


def test_every_message_has_the_facts_of_the_runbook_and_says_what_is_to_do(run: Run) -> None:
    for message in every_message(run):
        assert list(message.fields)[:3] == ["When", "Impact", "Reason"]
        assert all(message.fields.values())
        assert message.summary.endswith(".")
        assert message.next_steps.endswith(":" if message.command else ".")
        assert message.command in message.text
        assert "None" not in message.text.replace("None known", "")
        assert all(len(name) < 9 for name in message.fields)


def test_every_message_names_its_run_and_carries_plain_facts(run: Run) -> None:
    for message in every_message(run):
        assert run.execution_name in message.text
        assert json.loads(json.dumps(message.facts))["rotationId"] == NEW


def test_a_run_that_a_finding_has_started_names_its_type_and_id() -> None:
    found = f"CredentialAccess:Kubernetes/TorIPCaller {'0' * 32}"
    origin = Origin("finding", ASKED, found)
    told = started(Run(NEW, ARN, "emergency", OLD, origin))
    assert told.fields["Reason"] == (
        f"A GuardDuty finding may mean that the key is exposed. Finding: {found}."
    )
