"""Rotations of the local Secrets Manager that end another way: abandoned, cancelled, only tested.

Sources: the API reference pages RotateSecret and CancelRotateSecret (their text as botocore's
service model has it), the user guide, and reports of real accounts.
"""

import threading
from collections.abc import Iterator

import pytest

from local.secrets_manager import AwsError, rotation_run
from tests.contract.secrets_manager_account import (
    Account,
    Gate,
    open_account,
    open_gate,
    some_value,
    until,
)

DAILY = {"ScheduleExpression": "cron(0 3 * * ? *)", "Duration": "2h"}


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def gate() -> Iterator[Gate]:
    with open_gate() as gate:
        yield gate


def test_a_function_that_removes_the_pending_label_itself_did_not_complete(
    account: Account,
) -> None:
    # User guide, "Lambda rotation functions": "don't remove it by using a separate API call,
    # because that can indicate to Secrets Manager that the rotation did not complete successfully".
    # Our choice: also where the promotion has removed it already, and the call is refused.
    def remove(event: dict[str, str]) -> None:
        error = account.refusal(
            "UpdateSecretVersionStage",
            SecretId="app",
            VersionStage="AWSPENDING",
            RemoveFromVersionId=event["ClientRequestToken"],
        )
        assert error.code == "InvalidParameterException"

    account.function.after["finishSecret"] = remove
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the rotation counts as incomplete")
    assert account.labels() == {account.first: ["AWSPREVIOUS"], version: ["AWSCURRENT"]}
    assert account.report(version).error == rotation_run.PENDING_REMOVED


def test_a_new_rotation_replaces_a_promoted_one_that_waits_for_its_retry(account: Account) -> None:
    # RotateSecret: a shared AWSPENDING label does not block; one rotation of a secret at a time.
    def fail(event: dict[str, str]) -> None:
        raise RuntimeError("after promotion")

    account.function.after["finishSecret"] = fail
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    account.function.after.clear()
    second = account.rotate()
    assert account.ended(second).outcome == "succeeded"
    assert account.ended(version).outcome == "abandoned"


def test_a_value_put_by_hand_abandons_the_rotation(account: Account, gate: Gate) -> None:
    # User guide, RotationAbandoned: emitted when a new version is created during a rotation;
    # Secrets Manager removes AWSPENDING from the old one.
    account.function.before["setSecret"] = gate
    version = account.rotate()
    gate.wait()
    by_hand = account.put(some_value())
    assert account.labels() == {account.first: ["AWSPREVIOUS"], by_hand: ["AWSCURRENT"]}
    gate.opened.set()
    assert account.ended(version).outcome == "abandoned"
    account.function.before.clear()
    second = account.rotate()
    assert account.ended(second).outcome == "succeeded"
    assert version not in [e["ClientRequestToken"] for e in account.function.events[2:]]


def test_a_value_put_by_hand_frees_a_secret_whose_rotation_failed(account: Account) -> None:
    # Terraform's tests against real accounts write a value "to clear in-rotation state".
    account.function.failures["setSecret"] = 1
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    account.put(some_value())
    assert account.ended(version).outcome == "abandoned"
    assert account.ended(account.rotate()).outcome == "succeeded"


def test_taking_the_pending_label_away_frees_the_secret_at_once(account: Account) -> None:
    # User guide, "Troubleshoot rotation": remove AWSPENDING from the version that has it.
    account.function.failures["testSecret"] = 1
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    account.drop_pending()
    assert account.ended(version).outcome == "abandoned"
    assert account.ended(account.rotate()).outcome == "succeeded"


def test_moving_current_back_leaves_pending_in_the_way(account: Account) -> None:
    # RotateSecret: after a success AWSPENDING "might be attached to the same version as the
    # AWSCURRENT version"; after a roll-back it is then not on the AWSCURRENT version.
    version = account.rotate()
    account.ended(version)
    account.move("AWSPENDING", MoveToVersionId=version)
    account.call(
        "UpdateSecretVersionStage",
        SecretId="app",
        VersionStage="AWSCURRENT",
        MoveToVersionId=account.first,
        RemoveFromVersionId=version,
    )
    assert "A previous rotation isn't complete" in account.rotation_refusal().message
    account.drop_pending()
    assert account.ended(account.rotate()).outcome == "succeeded"


def test_cancelling_turns_rotation_off_and_leaves_the_labels(account: Account, gate: Gate) -> None:
    # CancelRotateSecret: "Turns off automatic rotation, and if a rotation is currently in progress,
    # cancels the rotation. If you cancel a rotation in progress, it can leave the VersionStage
    # labels in an unexpected state." VersionId is "the version of the secret created during the
    # rotation". DescribeSecret: dates are null, rules and function stay.
    account.function.before["setSecret"] = gate
    version = account.rotate(RotationRules=DAILY)
    gate.wait()
    answer = account.call("CancelRotateSecret", SecretId="app")
    assert answer["VersionId"] == version
    gate.opened.set()
    assert account.ended(version).outcome == "cancelled"
    assert account.labels() == {account.first: ["AWSCURRENT"], version: ["AWSPENDING"]}
    told = account.describe()
    assert told["RotationEnabled"] is False
    assert told["RotationRules"] == DAILY
    assert {"LastRotatedDate", "NextRotationDate"}.isdisjoint(told)
    assert "A previous rotation isn't complete" in account.rotation_refusal().message


def test_rotation_is_turned_on_again_by_rotating(account: Account) -> None:
    # CancelRotateSecret says: "To turn on automatic rotation again, call RotateSecret."
    with pytest.raises(AwsError) as refused:
        account.call("CancelRotateSecret", SecretId="app")
    assert refused.value.code == "InvalidRequestException"
    account.ended(account.rotate(RotationRules=DAILY))
    assert "VersionId" not in account.call("CancelRotateSecret", SecretId="app")
    account.ended(account.rotate(RotationLambdaARN=None))
    told = account.describe()
    assert told["RotationEnabled"] is True
    assert "NextRotationDate" in told


def test_without_rotating_immediately_only_the_test_runs_on_a_copy(
    account: Account, gate: Gate
) -> None:
    # RotateSecret, RotateImmediately: "Secrets Manager tests the rotation configuration by running
    # the testSecret step of the Lambda rotation function. This test creates an AWSPENDING version
    # of the secret and then removes it." Its id is new and its value the current one: checked on a
    # real account by moto's tests.
    account.function.before["testSecret"] = gate
    version = account.rotate(RotateImmediately=False, RotationRules=DAILY)
    gate.wait()
    assert version != account.first
    assert account.labels() == {account.first: ["AWSCURRENT"], version: ["AWSPENDING"]}
    assert account.read(VersionId=version, VersionStage="AWSPENDING") == account.value
    gate.opened.set()
    assert account.ended(version).outcome == "succeeded"
    assert account.function.steps == ["testSecret"]
    until(lambda: account.holder("AWSPENDING") is None, "the removal of the test's version")
    assert account.labels() == {account.first: ["AWSCURRENT"]}
    with pytest.raises(AwsError, match="can't find"):
        account.read(VersionId=version)
    assert "LastRotatedDate" not in account.describe()
    assert "NextRotationDate" in account.describe()


def test_a_failed_test_is_not_retried_and_leaves_nothing_behind(account: Account) -> None:
    # TestRotationFailed is its own event; our choice: one attempt, and the version goes away.
    account.function.failures["testSecret"] = 1
    version = account.rotate(RotateImmediately=False)
    report = account.ended(version)
    assert (report.outcome, report.error) == ("failed", "Refused: not today")
    assert account.labels() == {account.first: ["AWSCURRENT"]}
    assert account.ended(account.rotate()).outcome == "succeeded"


def test_deleting_a_secret_ends_its_rotation(account: Account) -> None:
    # DeleteSecret; RotateSecret, InvalidRequestException: "The secret is scheduled for deletion."
    account.function.failures["createSecret"] = 1
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    account.call("DeleteSecret", SecretId="app")
    assert account.ended(version).outcome == "abandoned"
    assert "marked for deletion" in account.rotation_refusal().message


def test_closing_ends_a_rotation_that_waits() -> None:
    before = {*threading.enumerate()}  # another account may be open in this process
    with open_account() as account:
        account.function.failures["createSecret"] = 1
        version = account.rotate()
        until(lambda: account.waits_to_retry(version), "the failed attempt")
        account.manager.close()
        names = {thread.name for thread in {*threading.enumerate()} - before}
        assert names.isdisjoint({"rotation of app", "rotation timetable"})
