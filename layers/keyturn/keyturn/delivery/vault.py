"""Write the promoted key to the secret in Vault that the pods read, and verify it.

A write replaces the whole secret, so it contains the fields that were read with the one field
changed, and Vault accepts it only on top of the version that was read (check-and-set). Of two
concurrent writers one gets a conflict; if it is Keyturn, it reads again. A rollback uses the same
path: the previous value becomes a new version.

In an emergency the versions that hold an exposed key are destroyed, once the run has proved that
the new key works. They are found by the fingerprints of the previous key and of every marked one
(`secret.exposure`); the latest version is never one of them. See docs/decisions/0011.
"""

import hmac
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from keyturn import errors
from keyturn.delivery.strategy import (
    DeliveryStrategy,
    KeyLocation,
    KeySource,
    PromotedKey,
    promoted_key,
)
from keyturn.run.ledger import (
    DeliverKeyEntry,
    DestroyExposedVersionsEntry,
    Ledger,
    delivery_of,
)
from keyturn.run.run import Run
from keyturn.secret import exposure, key
from keyturn.secret.key import SessionKey

# Each conflict means that another write succeeded.
WRITES_TRIED = 5


@dataclass(frozen=True)
class SecretVersion:
    """The latest version of the secret. `fields` hold key material and are never shown."""

    version: int
    key_field: str
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def value(self) -> str | None:
        """The key's field, if it is text."""
        value = self.fields.get(self.key_field)
        return value if isinstance(value, str) else None

    def contains(self, promoted: SessionKey) -> bool:
        """Whether it is the promoted key."""
        return hmac.compare_digest((self.value or "").encode(), promoted.base64.encode())


@dataclass(frozen=True)
class VersionMetadata:
    """A version in Vault. A deleted version can be undeleted, a destroyed one cannot."""

    number: int
    deleted: bool = False
    destroyed: bool = False


class VaultSecret(Protocol):
    """The operations on the secret in Vault that a delivery needs."""

    name: str

    def check_access(self) -> None:
        """Verify the permissions of a delivery, and to destroy versions; change nothing."""

    def read(self) -> SecretVersion:
        """The latest version. Raises VaultSecretNotFound, VaultVersionDeleted."""

    def write(self, kept: SecretVersion, value: str) -> None:
        """Write the field on top of the version that was read. Raises DeliveryConflict."""

    def versions(self) -> Sequence[VersionMetadata]:
        """Every version."""

    def value_of(self, version: int) -> str | None:
        """The field in a version, or None if it cannot be read."""

    def destroy(self, versions: Sequence[int]) -> None:
        """Destroy versions for good."""


@dataclass(frozen=True)
class VaultDelivery:
    """Delivery to Vault, where the pods read the key when they start."""

    secret: VaultSecret

    def check_ready(self) -> None:
        """Verify that the key could be delivered; change nothing.

        Raises AccessDenied and the errors of Vault.
        """
        self.secret.check_access()
        self._refuse_fieldless(self.secret.read())

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Write the key unless it is already there, and read it back.

        Returns the version that was written, or that already holds the key, and the version before
        it. Raises Superseded, DeliveryConflict, DeliveryNotProven, the errors of Vault.
        """
        latest = self.secret.read()
        before = None
        if not latest.contains(promoted.key):
            before = self._write(latest, promoted)
            latest = self.secret.read()
            if not latest.contains(promoted.key):
                raise errors.DeliveryNotProven(
                    f"{self.secret.name} was written, but the value read back is not the promoted"
                    " key. No pod was restarted. Find the other writer."
                )
        return {
            "state": "done",
            "target": self.secret.name,
            "written": before is not None,
            # Another writer may have changed a field: check-and-set made this the next version.
            "vaultVersion": latest.version if before is None else before + 1,
            "vaultVersionBefore": before,
            "destroysExposed": True,
            "delivery": f"vault-{latest.version}",
        }

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether the latest version holds the promoted key."""
        return self.secret.read().contains(promoted.key)

    def locations(self) -> list[KeyLocation]:
        """The latest version; a deleted or missing one has no key."""
        try:
            return [KeyLocation(self.secret.name, key.fingerprint_of(self.secret.read().value))]
        except (errors.VaultSecretNotFound, errors.VaultVersionDeleted):
            return [KeyLocation(self.secret.name, None)]

    def destroy(self, promoted: PromotedKey, exposed: Set[str]) -> DestroyExposedVersionsEntry:
        """Destroy every version that holds an exposed key, found by its fingerprint.

        Returns those versions, and those that cannot be read (deleted, but not destroyed). Raises
        DeliveryOverwritten if the latest version is not the promoted key; Superseded.
        """
        latest = self.secret.read()
        if not latest.contains(promoted.key):
            raise errors.DeliveryOverwritten(
                f"{self.secret.name} no longer holds the new key, so nothing was destroyed:"
                " another writer changed it after the rotation."
            )
        older = [version for version in self.secret.versions() if version.number < latest.version]
        doomed = [
            version.number for version in older if self._holds_exposed(version, promoted, exposed)
        ]
        if doomed:
            promoted.confirm()
            self.secret.destroy(doomed)
            self._see_destroyed(doomed)
        hidden = [version.number for version in older if version.deleted and not version.destroyed]
        return {
            "target": self.secret.name,
            "destroyed": doomed,
            "unreadable": hidden,
            "says": _summary(self.secret.name, doomed, hidden, exposed),
        }

    def _write(self, latest: SecretVersion, promoted: PromotedKey) -> int:
        """Write, and retry after a concurrent write; returns the version before this one.

        Between each read and its write the version is verified to be current. If a later rotation
        delivers its key in the meantime, that is a newer version, and the write is refused.
        """
        for attempt in range(1, WRITES_TRIED + 1):
            self._refuse_fieldless(latest)
            promoted.confirm()
            try:
                self.secret.write(latest, promoted.key.base64)
            except errors.DeliveryConflict:
                if attempt == WRITES_TRIED:
                    raise
                latest = self.secret.read()
            else:
                break
        return latest.version

    def _refuse_fieldless(self, latest: SecretVersion) -> None:
        """Refuse a secret without the field: the pods cannot read their key from it."""
        if latest.value is None:
            raise errors.VaultSecretNotFound(
                f"{self.secret.name}, version {latest.version}, has no text {latest.key_field}, so"
                " no pod reads its key there. Nothing was changed. Correct KeyField or VaultPath,"
                " or store the current key there first."
            )

    def _holds_exposed(
        self, version: VersionMetadata, promoted: PromotedKey, exposed: Set[str]
    ) -> bool:
        if version.deleted or version.destroyed or not exposed - {promoted.key.fingerprint}:
            return False
        held = fingerprint(self.secret.value_of(version.number))
        return held in exposed and held != promoted.key.fingerprint

    def _see_destroyed(self, doomed: Sequence[int]) -> None:
        left = [
            version.number
            for version in self.secret.versions()
            if version.number in doomed and not version.destroyed
        ]
        if left:
            raise errors.VaultRefused(
                f"{self.secret.name}: {_numbers(left)} could not be destroyed. The new key"
                " is in use. Destroy manually: vault kv destroy -versions=..."
            )


@runtime_checkable
class Destroyer(Protocol):
    """A delivery mode that keeps old versions, and can destroy them."""

    def destroy(self, promoted: PromotedKey, exposed: Set[str]) -> DestroyExposedVersionsEntry:
        """Destroy every version that holds an exposed key."""


def destroy_exposed_versions(
    source: KeySource, delivery: DeliveryStrategy, run: Run, ledger: Ledger
) -> DestroyExposedVersionsEntry:
    """Destroy the replaced key in an emergency, once the run has proved that its key works.

    The entry of the delivery has the fingerprint of the previous key. Raises RequestRefused for any
    other run and if the entry is missing, and the errors of `VaultDelivery.destroy`.
    """
    if run.mode != "emergency" or not isinstance(delivery, Destroyer):
        raise errors.RequestRefused(
            f"A run of mode {run.mode} destroys nothing in this delivery mode."
        )
    before = delivery_of(ledger).get("previousFingerprint")
    exposed = exposure.fingerprints(source.marks()) | ({before} if before else set())
    return delivery.destroy(promoted_key(source, run.version), exposed)


def _summary(name: str, doomed: Sequence[int], hidden: Sequence[int], exposed: Set[str]) -> str:
    """The summary of the exposed key in Vault, for the record and the message. Pure."""
    if not exposed:
        return f"{name}: the exposed key is unknown, so no version was destroyed."
    result = f"destroyed {_numbers(doomed)}" if doomed else "no version left to destroy"
    if hidden:
        result += (
            f"; {_numbers(hidden)} deleted before, which cannot be read but can be undeleted:"
            " destroy those manually that may hold an exposed key"
        )
    return f"{name}: {result}."


def _numbers(versions: Sequence[int]) -> str:
    """'version 3', or 'versions 3, 4'."""
    return f"version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))}"


def fingerprint(value: str | None) -> str | None:
    """The fingerprint of the key in a field, or None if it is not a session key. Pure."""
    return key.fingerprint_of(value)
