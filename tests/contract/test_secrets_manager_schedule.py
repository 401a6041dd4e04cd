"""Rotations that the schedule starts, on a clock that the tests move.

Sources: API reference, RotationRulesType and DescribeSecret (text as botocore's service model has
it); user guide, "Rotation schedules".
"""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.secrets_manager import AwsError, RotationReport
from local.secrets_manager.rotation import ATTEMPTS
from tests.contract.secrets_manager_account import (
    FUNCTION_ARN,
    Account,
    open_account,
    some_value,
    token,
    until,
)

DAILY = {"ScheduleExpression": "cron(0 3 * * ? *)", "Duration": "2h"}
TOMORROW_3 = datetime(2026, 11, 25, 3, tzinfo=UTC)
DAY_SECONDS = 86_400


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


def configure(account: Account, rules: dict[str, Any]) -> None:
    account.ended(account.rotate(RotateImmediately=False, RotationRules=rules))
    account.function.events.clear()


def go_to(account: Account, moment: datetime) -> None:
    account.clock.advance((moment - account.clock.now()).total_seconds())


def schedule_other_secret(account: Account) -> str:
    """Put a second secret on the daily schedule, tested but not yet rotated; return its ARN."""
    arn = str(account.call("CreateSecret", Name="other")["ARN"])
    request = {"SecretId": arn, "RotationRules": DAILY, "RotateImmediately": False}
    version = token()
    request |= {"ClientRequestToken": version, "RotationLambdaARN": FUNCTION_ARN}
    account.call("RotateSecret", **request)
    account.manager.wait_for_rotation(arn, version, 10.0)
    return arn


def events_of(account: Account, arn: str) -> list[dict[str, str]]:
    return [event for event in account.function.events if event["SecretId"] == arn]


def scheduled(account: Account) -> RotationReport:
    """Wait for the rotation that the schedule starts, and for its end."""
    until(lambda: bool(account.function.events), "a scheduled rotation")
    return account.ended(account.function.events[0]["ClientRequestToken"])


def test_a_rotation_starts_when_the_window_opens_and_not_before(account: Account) -> None:
    # ScheduleExpression: Secrets Manager rotates "any time during a rotation window"; our choice:
    # as it opens.
    configure(account, DAILY)
    go_to(account, TOMORROW_3 - timedelta(seconds=1))
    go_to(account, TOMORROW_3)
    report = scheduled(account)
    assert report.outcome == "succeeded"
    assert report.started_at == TOMORROW_3
    assert account.holder("AWSCURRENT") == report.version_id
    assert account.describe()["LastRotatedDate"] == TOMORROW_3


def test_every_window_has_its_rotation(account: Account) -> None:
    configure(account, DAILY)
    for day in range(3):
        account.function.events.clear()
        go_to(account, TOMORROW_3 + timedelta(days=day))
        assert scheduled(account).started_at == TOMORROW_3 + timedelta(days=day)


def test_the_next_date_is_the_latest_second_of_the_next_window(account: Account) -> None:
    # DescribeSecret, NextRotationDate: "The next rotation is scheduled to occur on or before this
    # date"; its example has the last second of the window. Without a Duration, a schedule in days
    # has a window that "closes at the end of the UTC day".
    configure(account, DAILY)
    assert account.describe()["NextRotationDate"] == datetime(2026, 11, 25, 4, 59, 59, tzinfo=UTC)
    configure(account, {"ScheduleExpression": "cron(0 3 24 * ? *)"})
    assert account.describe()["NextRotationDate"] == datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)


def test_a_value_put_by_hand_counts_as_a_rotation(account: Account) -> None:
    # RotationRulesType: "Manually updating the secret value by calling PutSecretValue or
    # UpdateSecret is considered a valid rotation."
    configure(account, DAILY)
    go_to(account, TOMORROW_3 + timedelta(hours=5))
    assert account.describe()["NextRotationDate"] < account.clock.now()
    account.put(some_value())
    assert account.describe()["NextRotationDate"] > account.clock.now()


def test_the_days_to_the_next_rotation_are_derived_from_the_schedule(account: Account) -> None:
    # AutomaticallyAfterDays: "In DescribeSecret and ListSecrets, this value is calculated from the
    # rotation schedule after every successful rotation."
    weekly = {"ScheduleExpression": "cron(0 3 ? * TUE *)"}
    account.ended(account.rotate(RotationRules=weekly))
    assert account.describe()["RotationRules"] == weekly | {"AutomaticallyAfterDays": 7}
    (entry,) = account.call("ListSecrets")["SecretList"]
    assert entry["RotationRules"]["AutomaticallyAfterDays"] == 7


def test_a_missed_window_is_not_made_up_for(account: Account) -> None:
    # ScheduleExpression: a secret is rotated "during a rotation window", never outside of one.
    configure(account, DAILY)
    go_to(account, TOMORROW_3 + timedelta(hours=5))
    go_to(account, TOMORROW_3 + timedelta(days=1))
    assert scheduled(account).started_at == TOMORROW_3 + timedelta(days=1)


def test_a_rotation_that_failed_is_taken_up_again_in_the_next_window(account: Account) -> None:
    # NextRotationDate: "If rotation is unsuccessful, this date may be in the past." RotateSecret:
    # "That rotation will be reattempted."
    configure(account, DAILY)
    account.function.failures["setSecret"] = ATTEMPTS
    go_to(account, TOMORROW_3)
    until(lambda: bool(account.function.events), "a scheduled rotation")
    version = account.function.events[0]["ClientRequestToken"]
    for _ in range(ATTEMPTS - 1):
        account.retry(version)
    assert account.ended(version).outcome == "failed"
    account.function.events.clear()
    go_to(account, TOMORROW_3 + timedelta(days=1))
    assert account.describe()["NextRotationDate"] < account.clock.now()
    until(lambda: account.holder("AWSCURRENT") == version, "the second try of the same version")
    assert {event["ClientRequestToken"] for event in account.function.events} == {version}


def test_a_rotation_that_still_runs_is_left_alone_by_the_schedule(account: Account) -> None:
    # RotateSecret: one rotation of a secret at a time. Another secret's rotation in the same window
    # shows that the window was attended to.
    opened = threading.Event()

    def hold(event: dict[str, str]) -> None:
        if event["SecretId"] == account.arn:
            assert opened.wait(10.0)

    account.function.before["testSecret"] = hold
    version = account.rotate(RotationRules=DAILY)
    until(lambda: "testSecret" in account.function.steps, "the step that waits")
    other = schedule_other_secret(account)
    go_to(account, TOMORROW_3)
    until(lambda: len(events_of(account, other)) > 1, "the other secret's rotation")
    opened.set()
    assert account.ended(version).outcome == "succeeded"
    assert [e["ClientRequestToken"] for e in events_of(account, account.arn)] == [version] * 4


def test_no_rotation_starts_once_rotation_is_off(account: Account) -> None:
    # CancelRotateSecret: "Turns off automatic rotation". Another secret's rotation in the same
    # window shows that the window was attended to.
    configure(account, DAILY)
    account.call("CancelRotateSecret", SecretId="app")
    other = schedule_other_secret(account)
    go_to(account, TOMORROW_3)
    until(lambda: len(events_of(account, other)) > 1, "the other secret's rotation")
    assert events_of(account, account.arn) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"AutomaticallyAfterDays": 9}, "not emulated"),
        ({"Duration": "2h"}, "not emulated"),
        ({"ScheduleExpression": "rate(9 days)"}, "not emulated"),
        ({"ScheduleExpression": "cron(0 /3 * * ? *)"}, "every 4 hours at most"),
        ({"ScheduleExpression": "cron(30 3 * * ? *)"}, "minutes of cron"),
        ({"ScheduleExpression": "cron(0 22 * * ? *)", "Duration": "3h"}, "next UTC day"),
    ],
    ids=str,
)
def test_rules_that_break_the_schedule_are_refused_and_change_nothing(
    account: Account, rules: dict[str, Any], words: str
) -> None:
    # RotationRulesType: the restrictions of AutomaticallyAfterDays, ScheduleExpression, Duration.
    with pytest.raises(AwsError, match=words) as refused:
        account.rotate(RotationRules=rules)
    assert refused.value.code == "InvalidParameterException"
    assert "RotationEnabled" not in account.describe()
    assert account.labels() == {account.first: ["AWSCURRENT"]}
