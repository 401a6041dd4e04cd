"""Versions of a secret in the local Secrets Manager: tokens, values, reading and listing.

Sources: the API reference pages named in each test (their text as botocore's service model has
it), and messages of real accounts as public projects report them.
"""

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


def test_the_same_token_and_value_change_nothing(account: Account) -> None:
    # PutSecretValue: "If you call this operation with a ClientRequestToken that matches an existing
    # version's VersionId, and you specify the same secret data, the operation succeeds but does
    # nothing."
    value, repeated = some_value(), token()
    account.put(value, ClientRequestToken=repeated)
    newest = account.put(some_value())
    before = account.labels()
    assert account.put(value, ClientRequestToken=repeated, VersionStages=["blue"]) == repeated
    assert account.labels() == before
    assert account.holder("AWSCURRENT") == newest


def test_the_same_token_with_another_value_is_refused(account: Account) -> None:
    # PutSecretValue: "if the secret data is different, then the operation fails because you can't
    # modify an existing version"; ResourceExistsException, message as moto and LocalStack have it.
    value = some_value()
    with pytest.raises(AwsError, match="already in use for a version of secret") as refused:
        account.put(value, ClientRequestToken=account.first)
    assert refused.value.code == "ResourceExistsException"
    assert value not in str(refused.value)
    assert account.read() == account.value


@pytest.mark.parametrize("length", [31, 65])
def test_a_token_has_32_to_64_characters(account: Account, length: int) -> None:
    # ClientRequestTokenType in the service model: min 32, max 64.
    with pytest.raises(AwsError, match=r"clientRequestToken.*length (greater|less)") as refused:
        account.put(some_value(), ClientRequestToken="t" * length)
    assert refused.value.code == "ValidationException"


def test_a_token_of_32_or_64_characters_becomes_the_version_id(account: Account) -> None:
    # PutSecretValue says: "This value becomes the VersionId of the new version."
    for length in (32, 64):
        assert account.put(some_value(), ClientRequestToken="t" * length) == "t" * length


def test_a_raw_request_without_a_token_is_refused(account: Account) -> None:
    # PutSecretValue: "If you generate a raw HTTP request to the Secrets Manager service endpoint,
    # then you must generate a ClientRequestToken and include it in the request."
    with pytest.raises(AwsError, match="You must provide a ClientRequestToken value"):
        account.call("PutSecretValue", SecretId="app", SecretString=some_value())


def test_a_version_needs_exactly_one_kind_of_value(account: Account) -> None:
    # PutSecretValue says: "You must include SecretBinary or SecretString, but not both."
    with pytest.raises(AwsError, match="You must provide either SecretString or SecretBinary"):
        account.call("PutSecretValue", SecretId="app", ClientRequestToken=token())
    with pytest.raises(AwsError, match="You must provide either SecretString or SecretBinary"):
        account.put("")
    with pytest.raises(AwsError, match="both a binary secret value and a string") as refused:
        account.put(some_value(), SecretBinary="aGVsbG8=")
    assert refused.value.code == "InvalidParameterException"


def test_binary_values_travel_in_base64_and_come_back_as_bytes(account: Account) -> None:
    # GetSecretValue: "When you retrieve a SecretBinary using the HTTP API, the Python SDK, or the
    # CLI, the value is Base64-encoded."
    account.call("CreateSecret", Name="raw", ClientRequestToken=token(), SecretBinary="AAEC/w==")
    answer = account.call("GetSecretValue", SecretId="raw")
    assert answer["SecretBinary"] == b"\x00\x01\x02\xff"
    assert "SecretString" not in answer


def test_a_version_is_read_by_id_by_label_or_by_both_if_they_agree(account: Account) -> None:
    # GetSecretValue: "If you include both this parameter and VersionId, the two parameters must
    # refer to the same secret version."
    second = account.put(some_value())
    assert account.read(VersionId=account.first) == account.value
    assert account.read(VersionId=account.first, VersionStage="AWSPREVIOUS") == account.value
    with pytest.raises(AwsError, match="not associated to the provided VersionId") as refused:
        account.read(VersionId=second, VersionStage="AWSPREVIOUS")
    assert refused.value.code == "InvalidRequestException"


def test_unknown_versions_and_labels_are_not_found(account: Account) -> None:
    # GetSecretValue lists ResourceNotFoundException; its message is that of real accounts, and its
    # status is 400, as for every client error of AWS JSON 1.1.
    unknown = token()
    with pytest.raises(AwsError, match="staging label: AWSPENDING") as refused:
        account.read(VersionStage="AWSPENDING")
    assert (refused.value.code, refused.value.status) == ("ResourceNotFoundException", 400)
    with pytest.raises(AwsError, match=f"VersionId: {unknown}") as refused:
        account.read(VersionId=unknown)
    assert refused.value.code == "ResourceNotFoundException"


def test_versions_without_labels_are_listed_on_request_only(account: Account) -> None:
    # ListSecretVersionIds, IncludeDeprecated: "By default, versions without staging labels aren't
    # included."
    second, third = account.put(some_value()), account.put(some_value())
    listed = account.call("ListSecretVersionIds", SecretId="app")["Versions"]
    assert {entry["VersionId"] for entry in listed} == {second, third}
    every = account.call("ListSecretVersionIds", SecretId="app", IncludeDeprecated=True)["Versions"]
    assert {entry["VersionId"] for entry in every} == {account.first, second, third}
    assert account.read(VersionId=account.first) == account.value


def test_a_new_value_may_be_invisible_for_a_while(account: Account) -> None:
    # "All Secrets Manager operations are eventually consistent" (ListSecrets); reports of real
    # accounts: a read by VersionId right after PutSecretValue answers ResourceNotFoundException.
    account.manager.hide_new_values(reads=2)
    value = some_value()
    second = account.put(value, VersionStages=["AWSPENDING"])
    for _ in range(2):
        with pytest.raises(AwsError, match="can't find the specified secret value"):
            account.read(VersionId=second)
    assert account.read(VersionId=second) == value
    assert account.read(VersionId=account.first) == account.value
