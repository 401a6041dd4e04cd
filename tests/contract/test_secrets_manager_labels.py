"""Staging labels of the local Secrets Manager: how they move, and who hears of it.

Sources: the API reference pages named in each test (their text as botocore's service model has
it), and messages of real accounts as public projects report them.
"""

import uuid
from collections.abc import Iterator

import pytest

from local.secrets_manager import AwsError
from tests.contract.secrets_manager_account import (
    Account,
    open_account,
    some_value,
    token,
)


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


def test_putting_a_value_moves_current_and_previous(account: Account) -> None:
    # PutSecretValue: "If you don't include VersionStages, then Secrets Manager automatically moves
    # the staging label AWSCURRENT to this version", and AWSPREVIOUS to the one it left.
    value = some_value()
    second = account.put(value)
    assert account.labels() == {account.first: ["AWSPREVIOUS"], second: ["AWSCURRENT"]}
    assert account.read() == value
    assert account.read(VersionStage="AWSPREVIOUS") == account.value
    third = account.put(some_value())
    assert account.labels() == {second: ["AWSPREVIOUS"], third: ["AWSCURRENT"]}


def test_putting_a_value_with_labels_leaves_current_alone(account: Account) -> None:
    # PutSecretValue: "If you specify a staging label that's already associated with a different
    # version of the same secret, then Secrets Manager removes the label from the other version".
    one = account.put(some_value(), VersionStages=["blue", "green"])
    two = account.put(some_value(), VersionStages=["green"])
    assert account.labels() == {account.first: ["AWSCURRENT"], one: ["blue"], two: ["green"]}
    assert account.read() == account.value


def test_the_first_value_of_a_secret_always_becomes_current(account: Account) -> None:
    # PutSecretValue: "If this operation creates the first version for the secret, then Secrets
    # Manager automatically attaches the staging label AWSCURRENT to it."
    account.call("CreateSecret", Name="empty")
    answer = account.call(
        "PutSecretValue",
        SecretId="empty",
        ClientRequestToken=token(),
        SecretString=some_value(),
        VersionStages=["blue"],
    )
    assert sorted(answer["VersionStages"]) == ["AWSCURRENT", "blue"]


def test_moving_a_label_needs_the_version_that_has_it(account: Account) -> None:
    # UpdateSecretVersionStage, RemoveFromVersionId: "If the label is attached and you either do not
    # specify this parameter, or the version ID does not match, then the operation fails."
    pending = account.put(some_value(), VersionStages=["AWSPENDING"])
    other = account.put(some_value(), VersionStages=["blue"])
    with pytest.raises(AwsError, match="RemoveFromVersionId can't be empty") as refused:
        account.move("AWSCURRENT", MoveToVersionId=other)
    assert refused.value.code == "InvalidParameterException"
    assert account.first in refused.value.message
    with pytest.raises(AwsError, match="isn't attached to version") as refused:
        account.move("AWSCURRENT", MoveToVersionId=other, RemoveFromVersionId=pending)
    assert refused.value.code == "InvalidParameterException"
    assert account.holder("AWSCURRENT") == account.first


def test_moving_current_moves_previous_by_itself_and_back_again(account: Account) -> None:
    # UpdateSecretVersionStage: "Whenever you move AWSCURRENT, Secrets Manager automatically moves
    # the label AWSPREVIOUS to the version that AWSCURRENT was removed from."
    second = account.put(some_value(), VersionStages=["blue"])
    account.move("AWSCURRENT", MoveToVersionId=second, RemoveFromVersionId=account.first)
    assert account.labels() == {account.first: ["AWSPREVIOUS"], second: ["AWSCURRENT", "blue"]}
    account.move("AWSCURRENT", MoveToVersionId=account.first, RemoveFromVersionId=second)
    assert account.labels() == {account.first: ["AWSCURRENT"], second: ["AWSPREVIOUS", "blue"]}


def test_a_free_label_is_attached_without_a_source(account: Account) -> None:
    # UpdateSecretVersionStage, MoveToVersionId: RemoveFromVersionId is needed only "if the staging
    # label is already attached to a different version of the secret".
    account.move("blue", MoveToVersionId=account.first)
    account.move("blue", MoveToVersionId=account.first)
    assert account.labels() == {account.first: ["AWSCURRENT", "blue"]}


def test_a_label_is_removed_by_naming_its_version_only(account: Account) -> None:
    # UpdateSecretVersionStage, MoveToVersionId: "To remove a label from a version, then do not
    # specify this parameter."
    second = account.put(some_value())
    account.move("AWSPREVIOUS", RemoveFromVersionId=account.first)
    assert account.labels() == {second: ["AWSCURRENT"]}
    with pytest.raises(AwsError, match="isn't attached"):
        account.move("AWSPREVIOUS", RemoveFromVersionId=account.first)


def test_current_can_be_moved_but_never_removed(account: Account) -> None:
    # Message of a real account, as the Terraform provider for AWS quotes it.
    with pytest.raises(AwsError, match="You can only move staging label AWSCURRENT") as refused:
        account.move("AWSCURRENT", RemoveFromVersionId=account.first)
    assert refused.value.code == "InvalidParameterException"


def test_labels_move_only_to_versions_that_exist(account: Account) -> None:
    # UpdateSecretVersionStage lists ResourceNotFoundException among its errors.
    with pytest.raises(AwsError) as refused:
        account.move("blue", MoveToVersionId=token())
    assert refused.value.code == "ResourceNotFoundException"
    with pytest.raises(AwsError) as refused:
        account.move("blue")
    assert refused.value.code == "InvalidParameterException"


def test_a_version_holds_twenty_labels_at_most(account: Account) -> None:
    # SecretVersionStagesType in the service model: max 20; UpdateSecretVersionStage lists
    # LimitExceededException.
    second = account.put(some_value(), VersionStages=[f"label-{n}" for n in range(20)])
    with pytest.raises(AwsError) as refused:
        account.move("one-more", MoveToVersionId=second)
    assert refused.value.code == "LimitExceededException"
    with pytest.raises(AwsError, match="less than or equal to 20"):
        account.put(some_value(), VersionStages=[f"label-{n}" for n in range(21)])


def test_each_label_that_moves_is_announced_except_pending_and_previous(account: Account) -> None:
    # User guide, "Secret Label Updated": sent for every label but AWSPENDING and AWSPREVIOUS, on
    # creation and on a move back as well.
    second = account.put(some_value(), VersionStages=["AWSPENDING", "blue"])
    account.move("AWSCURRENT", MoveToVersionId=second, RemoveFromVersionId=account.first)
    assert account.holder("AWSPENDING") is None
    account.move("blue", RemoveFromVersionId=second)
    account.move("AWSCURRENT", MoveToVersionId=account.first, RemoveFromVersionId=second)
    told = [(e["detail"]["labelUpdated"], e["detail"]["versionId"]) for e in account.bus]
    assert told == [
        ("AWSCURRENT", account.first),
        ("blue", second),
        ("AWSCURRENT", second),
        ("AWSCURRENT", account.first),
    ]


def test_an_announcement_has_the_envelope_that_rules_match_on(account: Account) -> None:
    # User guide, "Secret Label Updated" example event.
    (event,) = account.bus
    assert uuid.UUID(event.pop("id"))
    assert event == {
        "version": "0",
        "detail-type": "Secret Label Updated",
        "source": "aws.secretsmanager",
        "account": "123456789012",
        "time": "2026-11-24T10:20:00Z",
        "region": "eu-west-1",
        "resources": [account.arn],
        "detail": {
            "name": "app",
            "labelUpdated": "AWSCURRENT",
            "versionId": account.first,
        },
    }
