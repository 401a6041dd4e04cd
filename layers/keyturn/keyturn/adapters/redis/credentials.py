"""The password for Redis: from a secret, or a token of the function's role.

Read for each connection, so that a changed password takes effect. The password and the token are
not kept, logged or put into an error.
"""

import json
from urllib.parse import urlencode

from redis import CredentialProvider

from keyturn import errors
from keyturn.adapters.aws import client, stored_credentials
from keyturn.adapters.aws.presign import Presigner

# AWS accepts a token for 15 minutes; an open connection stays open for 12 hours.
TOKEN_SECONDS = 900


def is_serverless(host: str) -> bool:
    """Whether a host is the endpoint of an ElastiCache serverless cache.

    It is `<name>-<id>.serverless.<region code>.cache.<suffix>`; a replication group's has one label
    more before `cache`, so that a group named "serverless" is not mistaken for one.
    """
    match host.lower().split("."):
        case [_, "serverless", _, "cache", *_]:
            return True
    return False


class StoredPassword(CredentialProvider):
    """The password of a secret in Secrets Manager: plain text, or `password` of a JSON object."""

    def __init__(self, secret_arn: str, user: str) -> None:
        self._secret_arn, self._user = secret_arn, user
        self._client = client.client("secretsmanager")

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The user, if one is configured or in the secret, and the password."""
        stored = self._read()
        try:
            fields = json.loads(stored)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            fields = {"password": stored}
        password, user = fields.get("password"), self._user or fields.get("username")
        if not isinstance(password, str) or not password:
            raise errors.SessionStoreRefused(
                f"The secret {self._secret_arn} has no text in its field `password`, so Redis was"
                " not asked. Nothing was deleted. Store the password of Redis there."
            )
        return (str(user), password) if user else (password,)

    def _read(self) -> str:
        missing = errors.SessionStoreRefused(
            f"The secret {self._secret_arn}, which should hold the password of Redis, does not"
            " exist or has no value. Nothing was deleted. Check RedisPasswordSecret."
        )
        return stored_credentials.read_credentials(self._client, self._secret_arn, missing)


class ElastiCacheToken(CredentialProvider):
    """A token of the function's role for an IAM-enabled user of ElastiCache.

    Source: ElastiCache User Guide, "Authenticating with IAM". The user's id and its name are equal.
    A token for a serverless cache names that type; with it a replication group refuses a token,
    without it a serverless cache does.
    """

    def __init__(self, cache_name: str, user: str, *, serverless: bool = False) -> None:
        self._cache_name, self._user = cache_name.lower(), user
        self._type = {"ResourceType": "ServerlessCache"} if serverless else {}
        self._presigner = Presigner("elasticache")

    def get_credentials(self) -> tuple[str, str]:
        """The user and a token, which is a presigned URL without its scheme."""
        query = urlencode({"Action": "connect", "User": self._user, **self._type})
        signed = self._presigner.sign(f"http://{self._cache_name}/?{query}", TOKEN_SECONDS)
        return self._user, signed.removeprefix("http://")
