"""What the operator reads: secrets of AWS Secrets Manager, through its public API.

Source: external-secrets, "AWS Secrets Manager" (`remoteRef`): `version` is a staging label, or
`uuid/<VersionId>`; `property` is a field of a secret that is a JSON object.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError


class ProviderError(Exception):
    """The provider has no such value, or does not answer. Never quotes a value."""


class SecretsManagerProvider:
    """Reads values by their `remoteRef`; `client` makes a boto3 client of Secrets Manager."""

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client

    def __call__(self, reference: Mapping[str, str]) -> str:
        """Return one value. Raises ProviderError."""
        text = self._read(reference)
        if "property" not in reference:
            return text
        try:
            return str(json.loads(text)[reference["property"]])
        except (ValueError, KeyError, TypeError):
            message = f"key {reference['property']} does not exist in secret {reference['key']}"
            raise ProviderError(message) from None

    def _read(self, reference: Mapping[str, str]) -> str:
        version = reference.get("version") or "AWSCURRENT"
        wanted = (
            {"VersionId": version.removeprefix("uuid/")}
            if version.startswith("uuid/")
            else {"VersionStage": version}
        )
        try:
            found = self._client().get_secret_value(SecretId=reference["key"], **wanted)
        except (ClientError, BotoCoreError) as error:
            raise ProviderError(str(error)) from error
        return str(found["SecretString"])
