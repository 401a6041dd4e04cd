"""What the state of the secret, or a call of somebody, has changed."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn.monitoring import protection
from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Secret
from keyturn.monitoring.watch_trigger import CHANGES, WatchTrigger
from keyturn.secret.staging_labels import Version
from keyturn.secret.trigger import Schedule
from tests.conftest import NEW, NOON

DAILY, OFTEN = WatchTrigger("daily", NOON), WatchTrigger("frequent", NOON)
ON = Schedule("cron(0 3 1 * ? *)", "2h", True, None)
OFF = replace(ON, enabled=False)


def secret(schedule: Schedule = ON, **more: Any) -> Secret:
    current = Version(NEW, NOON, frozenset({"AWSCURRENT"}))
    return Secret((current,), more.pop("changed", None), schedule, **more)


def concerns(seen: Secret, call: WatchTrigger = OFTEN) -> list[IssueKind]:
    return [one.concern for one in protection.find_protection_issues(seen, call)]


@pytest.mark.parametrize("call", [DAILY, OFTEN])
def test_a_secret_on_its_schedule_is_no_concern(call: WatchTrigger) -> None:
    assert concerns(secret(), call) == []


@pytest.mark.parametrize("call", [DAILY, OFTEN, WatchTrigger("changed", NOON, "DeleteSecret")])
def test_a_secret_that_is_marked_for_deletion_is_the_one_concern(call: WatchTrigger) -> None:
    seen = secret(OFF, deleted=NOON + timedelta(days=7))
    assert concerns(seen, call) == [IssueKind.MARKED_FOR_DELETION]


@pytest.mark.parametrize(
    ("changed", "call", "found"),
    [
        (None, OFTEN, []),
        (NOON - timedelta(minutes=5), OFTEN, [IssueKind.ROTATION_OFF]),
        (NOON - timedelta(minutes=6), OFTEN, []),
        (NOON - timedelta(days=9), DAILY, [IssueKind.ROTATION_OFF]),
        (None, WatchTrigger("changed", NOON, "CancelRotateSecret"), [IssueKind.ROTATION_OFF]),
    ],
)
def test_a_schedule_that_is_off_is_told_when_it_is_new_and_then_every_day(
    changed: datetime | None, call: WatchTrigger, found: list[IssueKind]
) -> None:
    assert concerns(secret(OFF, changed=changed), call) == found


def test_the_rules_that_turn_it_on_again_are_those_of_the_secret() -> None:
    (issue,) = protection.find_protection_issues(secret(OFF), DAILY)
    assert issue.about == ("cron(0 3 1 * ? *)", "2h")


@pytest.mark.parametrize("name", CHANGES)
def test_a_call_of_which_the_state_shows_nothing_is_told(name: str) -> None:
    (issue,) = protection.find_protection_issues(secret(), WatchTrigger("changed", NOON, name))
    assert issue.concern is IssueKind.PROTECTION_CHANGED
    assert (issue.since, issue.about) == (NOON, (name,))
