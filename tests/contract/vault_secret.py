"""A secret in a real Vault (OpenBao), and the product's own parts that deliver to it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hvac

from keyturn.adapters.vault import kv_secret
from keyturn.delivery.strategy import PromotedKey
from keyturn.delivery.vault import VaultDelivery
from keyturn.secret import key
from keyturn.settings.loading import VaultSettings
from keyturn.settings.types import OptionalUrl, VaultAuthentication, VaultPath
from local.vault_server import VaultServer
from tests.conftest import NEW

MOUNT, PATH, FIELD = "secret", "trading-platform/web-console", "SESSION_ENCRYPTION_KEY"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = (Path(__file__).parents[2] / "vault" / "policy.hcl").read_text(encoding="utf-8")
CREDENTIALS = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:vault-AbCdEf"


def settings(address: str, **changes: Any) -> VaultSettings:
    """The settings of a login by AppRole."""
    given = {
        "vault_address": OptionalUrl(address),
        "vault_namespace": "",
        "vault_mount": VaultPath(MOUNT),
        "vault_path": VaultPath(PATH),
        "vault_field": FIELD,
        "vault_authentication": VaultAuthentication("approle"),
        "vault_auth_mount": VaultPath("approle"),
        "vault_role": "",
        "vault_server_id": "",
        "vault_credentials_secret": CREDENTIALS,
    }
    return VaultSettings(**{**given, **changes})


@dataclass
class Stored:
    """What the secret of the credentials holds, in place of a call to Secrets Manager."""

    fields: Mapping[str, str] = field(repr=False)

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - boto3's own name
        assert SecretId == CREDENTIALS
        return {"SecretString": json.dumps(self.fields)}


@dataclass
class Kept:
    """The secret as its owners see it, with the root token or another client's."""

    client: hvac.Client
    mount: str = MOUNT

    def put(self, fields: Mapping[str, Any], cas: int | None = None) -> int:
        answer = self.client.secrets.kv.v2.create_or_update_secret(
            PATH, dict(fields), cas=cas, mount_point=self.mount
        )
        return int(answer["data"]["version"])

    def fields(self, version: int | None = None) -> dict[str, Any]:
        found = self.client.secrets.kv.v2.read_secret_version(
            PATH, version, mount_point=self.mount, raise_on_deleted_version=True
        )
        fields: dict[str, Any] = found["data"]["data"]
        return fields

    def latest(self) -> tuple[dict[str, Any], int]:
        """The fields and the version that they are of, in one look."""
        found = self.client.secrets.kv.v2.read_secret_version(
            PATH, mount_point=self.mount, raise_on_deleted_version=True
        )["data"]
        return found["data"], int(found["metadata"]["version"])

    def version(self) -> int:
        found = self.client.secrets.kv.v2.read_secret_metadata(PATH, mount_point=self.mount)
        return int(found["data"]["current_version"])

    def delete(self, *versions: int) -> None:
        self.client.secrets.kv.v2.delete_secret_versions(
            PATH, list(versions), mount_point=self.mount
        )

    def destroyed(self) -> list[int]:
        found = self.client.secrets.kv.v2.read_secret_metadata(PATH, mount_point=self.mount)
        versions = found["data"]["versions"]
        return sorted(int(number) for number, one in versions.items() if one["destroyed"])


@dataclass
class Site:
    """A server with the secret in it, and the delivery to it."""

    server: VaultServer
    old: key.SessionKey = field(default_factory=key.generate_key)
    new: key.SessionKey = field(default_factory=key.generate_key)
    credentials: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def kept(self) -> Kept:
        return Kept(self.server.client())

    def grant(self, policy: str = POLICY) -> None:
        """Let the product log in as a role with that policy, and with no other."""
        role = self.server.enable_approle(policy)
        client = self.server.client()
        client.auth.approle.create_or_update_approle(
            "keyturn", token_policies=["keyturn"], token_no_default_policy=True
        )
        self.credentials.update(role_id=role.role_id, secret_id=role.secret_id)

    def secret(self, **changes: Any) -> kv_secret.KvSecret:
        """The product's adapter; `address`, `authority` and other settings may be changed."""
        address = changes.pop("address", self.server.address)
        authority = changes.pop("authority", "")
        return kv_secret.KvSecret(settings(address, **changes), lambda: authority)

    def delivery(self, **changes: Any) -> VaultDelivery:
        return VaultDelivery(self.secret(**changes))

    def promoted(self, confirm: Callable[[], None] = lambda: None) -> PromotedKey:
        return PromotedKey(self.new, NEW, confirm)


def use(stored: Stored) -> Callable[[str], Stored]:
    """What `aws.client` is replaced by where only the credentials are read."""

    def client(service: str) -> Stored:
        assert service == "secretsmanager"
        return stored

    return client
