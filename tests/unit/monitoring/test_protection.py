"""What the state of the secret, or a call of somebody, has changed."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn.monitoring import protection
from keyturn.monitoring.issues import Concern
from keyturn.monitoring.key_health import Secret
from keyturn.monitoring.watch_trigger import CHANGES, Call
from keyturn.secret.staging_labels import Version
from keyturn.secret.trigger import Schedule
from tests.conftest import NEW, NOON

DAILY, OFTEN = Call("daily", NOON), Call("frequent", NOON)
ON = Schedule("cron(0 3 1 * ? *)", "2h", True, None)
OFF = replace(ON, enabled=False)


def secret(schedule: Schedule = ON, **more: Any) -> Secret:
    current = Version(NEW, NOON, frozenset({"AWSCURRENT"}))
    return Secret((current,), more.pop("changed", None), schedule, **more)


def concerns(seen: Secret, call: Call = OFTEN) -> list[Concern]:
    return [one.concern for one in protection.judge(seen, call)]


@pytest.mark.parametrize("call", [DAILY, OFTEN])
def test_a_secret_on_its_schedule_is_no_concern(call: Call) -> None:
    assert concerns(secret(), call) == []


@pytest.mark.parametrize("call", [DAILY, OFTEN, Call("changed", NOON, "DeleteSecret")])
def test_a_secret_that_is_marked_for_deletion_is_the_one_concern(call: Call) -> None:
    seen = secret(OFF, deleted=NOON + timedelta(days=7))
    assert concerns(seen, call) == [Concern.MARKED_FOR_DELETION]


@pytest.mark.parametrize(
    ("changed", "call", "found"),
    [
        (None, OFTEN, []),
        (NOON - timedelta(minutes=5), OFTEN, [Concern.ROTATION_OFF]),
        (NOON - timedelta(minutes=6), OFTEN, []),
        (NOON - timedelta(days=9), DAILY, [Concern.ROTATION_OFF]),
        (None, Call("changed", NOON, "CancelRotateSecret"), [Concern.ROTATION_OFF]),
    ],
)
def test_a_schedule_that_is_off_is_told_when_it_is_new_and_then_every_day(
    changed: datetime | None, call: Call, found: list[Concern]
) -> None:
    assert concerns(secret(OFF, changed=changed), call) == found


def test_the_rules_that_turn_it_on_again_are_those_of_the_secret() -> None:
    (judgement,) = protection.judge(secret(OFF), DAILY)
    assert judgement.about == ("cron(0 3 1 * ? *)", "2h")


@pytest.mark.parametrize("name", CHANGES)
def test_a_call_of_which_the_state_shows_nothing_is_told(name: str) -> None:
    (judgement,) = protection.judge(secret(), Call("changed", NOON, name))
    assert judgement.concern is Concern.PROTECTION_CHANGED
    assert (judgement.since, judgement.about) == (NOON, (name,))
