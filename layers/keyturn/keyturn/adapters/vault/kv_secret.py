"""One secret of Vault's KV version 2 engine, by its mount and path.

vault/policy.hcl lists the requests, and so the permissions they need. Nothing is retried here. A
login is valid for a minute; then, and always in the next invocation, there is another.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

from keyturn import errors
from keyturn.adapters.certificate_authorities import Authority, of_the_system
from keyturn.adapters.vault.connection import connect, translate_errors
from keyturn.adapters.vault.login import login_of
from keyturn.delivery.vault import SecretVersion, VersionMetadata

if TYPE_CHECKING:
    from keyturn.settings.loading import VaultSettings

LOGIN_SECONDS = 60.0


class KvSecret:
    """The secret that the pods, or the operator that serves them, read."""

    def __init__(self, settings: "VaultSettings", authority: Authority = of_the_system) -> None:
        self._settings, self._authority = settings, authority
        self._mount, self._path = settings.vault_mount, settings.vault_path
        self._field = settings.vault_field
        space = f"{settings.vault_namespace.strip('/')}/" if settings.vault_namespace else ""
        self.name = f"Vault {space}{self._mount}/{self._path}"
        self._where = settings.vault_address
        self._login = login_of(settings)
        self._logged_in_until = 0.0

    def check_access(self) -> None:
        """Verify that the engine keeps versions, and that the token permits a delivery.

        Raises VaultNotVersioned, VaultSecretNotFound, AccessDenied and the errors of every call.
        """
        self._check_versioned()
        needed = [
            ("data", "read"),
            ("data", "update"),
            ("metadata", "read"),
            ("destroy", "update"),
        ]
        paths = list(dict.fromkeys(self._api(kind) for kind, _ in needed))
        with translate_errors(self._where, "update", "sys/capabilities-self"):
            answer = self._client().sys.get_capabilities(paths)
        granted = {path: set(answer.get(path) or ()) for path in paths}
        missing = [
            f"`{capability}` {self._api(kind)}"
            for kind, capability in needed
            if not granted[self._api(kind)] & {capability, "root"}
        ]
        if missing:
            raise errors.AccessDenied(
                f"Vault {self._where} does not permit the token to {', '.join(missing)}. Nothing"
                " was changed. Give the role the policy of vault/policy.hcl, with your names."
            )

    def read(self) -> SecretVersion:
        """The latest version. Raises VaultSecretNotFound, VaultVersionDeleted."""
        with translate_errors(self._where, "read", self._api("data")):
            try:
                data = self._get()
            except InvalidPath as error:
                raise self._missing(error) from error
        return SecretVersion(
            version=int(data["metadata"]["version"]),
            key_field=self._field,
            fields=data["data"],
        )

    def write(self, kept: SecretVersion, value: str) -> None:
        """Write the field on top of the version that was read, with every other field unchanged.

        Raises DeliveryConflict if that version is no longer the latest.
        """
        fields = {**kept.fields, self._field: value}
        with translate_errors(self._where, "update", self._api("data")):
            try:
                self._client().secrets.kv.v2.create_or_update_secret(
                    self._path, fields, cas=kept.version, mount_point=self._mount
                )
            except InvalidRequest as error:
                if not any("check-and-set" in str(message) for message in error.errors or ()):
                    raise
                raise errors.DeliveryConflict(
                    f"{self.name}: another writer changed it after version {kept.version}. Retrying"
                ) from error

    def versions(self) -> Sequence[VersionMetadata]:
        """Every version that the engine still has, the oldest first."""
        with translate_errors(self._where, "read", self._api("metadata")):
            answer = self._client().secrets.kv.v2.read_secret_metadata(
                self._path, mount_point=self._mount
            )
        return [
            VersionMetadata(
                int(number),
                deleted=bool(metadata["deletion_time"]),
                destroyed=metadata["destroyed"],
            )
            for number, metadata in sorted(
                answer["data"]["versions"].items(), key=lambda item: int(item[0])
            )
        ]

    def value_of(self, version: int) -> str | None:
        """The field in a version; None if it is not there, or the version is gone."""
        with translate_errors(self._where, "read", self._api("data")):
            try:
                data = self._get(version)
            except InvalidPath:
                return None
        return SecretVersion(version, self._field, data["data"]).value

    def destroy(self, versions: Sequence[int]) -> None:
        """Destroy versions: their content can neither be read nor restored afterwards."""
        with translate_errors(self._where, "update", self._api("destroy")):
            self._client().secrets.kv.v2.destroy_secret_versions(
                self._path, list(versions), mount_point=self._mount
            )

    def _get(self, version: int | None = None) -> dict[str, Any]:
        answer = self._client().secrets.kv.v2.read_secret_version(
            self._path, version, mount_point=self._mount, raise_on_deleted_version=True
        )
        data: dict[str, Any] = answer["data"]
        return data

    def _client(self) -> hvac.Client:
        if time.time() >= self._logged_in_until:
            self._connection = connect(self._settings, self._authority)
            self._login.log_in(self._connection)
            self._logged_in_until = time.time() + LOGIN_SECONDS
        return self._connection

    def _api(self, kind: str) -> str:
        return f"{self._mount}/{kind}/{self._path}"

    def _check_versioned(self) -> None:
        """Ask as Vault's command line does before it reads; this needs no permission.

        Vault denies it both for a missing mount and for one that is not permitted: a read then
        distinguishes the two.
        """
        with translate_errors(self._where, "read", f"sys/internal/ui/mounts/{self._mount}"):
            try:
                answer = self._client().adapter.get(
                    f"/v1/sys/internal/ui/mounts/{self._mount}/{self._path}"
                )["data"]
            except Forbidden:
                self.read()
                raise
        options = answer.get("options") or {}
        if answer.get("type") != "kv" or options.get("version") != "2":
            raise errors.VaultNotVersioned(
                f"The mount {self._mount} in Vault {self._where} is not a KV version 2 engine, so a"
                " concurrent write could be lost. Nothing was changed. Enable versions:"
                f" vault kv enable-versioning {self._mount}"
            )

    def _missing(self, error: InvalidPath) -> errors.KeyturnError:
        """The subject of a 404: the response for a deleted version has its metadata."""
        data = (error.json or {}).get("data") or {}
        if metadata := data.get("metadata"):
            return errors.VaultVersionDeleted(
                f"Version {metadata.get('version')}, the latest of {self.name}, is deleted, so its"
                " other fields are unknown. Nothing was written. Restore it (vault kv undelete),"
                f" or write a version with all fields (vault kv put)."
            )
        if any("no handler for route" in str(message) for message in error.errors or ()):
            return errors.VaultSecretNotFound(
                f"Vault {self._where} has no mount at {self._mount}. Nothing was changed."
                " Correct VaultPath or VaultNamespace."
            )
        return errors.VaultSecretNotFound(
            f"{self.name} does not exist, so no pod can read its key there. Nothing was changed."
            " Correct VaultPath (<mount>/data/<path>), or store the secret first."
        )
