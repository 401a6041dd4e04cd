"""The function's login to Vault: with its own role (AWS IAM), an AppRole, or a token.

IAM: the function signs a GetCallerIdentity call and sends it to Vault, which sends it to AWS and so
learns the caller's role. Nothing on the wire can be used elsewhere by Vault or a listener; the
header X-Vault-AWS-IAM-Server-ID, signed too, binds the call to this one Vault. It is signed for the
function's own Region, which the auth method must be configured for (docs/vault.md).

Source: Vault, "AWS auth method" and its HTTP API, `auth/aws/login`.
"""

import base64
import json
from typing import TYPE_CHECKING, Protocol

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized

from keyturn import errors
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.aws import stored_credentials
from keyturn.adapters.aws.presign import Presigner, sts_endpoint
from keyturn.adapters.vault.connection import translate_errors

if TYPE_CHECKING:
    from keyturn.settings.loading import VaultSettings

CALL = "Action=GetCallerIdentity&Version=2011-06-15"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
SERVER_ID = "X-Vault-AWS-IAM-Server-ID"


class Login(Protocol):
    """One login method."""

    def log_in(self, client: hvac.Client) -> None:
        """Give the client a token. Raises VaultLoginRefused."""


def login_of(settings: "VaultSettings") -> Login:
    """The login that is configured."""
    if settings.vault_authentication == "iam":
        return IamLogin(settings)
    stored = StoredCredentials(settings.vault_credentials_secret)
    if settings.vault_authentication == "approle":
        return AppRoleLogin(settings, stored)
    return StoredToken(stored)


class IamLogin:
    """With the function's own role."""

    def __init__(self, settings: "VaultSettings") -> None:
        self._mount, self._role = settings.vault_auth_mount, settings.vault_role
        self._server_id = settings.vault_server_id
        self._where = settings.vault_address
        self._presigner = Presigner("sts")

    def log_in(self, client: hvac.Client) -> None:
        """Send Vault a signed GetCallerIdentity call."""
        url = f"{sts_endpoint(self._presigner.region)}/"
        signed = {"Content-Type": FORM, **({SERVER_ID: self._server_id} if self._server_id else {})}
        headers = self._presigner.sign_post(url, CALL, signed)
        headers["Host"] = url.removeprefix("https://").rstrip("/")
        call = {
            "role": self._role,
            "iam_http_request_method": "POST",
            "iam_request_url": _encoded(url),
            "iam_request_body": _encoded(CALL),
            "iam_request_headers": _encoded(json.dumps(headers)),
        }
        _log_in(client, self._where, self._mount, call)


class AppRoleLogin:
    """With `role_id` and `secret_id` of a secret in Secrets Manager."""

    def __init__(self, settings: "VaultSettings", stored: "StoredCredentials") -> None:
        self._mount, self._where, self._stored = (
            settings.vault_auth_mount,
            settings.vault_address,
            stored,
        )

    def log_in(self, client: hvac.Client) -> None:
        """Send both ids."""
        role_id, secret_id = self._stored.read("role_id", "secret_id")
        call = {"role_id": role_id, "secret_id": secret_id}
        _log_in(client, self._where, self._mount, call)


class StoredToken:
    """With the `token` of a secret in Secrets Manager, which another system renews."""

    def __init__(self, stored: "StoredCredentials") -> None:
        self._stored = stored

    def log_in(self, client: hvac.Client) -> None:
        """Use the token; the first call shows whether it is valid."""
        (client.token,) = self._stored.read("token")


class StoredCredentials:
    """A JSON object in Secrets Manager; read at every login, so that a change takes effect."""

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._client = aws_client.client("secretsmanager")

    def read(self, *names: str) -> list[str]:
        """Those fields. Raises VaultLoginRefused if one is missing."""
        try:
            fields = json.loads(self._document())
        except ValueError:
            fields = None
        values = [fields.get(name) for name in names] if isinstance(fields, dict) else [None]
        if not all(isinstance(value, str) and value for value in values):
            raise errors.VaultLoginRefused(
                f"The secret {self._secret_arn} is not a JSON object with text fields"
                f" {', '.join(names)}. Nothing was changed. Store them there."
            )
        return [str(value) for value in values]

    def _document(self) -> str:
        missing = errors.VaultLoginRefused(
            f"The secret {self._secret_arn}, which should hold the credentials for Vault, does not"
            " exist or has no value. Nothing was changed. Check VaultCredentialsSecret."
        )
        return stored_credentials.read_credentials(self._client, self._secret_arn, missing)


def _log_in(client: hvac.Client, where: str, mount: str, call: dict[str, str]) -> None:
    client.token = ""  # nosec B105 - a login is sent without the token before
    with translate_errors(where, "update", f"auth/{mount}/login"):
        try:
            client.adapter.login(f"/v1/auth/{mount}/login", json=call)
        except (Forbidden, InvalidPath, InvalidRequest, Unauthorized) as error:
            raise errors.VaultLoginRefused(
                f"Vault {where} refuses the login at auth/{mount}. Nothing was changed. Check"
                " VaultAuthMount, VaultRole, VaultServerId and VaultNamespace"
                " against the auth method and its role; Vault's log has the reason."
            ) from error


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
