"""Rotations of the local Secrets Manager: who may start one, its steps and what it leaves.

Sources: the API reference page RotateSecret (its text as botocore's service model has it), the user
guide's pages on rotation, and the checks on real accounts that moto's tests record. Where AWS
publishes nothing, the test says "our choice".
"""

from collections.abc import Iterator

import pytest

from local.secrets_manager import AwsError
from tests.contract.secrets_manager_account import (
    FUNCTION_ARN,
    START,
    Account,
    Gate,
    open_account,
    open_gate,
    some_value,
    token,
    until,
)

STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]
DAILY = {"ScheduleExpression": "cron(0 3 * * ? *)", "Duration": "2h"}
WEEKLY = {"ScheduleExpression": "cron(0 3 ? * TUE *)"}


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def gate() -> Iterator[Gate]:
    with open_gate() as gate:
        yield gate


def test_a_rotation_takes_the_four_steps_in_order(account: Account) -> None:
    # User guide, "Rotation by Lambda function": the steps, and their event with Step, SecretId (the
    # ARN), ClientRequestToken and RotationToken (36 to 256 characters in the service model).
    version = account.rotate()
    report = account.ended(version)
    assert report.outcome == "succeeded"
    assert [step.step for step in report.steps] == account.function.steps == STEPS
    assert set(account.function.functions) == {FUNCTION_ARN}
    for event in account.function.events:
        assert event["SecretId"] == account.arn
        assert event["ClientRequestToken"] == version
        assert 36 <= len(event["RotationToken"]) <= 256
        assert set(event) == {"Step", "SecretId", "ClientRequestToken", "RotationToken"}


def test_a_rotation_ends_with_the_new_version_current(account: Account) -> None:
    # User guide, "Lambda rotation functions", finishSecret: the move of AWSCURRENT "also removes
    # the AWSPENDING label in the same API call".
    version = account.rotate()
    account.ended(version)
    assert account.labels() == {account.first: ["AWSPREVIOUS"], version: ["AWSCURRENT"]}
    assert account.read() != account.value
    assert account.read(VersionStage="AWSPREVIOUS") == account.value
    assert account.describe()["LastRotatedDate"] == START
    assert account.describe()["RotationEnabled"] is True


def test_the_next_rotation_starts_from_a_shared_or_a_removed_pending_label(
    account: Account,
) -> None:
    # RotateSecret refuses only if AWSPENDING is "present but not attached to the same version as
    # AWSCURRENT".
    account.ended(account.rotate())
    second = account.rotate()
    account.ended(second)
    account.move("AWSPENDING", MoveToVersionId=second)
    third = account.rotate()
    assert account.ended(third).outcome == "succeeded"
    assert account.holder("AWSPREVIOUS") == second


def test_the_version_of_a_rotation_has_no_value_before_create_secret(
    account: Account, gate: Gate
) -> None:
    # DescribeSecret: VersionIdsToStages "includes every version ID that has a staging label
    # attached, even if that version doesn't contain a secret value. In contrast,
    # ListSecretVersionIds only returns versions that contain a secret value."
    account.function.before["createSecret"] = gate
    version = account.rotate()
    gate.wait()
    assert account.labels() == {account.first: ["AWSCURRENT"], version: ["AWSPENDING"]}
    listed = account.call("ListSecretVersionIds", SecretId="app", IncludeDeprecated=True)
    assert [entry["VersionId"] for entry in listed["Versions"]] == [account.first]
    for request in ({}, {"VersionId": version}):
        with pytest.raises(AwsError) as refused:
            account.read(VersionStage="AWSPENDING", **request)
        assert refused.value.code == "ResourceNotFoundException"
    with pytest.raises(AwsError, match=f"VersionId: {version}"):
        account.read(VersionId=version)


def test_rotate_secret_answers_before_the_steps_are_done(account: Account, gate: Gate) -> None:
    # RotateSecret says: "Configures and starts the asynchronous process of rotating the secret."
    account.function.before["testSecret"] = gate
    version = account.rotate()
    gate.wait()
    assert account.holder("AWSCURRENT") == account.first
    assert account.report(version).outcome == "running"
    with pytest.raises(TimeoutError, match="createSecret, setSecret"):
        account.manager.wait_for_rotation("app", version, 0.01)
    gate.opened.set()
    assert account.ended(version).outcome == "succeeded"


def test_a_second_rotation_is_refused_while_one_is_pending(account: Account, gate: Gate) -> None:
    # RotateSecret: "any later invocation of RotateSecret assumes that a previous rotation request
    # is still in progress and returns an error"; message of real accounts (Terraform's tests).
    account.function.before["setSecret"] = gate
    version = account.rotate(RotationRules=DAILY)
    gate.wait()
    error = account.rotation_refusal(RotationRules=WEEKLY)
    assert error.code == "InvalidRequestException"
    assert error.message == (
        "A previous rotation isn't complete. That rotation will be reattempted."
    )
    assert account.describe()["RotationRules"] == DAILY
    gate.opened.set()
    assert account.ended(version).outcome == "succeeded"
    assert account.function.steps == STEPS


def test_the_same_token_starts_one_rotation_only(account: Account, gate: Gate) -> None:
    # RotateSecret, ClientRequestToken: "Secrets Manager uses this value to prevent the accidental
    # creation of duplicate versions". Our choice: also when that rotation is over.
    account.function.before["setSecret"] = gate
    version = account.rotate(RotationRules=DAILY)
    gate.wait()
    assert account.rotate(ClientRequestToken=version, RotationRules=WEEKLY) == version
    assert account.describe()["RotationRules"] == DAILY
    gate.opened.set()
    account.ended(version)
    assert account.rotate(ClientRequestToken=version) == version
    assert account.ended(version).outcome == "succeeded"
    assert account.function.steps == STEPS


def test_a_token_that_names_another_version_is_refused(account: Account) -> None:
    # ClientRequestToken says: "A unique identifier for the new version of the secret."
    error = account.rotation_refusal(ClientRequestToken=account.first)
    assert error.code == "ResourceExistsException"
    assert account.labels() == {account.first: ["AWSCURRENT"]}


def test_rotation_needs_a_function_once_and_remembers_it(account: Account) -> None:
    # RotateSecret, InvalidRequestException: "You tried to enable rotation on a secret that doesn't
    # already have a Lambda function ARN configured and you didn't include such an ARN"; "If you
    # don't include the configuration parameters, the operation starts a rotation with the values
    # already stored in the secret."
    error = account.rotation_refusal(RotationLambdaARN=None)
    assert error.code == "InvalidRequestException"
    assert "doesn't already have a Lambda function ARN configured" in error.message
    account.ended(account.rotate(RotationRules=DAILY))
    version = account.rotate(RotationLambdaARN=None)
    assert account.ended(version).outcome == "succeeded"
    assert account.describe()["RotationLambdaARN"] == FUNCTION_ARN
    assert account.describe()["RotationRules"]["ScheduleExpression"] == "cron(0 3 * * ? *)"


def test_an_empty_version_cannot_become_current(account: Account, gate: Gate) -> None:
    # Our choice, on the safe side: a version without a value is not found as a target.
    account.function.before["createSecret"] = gate
    version = account.rotate()
    gate.wait()
    with pytest.raises(AwsError) as refused:
        account.call(
            "UpdateSecretVersionStage",
            SecretId="app",
            VersionStage="AWSCURRENT",
            MoveToVersionId=version,
            RemoveFromVersionId=account.first,
        )
    assert refused.value.code == "ResourceNotFoundException"
    assert account.read() == account.value


def test_each_step_is_told_to_the_listeners(account: Account) -> None:
    heard: list[tuple[str, str, str, str, str | None]] = []

    def listen(
        secret_arn: str, version_id: str, step: str, state: str, seconds: float, error: str | None
    ) -> None:
        assert seconds >= 0
        heard.append((secret_arn, version_id, step, state, error))

    account.manager.on_step(listen)
    account.function.failures["setSecret"] = 1
    version = account.rotate()
    until(lambda: account.waits_to_retry(version), "the failed attempt")
    assert heard == [
        (account.arn, version, "createSecret", "started", None),
        (account.arn, version, "createSecret", "succeeded", None),
        (account.arn, version, "setSecret", "started", None),
        (account.arn, version, "setSecret", "failed", "Refused: not today"),
    ]


def test_a_rotation_announces_the_new_version_as_current(account: Account) -> None:
    # User guide, "Secret Label Updated": detail.versionId is the rotation's ClientRequestToken.
    version = account.rotate()
    account.ended(version)
    told = [(e["detail"]["labelUpdated"], e["detail"]["versionId"]) for e in account.bus]
    assert told == [("AWSCURRENT", account.first), ("AWSCURRENT", version)]


def test_a_receiver_of_an_announcement_may_call_back(account: Account) -> None:
    # EventBridge delivers after the fact: whoever hears of a label may read the secret.
    read: list[str] = []
    account.manager._store._emit = lambda event: read.append(account.read())
    value = some_value()
    account.put(value)
    assert read == [value]


def test_a_rotation_that_was_never_started_cannot_be_awaited(account: Account) -> None:
    assert account.manager.rotation_report("app", token()) is None
    with pytest.raises(LookupError, match="no rotation of app"):
        account.manager.wait_for_rotation("app", token(), 1.0)
