"""One id from the secret's version to the record."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.run import ledger as run_ledger
from keyturn.run import run, times
from keyturn.run.run import Origin, Run
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.every_case import every_case


def test_a_run_comes_back_from_its_own_ledger() -> None:
    urgent = Run(
        NEW, ARN, "emergency", OLD, Origin("finding", ASKED), fingerprint="0123456789abcdef"
    )
    for begun in (Run(NEW, ARN, "scheduled"), urgent):
        assert run.parse_run(json.loads(json.dumps(begun.as_ledger())), ARN) == begun


def test_the_same_run_has_the_same_name_and_the_same_input() -> None:
    first, second = Run(NEW, ARN, "scheduled"), Run(NEW, ARN, "scheduled")
    assert first.execution_name == second.execution_name == f"rot-{NEW}"
    assert json.dumps(first.as_ledger()) == json.dumps(second.as_ledger())


def test_the_name_of_the_longest_run_fits_step_functions() -> None:
    longest = "x" * 64
    assert run.ROTATION_ID.fullmatch(longest)
    assert len(Run(longest, ARN, "scheduled").execution_name) <= 80


AT = "2026-11-24T12:00:00.000Z"


def ledger(**fields: Any) -> dict[str, Any]:
    return {"rotation": {**Run(NEW, ARN, "scheduled").as_ledger()["rotation"], **fields}}


@every_case(
    "bad",
    [
        {},
        {"rotation": None},
        {"rotation": []},
        {"rotation": NEW},
        {"rotation": {}},
        ledger(rotationId=None),
        ledger(rotationId=7),
        ledger(rotationId="x" * 31),
        ledger(rotationId="x" * 65),
        ledger(rotationId="x" * 40 + "/"),
        ledger(rotationId="x" * 40 + "\n"),
        ledger(secretArn=ARN + "x"),
        ledger(secretArn=None),
        ledger(mode="manual"),
        ledger(previousVersion="x" * 65),
        ledger(previousVersion="two words"),
        ledger(fingerprint="hunter2"),
        ledger(trigger={"kind": "ATTACKER TEXT: visit example.org"}),
        ledger(trigger={"kind": "finding", "at": "yesterday"}),
        ledger(trigger={"kind": "finding", "at": 7}),
        ledger(version=OLD),
        ledger(mode=None),
    ],
)
def test_a_ledger_that_is_not_ours_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(errors.RequestRefused, match=r"Nothing was done\.$"):
        run.parse_run(bad, ARN)


@pytest.mark.parametrize("found", [None, "done", {}, {"startedAt": AT, "services": []}])
def test_an_entry_without_its_fields_is_refused_by_name(found: object) -> None:
    with pytest.raises(errors.RequestRefused, match="'start'"):
        run_ledger.parse_ledger({"start": found})


def test_an_entry_that_no_state_wrote_is_missed_by_name() -> None:
    parsed = run_ledger.parse_ledger({"rotation": {}})
    for read, name in [
        (run_ledger.start_of, "start"),
        (run_ledger.delivery_of, "deliver_key"),
        (run_ledger.restart_of, "restart_service"),
    ]:
        with pytest.raises(errors.RequestRefused, match=f"'{name}'"):
            read(parsed)


def test_a_ledger_keeps_what_the_states_wrote() -> None:
    given = {"start": {"startedAt": AT, "services": ["web"], "pollSeconds": 5}, "other": 1}
    assert run_ledger.parse_ledger(given) == given


@pytest.mark.parametrize("action", [None, "", "destroy", ["deliver"]])
def test_an_action_that_is_none_is_refused(action: object) -> None:
    with pytest.raises(errors.RequestRefused, match="none of deliver, confirm"):
        run_ledger.parse_action({"action": action})


@pytest.mark.parametrize("found", [{}, {"service": None}, {"service": ""}, {"service": ["web"]}])
def test_a_text_that_is_none_is_missed_by_name(found: dict[str, Any]) -> None:
    with pytest.raises(errors.RequestRefused, match="'service'"):
        run_ledger.text(found, "service")


def test_a_text_is_given_as_it_stands() -> None:
    assert run_ledger.text({"service": "web-console"}, "service") == "web-console"


def test_a_timestamp_is_utc_with_milliseconds_wherever_it_was_taken() -> None:
    in_tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert (
        times.format_timestamp(in_tokyo)
        == times.format_timestamp(NOON)
        == "2026-11-24T12:00:00.000Z"
    )


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001 - the strategy wants naive bounds
def test_a_timestamp_reads_back_to_the_millisecond(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    read = times.parse_timestamp(times.format_timestamp(moment))
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)


def test_now_knows_its_time_zone() -> None:
    assert times.now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"Backdoor:Runtime/C&CActivity.B!DNS {'0' * 32}", True),
        (f"Backdoor:Runtime/C&CActivity.B!DNS {'0' * 32}\nvisit evil.example", False),
        ("visit https://evil.example/ and log in", False),
        (f"Backdoor:Runtime/X {'0' * 33}", False),
        (7, False),
        (None, False),
    ],
)
def test_a_finding_is_kept_in_its_strict_form_alone(given: object, shown: bool) -> None:
    ledger: Any = Run(NEW, ARN, "emergency").as_ledger()
    ledger["rotation"]["trigger"]["finding"] = given
    assert run.parse_run(ledger, ARN).origin.finding == (given if shown else "")
