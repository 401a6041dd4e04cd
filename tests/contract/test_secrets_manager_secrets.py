"""Secrets of the local Secrets Manager as a whole: names, descriptions, deletion, tags, policy.

Sources: the API reference pages named in each test, as botocore's service model has their text.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from local.secrets_manager import SecretsManager
from tests.contract.secrets_manager_account import START, Account, open_account, some_value, token


@pytest.fixture
def account() -> Iterator[Account]:
    with open_account() as opened:
        yield opened


def test_an_arn_ends_in_six_random_characters(account: Account) -> None:
    # CreateSecret, ARN: "includes the name of the secret followed by six random characters".
    form = r"arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-[A-Za-z0-9]{6}"
    assert re.fullmatch(form, account.arn)


def test_a_secret_is_found_by_name_arn_or_partial_arn(account: Account) -> None:
    # DescribeSecret, SecretId: "The ARN or name of the secret"; user guide, "Finding a secret from
    # a partial ARN".
    for secret_id in ("app", account.arn, account.arn[:-7]):
        assert account.call("DescribeSecret", SecretId=secret_id)["ARN"] == account.arn
    for secret_id in ("ap", "App", account.arn[:-1], account.arn[:-6]):
        error = account.refusal("DescribeSecret", SecretId=secret_id)
        assert error.code == "ResourceNotFoundException"
        assert error.message == "Secrets Manager can't find the specified secret."


def test_a_full_arn_wins_over_a_partial_one(account: Account) -> None:
    # CreateSecret, Name: "Do not end your secret name with a hyphen followed by six characters. If
    # you do so, you risk confusion".
    suffix = account.arn[-7:]
    account.call("CreateSecret", Name=f"app{suffix}")
    assert account.call("DescribeSecret", SecretId=account.arn)["Name"] == "app"


def test_a_secret_without_a_value_has_no_version(account: Account) -> None:
    # CreateSecret: only "if you include SecretString or SecretBinary" is there a first version.
    assert "VersionId" not in account.call("CreateSecret", Name="empty")
    assert "VersionIdsToStages" not in account.call("DescribeSecret", SecretId="empty")
    assert account.call("ListSecretVersionIds", SecretId="empty")["Versions"] == []
    error = account.refusal("GetSecretValue", SecretId="empty")
    assert error.message.endswith("staging label: AWSCURRENT")


def test_a_secret_is_created_twice_only_with_the_same_token_and_value(
    account: Account,
) -> None:
    # CreateSecret, ClientRequestToken: same token and values "the request is ignored".
    same = {"Name": "app", "ClientRequestToken": account.first, "SecretString": account.value}
    assert account.call("CreateSecret", **same)["VersionId"] == account.first
    for change in ({"ClientRequestToken": token()}, {"SecretString": some_value()}):
        error = account.refusal("CreateSecret", **(same | change))
        assert error.code == "ResourceExistsException"
        assert "already exists" in error.message


def test_a_description_shows_only_what_there_is(account: Account) -> None:
    # DescribeSecret says: "Secrets Manager only returns fields that have a value in the response";
    # RotationEnabled is null "if the secret has never been configured for rotation".
    answer = account.describe()
    assert answer == {
        "ARN": account.arn,
        "Name": "app",
        "CreatedDate": START,
        "LastChangedDate": START,
        "Tags": [],
        "VersionIdsToStages": {account.first: ["AWSCURRENT"]},
    }


def test_reading_a_value_leaves_the_day_of_access(account: Account) -> None:
    # DescribeSecret, LastAccessedDate; its resolution is the day (ListSecretVersionIds).
    account.read()
    day = START.replace(hour=0, minute=0)
    assert account.describe()["LastAccessedDate"] == day
    (entry,) = account.call("ListSecretVersionIds", SecretId="app")["Versions"]
    assert entry["LastAccessedDate"] == day


def test_a_secret_is_deleted_after_its_recovery_window(account: Account) -> None:
    # DeleteSecret: DeletionDate is "the date and time of the delete request plus the number of days
    # in RecoveryWindowInDays"; such a secret can be described, not read.
    answer = account.call("DeleteSecret", SecretId="app", RecoveryWindowInDays=7)
    assert answer["DeletionDate"] == START + timedelta(days=7)
    assert account.describe()["DeletedDate"] == answer["DeletionDate"]
    error = account.refusal("GetSecretValue", SecretId="app")
    assert (error.code, "marked for deletion" in error.message) == ("InvalidRequestException", True)
    error = account.refusal("CreateSecret", Name="app")
    assert "already scheduled for deletion" in error.message
    account.clock.advance(7 * 86_400)
    assert account.refusal("DescribeSecret", SecretId="app").code == "ResourceNotFoundException"


def test_few_calls_are_allowed_on_a_secret_marked_for_deletion(
    account: Account,
) -> None:
    # The service's model: of these operations, DescribeSecret and ListSecretVersionIds alone do
    # not know InvalidRequestException.
    account.call("DeleteSecret", SecretId="app")
    (entry,) = account.call("ListSecretVersionIds", SecretId="app")["Versions"]
    assert entry["VersionId"] == account.first
    tag = {"Key": "a", "Value": "b"}
    refused: dict[str, dict[str, Any]] = {
        "CancelRotateSecret": {},
        "DeleteSecret": {},
        "GetResourcePolicy": {},
        "GetSecretValue": {},
        "PutResourcePolicy": {"ResourcePolicy": "{}"},
        "PutSecretValue": {"SecretString": "x"},
        "TagResource": {"Tags": [tag]},
        "UntagResource": {"TagKeys": ["a"]},
        "UpdateSecretVersionStage": {"VersionStage": "x", "MoveToVersionId": account.first},
    }
    for operation, request in refused.items():
        error = account.refusal(operation, SecretId="app", **request)
        assert error.code == "InvalidRequestException", operation


def test_a_deletion_can_be_taken_back(account: Account) -> None:
    # RestoreSecret: "You can access a secret again after it has been restored".
    account.call("DeleteSecret", SecretId="app")
    account.call("RestoreSecret", SecretId="app")
    assert account.read() == account.value


@pytest.mark.parametrize(
    "window", [{"RecoveryWindowInDays": 6}, {"RecoveryWindowInDays": 31}], ids=str
)
def test_a_recovery_window_has_7_to_30_days(account: Account, window: dict[str, int]) -> None:
    # DeleteSecret, RecoveryWindowInDays: "from 7 to 30 days".
    assert "7 and 30" in account.refusal("DeleteSecret", SecretId="app", **window).message


def test_tags_are_added_changed_and_removed(account: Account) -> None:
    # TagResource "appends tags to the existing list"; UntagResource "is idempotent".
    account.call("TagResource", SecretId="app", Tags=[{"Key": "team", "Value": "a"}])
    more = [{"Key": "team", "Value": "b"}, {"Key": "stage", "Value": "test"}]
    account.call("TagResource", SecretId="app", Tags=more)
    account.call("UntagResource", SecretId="app", TagKeys=["stage", "unknown"])
    tags = account.describe()["Tags"]
    assert tags == [{"Key": "team", "Value": "b"}]


def test_a_secret_has_at_most_50_tags(account: Account) -> None:
    # General Reference, "Tag naming limits": 50 that users make; a change of one adds none.
    account.call("TagResource", SecretId="app", Tags=numbered(50))
    account.call("TagResource", SecretId="app", Tags=[{"Key": "tag-0", "Value": "changed"}])
    error = account.refusal("TagResource", SecretId="app", Tags=numbered(51))
    assert "50 tags" in error.message
    tags = {tag["Key"]: tag["Value"] for tag in account.describe()["Tags"]}
    assert len(tags) == 50
    assert tags["tag-0"] == "changed"
    assert "50 tags" in account.refusal("CreateSecret", Name="other", Tags=numbered(51)).message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("k" * 129, "", "length less than or equal to 128"),
        ("", "", "length greater than or equal to 1"),
        ("team", "v" * 257, "length less than or equal to 256"),
        ("team", "C&CActivity", "can only contain"),
        ("team!", "", "can only contain"),
        ("aws:team", "", "reserved"),
        ("AWS:team", "", "reserved"),
        ("team", "aws:value", "reserved"),
    ],
)
def test_a_tag_has_the_size_and_the_characters_that_aws_allows(
    account: Account, key: str, value: str, words: str
) -> None:
    # TagKeyType and TagValueType of the service model; General Reference, "Tag naming limits and
    # requirements": letters, numbers, spaces and _ . : / = + - @, and no aws: in any case.
    error = account.refusal("TagResource", SecretId="app", Tags=[{"Key": key, "Value": value}])
    assert words in error.message
    assert account.describe()["Tags"] == []
    account.call(
        "TagResource", SecretId="app", Tags=[{"Key": "Ärger _.:/=+-@", "Value": "k" * 256}]
    )


def test_a_tag_of_aws_cannot_be_removed_and_no_key_stands_twice(account: Account) -> None:
    error = account.refusal("UntagResource", SecretId="app", TagKeys=["aws:cloudformation:stack"])
    assert "reserved" in error.message
    twice = [{"Key": "team", "Value": "a"}, {"Key": "team", "Value": "b"}]
    assert account.refusal("TagResource", SecretId="app", Tags=twice).message.startswith("Two tags")


def numbered(count: int) -> list[dict[str, str]]:
    return [{"Key": f"tag-{number}", "Value": ""} for number in range(count)]


def test_secrets_are_listed_by_page_without_those_marked_for_deletion(account: Account) -> None:
    for name in ("apple", "pear", "plum"):
        account.call("CreateSecret", Name=name)
    account.call("DeleteSecret", SecretId="plum")

    def names(**request: Any) -> list[str]:
        return [entry["Name"] for entry in account.call("ListSecrets", **request)["SecretList"]]

    assert names() == ["app", "apple", "pear"]
    first = account.call("ListSecrets", MaxResults=2)
    assert [entry["Name"] for entry in first["SecretList"]] == ["app", "apple"]
    assert names(MaxResults=2, NextToken=first["NextToken"]) == ["pear"]
    assert account.refusal("ListSecrets", NextToken="x").code == "InvalidNextTokenException"


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("DeleteSecret", {"SecretId": "app", "ForceDeleteWithoutRecovery": True}),
        ("ListSecrets", {"Filters": [{"Key": "name", "Values": ["app"]}]}),
        ("ListSecrets", {"SortOrder": "desc"}),
    ],
)
def test_an_option_that_is_not_emulated_is_refused(
    account: Account, operation: str, request_: dict[str, Any]
) -> None:
    assert "is not emulated" in account.refusal(operation, **request_).message


def test_a_resource_policy_is_kept_and_must_be_json(account: Account) -> None:
    # PutResourcePolicy: "A JSON-formatted string"; "You can only attach the default policy".
    assert "ResourcePolicy" not in account.call("GetResourcePolicy", SecretId="app")
    policy = '{"Version": "2012-10-17", "Statement": []}'
    account.call("PutResourcePolicy", SecretId="app", ResourcePolicy=policy)
    answer = account.call("GetResourcePolicy", SecretId="app")
    assert (answer["ResourcePolicy"], answer["PolicyName"]) == (policy, "default")
    error = account.refusal("PutResourcePolicy", SecretId="app", ResourcePolicy="{")
    assert error.code == "MalformedPolicyDocumentException"
    error = account.refusal(
        "PutResourcePolicy", SecretId="app", ResourcePolicy="{}", PolicyName="mine"
    )
    assert error.code == "InvalidParameterException"


def test_a_request_is_held_against_the_service_model(account: Account) -> None:
    # Required members, types, lengths and choices of the shapes in botocore's service model.
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("DescribeSecret", {}, "Value at 'secretId' failed to satisfy constraint"),
        ("DescribeSecret", {"SecretId": ""}, "greater than or equal to 1"),
        ("DescribeSecret", {"SecretId": 7}, "must be a string"),
        ("DescribeSecret", {"SecretId": "app", "Colour": "red"}, "colour"),
        ("TagResource", {"SecretId": "app", "Tags": {}}, "must be a list"),
        ("TagResource", {"SecretId": "app", "Tags": ["x"]}, "tags.1.member"),
        ("ListSecrets", {"SortOrder": "up"}, "enum value set"),
        ("ListSecrets", {"MaxResults": 101}, "value less than or equal to 100"),
        ("CreateSecret", {"Name": "with space"}, "Invalid name"),
    ]
    for operation, request, words in wrong:
        error = account.refusal(operation, **request)
        assert error.code == "ValidationException"
        assert words in error.message


def test_an_unknown_operation_is_named_in_the_refusal(account: Account) -> None:
    error = account.refusal("BatchGetSecretValue", SecretIdList=["app"])
    assert error.code == "InvalidAction"
    assert "BatchGetSecretValue" in error.message


def test_no_value_shows_in_what_the_manager_prints_of_itself(account: Account) -> None:
    # The log of a debugger or a failing test must not hold a key.
    seen = [repr(account.manager), repr(vars(account.manager)), repr(account.bus)]
    store = vars(account.manager)["_store"]
    seen += [repr(secret) for secret in store.all()]
    assert not any(account.value in text for text in seen)
    assert isinstance(account.manager, SecretsManager)
