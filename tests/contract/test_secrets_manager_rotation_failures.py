"""Rotations of the local Secrets Manager that fail: what is tried again, when, and what stays.

Sources: API reference, RotateSecret; user guide, "Troubleshoot rotation". The number and the
spacing of attempts are our choice: AWS publishes neither.
"""

from collections.abc import Iterator

import pytest

from local.secrets_manager.rotation import ATTEMPTS
from tests.contract.secrets_manager_account import (
    FUNCTION_ARN,
    RETRY_SECONDS,
    START,
    Account,
    open_account,
    until,
)

STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


@pytest.mark.parametrize("failing", STEPS)
def test_a_failed_step_ends_the_attempt_and_the_whole_rotation_is_tried_again(
    account: Account, failing: str
) -> None:
    # User guide: "If any rotation step fails, Secrets Manager retries the entire rotation process
    # multiple times." The token stays the same: the template finds the value it made before.
    account.function.failures[failing] = 1
    version = account.rotate()
    account.retry(version)
    report = account.ended(version)
    assert report.outcome == "succeeded"
    done = STEPS[: STEPS.index(failing) + 1]
    assert account.function.steps == done + STEPS
    assert {event["ClientRequestToken"] for event in account.function.events} == {version}
    (failed,) = [step for step in report.steps if step.error]
    assert (failed.step, failed.attempt, failed.error) == (failing, 1, "Refused: not today")
    assert report.steps[-1].attempt == 2
    assert report.steps[-1].started_at.timestamp() == START.timestamp() + RETRY_SECONDS


def test_a_retry_waits_for_its_time(account: Account) -> None:
    # Our choice: attempts are spaced by rotation_retry_seconds on the clock.
    account.function.failures["setSecret"] = 1
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    account.clock.advance(RETRY_SECONDS - 1)
    assert account.report(version).outcome == "running"
    account.clock.advance(1)
    retried = [s.started_at for s in account.ended(version).steps if s.attempt == 2]
    assert {(moment - START).total_seconds() for moment in retried} == {RETRY_SECONDS}


def test_a_function_that_cannot_be_called_fails_the_step(account: Account) -> None:
    # RotateSecret needs lambda:InvokeFunction; a missing or throttled function is a failed step.
    account.function.missing = True
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    (step,) = account.report(version).steps
    assert step.error == f"LookupError: no function {FUNCTION_ARN}"


def test_the_retries_end_and_the_pending_version_blocks_other_rotations(account: Account) -> None:
    # RotateSecret: "When rotation is unsuccessful, the AWSPENDING staging label might be attached
    # to an empty secret version." The number of attempts is our choice.
    account.function.failures["createSecret"] = ATTEMPTS
    version = account.rotate()
    for _ in range(ATTEMPTS - 1):
        account.retry(version)
    report = account.ended(version)
    assert (report.outcome, report.error) == ("failed", "Refused: not today")
    assert account.function.steps == ["createSecret"] * ATTEMPTS
    assert account.labels() == {account.first: ["AWSCURRENT"], version: ["AWSPENDING"]}
    assert "LastRotatedDate" not in account.describe()
    assert "A previous rotation isn't complete" in account.rotation_refusal().message


def test_a_failed_rotation_is_taken_up_again_with_its_own_token(account: Account) -> None:
    # RotateSecret's refusal promises "That rotation will be reattempted"; our choice for the token.
    account.function.failures["setSecret"] = ATTEMPTS
    version = account.rotate()
    for _ in range(ATTEMPTS - 1):
        account.retry(version)
    account.ended(version)
    made = account.read(VersionId=version)
    account.rotate(ClientRequestToken=version)
    assert account.ended(version).outcome == "succeeded"
    assert account.read() == made


def test_a_function_that_promotes_nothing_has_not_rotated(account: Account) -> None:
    # RotateSecret: the rotation must end with AWSPENDING on the AWSCURRENT version or on none; a
    # function that does nothing leaves "a previous rotation isn't complete" (aws-cdk's fixtures).
    account.function._finish = lambda event: None  # type: ignore[method-assign]
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the incomplete attempt")
    report = account.report(version)
    assert [step.error for step in report.steps] == [None] * 4
    assert report.error is not None
    assert "AWSCURRENT is not on the new version" in report.error
    assert "A previous rotation isn't complete" in account.rotation_refusal().message


def test_a_failure_after_promotion_is_retried_on_the_current_version(account: Account) -> None:
    # A step that fails fails the rotation, whatever it has done: finishSecret runs again although
    # its version is AWSCURRENT by now.
    def fail_once(event: dict[str, str]) -> None:
        del account.function.after["finishSecret"]
        raise RuntimeError("after promotion")

    account.function.after["finishSecret"] = fail_once
    version = account.rotate()
    account.retry(version)
    assert account.ended(version).outcome == "succeeded"
    assert account.function.steps == STEPS + STEPS
    assert account.labels() == {account.first: ["AWSPREVIOUS"], version: ["AWSCURRENT"]}
