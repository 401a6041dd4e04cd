"""Credentials in separate secrets: for Redis, and for Vault.

Read whenever they are needed, so that a change takes effect; never kept, logged or put into an
error.
"""

from typing import Any

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.aws import errors as aws_errors


def read_credentials(client: Any, secret_arn: str, missing: errors.KeyturnError) -> str:
    """The text of the secret, read with a client of Secrets Manager.

    Raises `missing` if the secret does not exist or has no value, else SecretsManagerUnavailable
    and the errors of `aws.translated`.
    """
    doing = f"secretsmanager:GetSecretValue on {secret_arn}"
    with aws_client.translate_errors(doing, errors.SecretsManagerUnavailable):
        try:
            answer = client.get_secret_value(SecretId=secret_arn)
        except ClientError as error:
            if aws_errors.code_of(error) != "ResourceNotFoundException":
                raise
            raise missing from error
    return str(answer.get("SecretString", ""))
