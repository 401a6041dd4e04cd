"""The operator's provider on the local Secrets Manager, through the API that AWS documents."""

import json

import boto3
import pytest

from local.external_secrets import ProviderError, SecretsManagerProvider
from tests.contract.secrets_manager_account import Account

NAME = "web/session-key"


@pytest.fixture
def versions(account: Account) -> list[str]:
    """Two versions of a secret, the newer one current; their ids."""
    client = boto3.client("secretsmanager")
    first = client.create_secret(Name=NAME, SecretString=json.dumps({"KEY": "old"}))
    second = client.put_secret_value(SecretId=NAME, SecretString=json.dumps({"KEY": "new", "n": 1}))
    return [first["VersionId"], second["VersionId"]]


@pytest.fixture
def provider() -> SecretsManagerProvider:
    return SecretsManagerProvider(lambda: boto3.client("secretsmanager"))


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"property": "KEY"}, "new"),
        ({"property": "KEY", "version": "AWSCURRENT"}, "new"),
        ({"property": "KEY", "version": "AWSPREVIOUS"}, "old"),
        ({"property": "n"}, "1"),
        ({}, '{"KEY": "new", "n": 1}'),
    ],
)
def test_a_reference_is_read_as_the_operator_s_own_provider_does(
    provider: SecretsManagerProvider, reference: dict[str, str], value: str
) -> None:
    assert provider({"key": NAME, **reference}) == value


def test_a_version_is_read_by_its_id(provider: SecretsManagerProvider, versions: list[str]) -> None:
    assert provider({"key": NAME, "property": "KEY", "version": f"uuid/{versions[0]}"}) == "old"


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("reference", "summary"),
    [
        ({"key": NAME, "property": "NONE"}, "NONE does not exist in secret web/session-key"),
        ({"key": "elsewhere"}, "ResourceNotFoundException"),
        ({"key": NAME, "version": "AWSPENDING"}, "ResourceNotFoundException"),
    ],
)
def test_what_is_not_there_is_said_without_a_value(
    provider: SecretsManagerProvider, reference: dict[str, str], summary: str
) -> None:
    with pytest.raises(ProviderError, match=summary) as told:
        provider(reference)
    assert "new" not in str(told.value)
