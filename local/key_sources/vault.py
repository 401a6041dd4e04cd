"""A real Vault server, of OpenBao, that holds the key among other fields of one KV v2 secret.

The pods ask it when they start. Keyturn logs in with AppRole, whose credentials are kept in Secrets
Manager, under the policy that it ships (`vault/policy.hcl`); the pods have a token of a policy of
their own, which only reads.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyturn.reporting.wording import count_of
from keyturn.secret import key as secret_key
from keyturn.secret.key import FIELD, SessionKey
from local import console
from local.checks import Claim
from local.cluster.resources import SECRETS, Json, Objects
from local.console import Injection
from local.key_sources.place import Ground, Place, PlaceProblem, is_about_secrets
from local.running_console import keys_in_use

PATH = "trading-platform/web-console"
POLICY = Path(__file__).parents[2] / "vault" / "policy.hcl"
PODS_POLICY = f'path "secret/data/{PATH}" {{ capabilities = ["read"] }}'
PODS_TOKEN = "vault-token"  # noqa: S105  the name of a Kubernetes Secret, not a secret
LOGIN_SECRET = "vault-login"  # noqa: S105  as above, of Secrets Manager
REMEDY = "make demo DELIVERY=vault installs it: pip install -r requirements/vault.txt"


class VaultPlace(Place):
    """A server with the secret `secret/trading-platform/web-console`; `server` is the server."""

    title = "Vault"
    refusal = ("Keyturn's policy in Vault has lost its right to write.", "AccessDenied")
    keeps_versions = True

    def __init__(self, ground: Ground, key: SessionKey) -> None:
        super().__init__(ground, key)
        from local.vault_server import (  # noqa: PLC0415 - hvac, for this place alone
            MOUNT,
            VaultServer,
            VaultServerError,
        )

        try:
            self.server = ground.parts.enter_context(VaultServer(ground.processes, tls=True))
        except VaultServerError as error:
            raise PlaceProblem(f"DELIVERY=vault: {error}. {REMEDY}") from error
        self._mount = MOUNT
        self._root = self.server.client()
        self.others = {"OAUTH2_CLIENT_SECRET": secrets.token_urlsafe(24), "LOG_LEVEL": "info"}
        self.put({FIELD: key.base64, **self.others})
        self._first_version = self.version()
        ground.tell(f"Vault: OpenBao {self._release()} at {self.server.address}, KV v2 at {MOUNT}/")
        self._give_pods_a_token()
        role = self.server.enable_approle(POLICY.read_text())
        self._secrets = ground.cloud.client("secretsmanager")
        self._login = str(self._secrets.create_secret(Name=LOGIN_SECRET)["ARN"])
        self.keep_login({"role_id": role.role_id, "secret_id": role.secret_id})

    @classmethod
    def permissions(cls, rbac: Objects) -> Objects:
        """No Secret of the cluster is read or written: as the manifest's comment.

        A Role that was about nothing else goes, with its binding.
        """
        kept = [
            {
                **document,
                "rules": [one for one in document["rules"] if "secrets" not in one["resources"]],
            }
            if is_about_secrets(document)
            else document
            for document in rbac
        ]
        empty = {one["metadata"]["name"] for one in kept if one.get("rules") == []}
        return [one for one in kept if one["metadata"]["name"] not in empty]

    @property
    def injection(self) -> Injection:
        """What the stand-in of the injector's init container needs, and that it starts first."""
        token = {"secretKeyRef": {"name": PODS_TOKEN, "key": "token"}}
        variables = {
            "VAULT_ADDR": self.server.address,
            "VAULT_CACERT_BYTES": self.server.ca_pem,
            "VAULT_SECRET": f"{self._mount}/data/{PATH}",
        }
        plain = [{"name": name, "value": value} for name, value in variables.items()]
        return Injection(
            env=(*plain, {"name": "VAULT_TOKEN", "valueFrom": token}),
            command=("python", "-m", "local.services.vault_agent"),
            annotations={
                "vault.hashicorp.com/agent-inject": "true",
                "vault.hashicorp.com/agent-inject-secret-web-console": f"{self._mount}/data/{PATH}",
            },
        )

    @property
    def parameters(self) -> dict[str, str]:
        """The delivery mode, where Vault is, and how Keyturn logs in."""
        authority = base64.b64encode(self.server.ca_pem.encode()).decode()
        return {
            "DeliveryMode": "vault",
            "VaultAddress": self.server.address,
            "VaultCertificateAuthority": authority,
            "VaultPath": f"{self._mount}/data/{PATH}",
            "VaultAuthMount": "approle",
            "VaultCredentialsSecret": self._login,
        }

    def take_over(self, secret_arn: str) -> None:
        """Nothing is to be done: Keyturn has its login, and writes it."""

    def login(self) -> dict[str, str]:
        """What Keyturn logs in to Vault with, from Secrets Manager."""
        found = self._secrets.get_secret_value(SecretId=self._login)["SecretString"]
        return dict(json.loads(found))

    def keep_login(self, credentials: Mapping[str, str]) -> None:
        """Put other credentials there."""
        self._secrets.put_secret_value(
            SecretId=self._login, SecretString=json.dumps(dict(credentials))
        )

    def document(self) -> dict[str, str]:
        """Every field of the secret's latest version."""
        found = self._read()["data"]["data"]
        return dict(found)

    def version(self) -> int:
        """The number of the secret's latest version."""
        return int(self._read()["data"]["metadata"]["version"])

    def put(self, document: Mapping[str, str]) -> None:
        """Write a new version of the secret, as any other client of Vault does."""
        self._root.secrets.kv.v2.create_or_update_secret(
            path=PATH, secret=dict(document), mount_point=self._mount
        )

    def value(self) -> str:
        """What the secret's field holds."""
        return self.document()[FIELD]

    def write(self, value: str) -> None:
        """Write the field alone."""
        self.put({**self.document(), FIELD: value})

    def refuse(self) -> None:
        """Let Keyturn's policy permit no more than the pods' own."""
        self._root.sys.create_or_update_policy("keyturn", PODS_POLICY)

    def permit(self) -> None:
        """Give Keyturn the policy that it ships."""
        self._root.sys.create_or_update_policy("keyturn", POLICY.read_text())

    def claims(self, record: Mapping[str, Any], first_key: str) -> list[Claim]:
        """That Vault holds the new key in a new version, with all else as it was, and the pods too.

        After an emergency, that the version with the exposed key is destroyed.
        """
        document, version, before = self.document(), self.version(), self._first_version
        found = secret_key.parse_key(document[FIELD])
        shown = record["fingerprints"]["new"]
        used = keys_in_use(self._ground.processes)
        claims = [
            Claim(
                f"Vault holds key {found.fingerprint} in version {version} of {PATH} (was"
                f" {before}), no longer {first_key}",
                shown == found.fingerprint != first_key and version == before + 1,
            ),
            Claim(
                f"its other fields are as they were: {', '.join(self.others)}",
                {name: text for name, text in document.items() if name != FIELD} == self.others,
            ),
            Claim(
                f"{count_of(len(used), 'pod has', 'pods have')} read that key from Vault",
                set(used) == {found.base64} and len(used) == sum(console.REPLICAS.values()),
            ),
        ]
        if record["mode"] != "emergency":
            return claims
        says = f"version {before}, with the exposed key, is destroyed"
        return [*claims, Claim(says, self.destroyed(before))]

    def destroyed(self, version: int) -> bool:
        """Whether a version's values are gone for good."""
        metadata = self._root.secrets.kv.v2.read_secret_metadata(path=PATH, mount_point=self._mount)
        return bool(metadata["data"]["versions"][str(version)]["destroyed"])

    def _read(self) -> Json:
        found: Json = self._root.secrets.kv.v2.read_secret_version(
            path=PATH, mount_point=self._mount, raise_on_deleted_version=False
        )
        return found

    def _release(self) -> str:
        return str(self._root.sys.read_health_status(method="GET")["version"])

    def _give_pods_a_token(self) -> None:
        self._root.sys.create_or_update_policy("web-console", PODS_POLICY)
        made = self._root.auth.token.create(policies=["web-console"], no_default_policy=True)
        token = base64.b64encode(made["auth"]["client_token"].encode()).decode()
        self._ground.cluster.admin.create(
            SECRETS,
            console.NAMESPACE,
            {"metadata": {"name": PODS_TOKEN}, "data": {"token": token}},
        )
