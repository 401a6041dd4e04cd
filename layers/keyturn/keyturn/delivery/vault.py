"""Bring the promoted key to the secret in Vault that pods read it from, and prove it is there.

A write replaces the whole secret, so it is made of what was read, with the one field changed, and
Vault takes it only on top of the version that was read (check-and-set). Whatever another client
writes at the same moment then meets a conflict, or we do, and read again. The way back is the same
way: the previous value becomes a new version.

In an emergency the versions that hold an exposed key are destroyed, once the rotation has proved
that the new one works: they are found by the fingerprints of the key before and of every marked one
(`secret.exposure`), and the latest version is never one of them. See docs/decisions/0011.
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

# Each conflict means that somebody else's write went through.
WRITES_TRIED = 5


@dataclass(frozen=True)
class SecretVersion:
    """The latest version of the secret. `fields` hold key material and are never shown."""

    version: int
    key_field: str
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def value(self) -> str | None:
        """The key's field, where it is text."""
        found = self.fields.get(self.key_field)
        return found if isinstance(found, str) else None

    def contains(self, promoted: SessionKey) -> bool:
        """Whether it is the promoted key."""
        return hmac.compare_digest((self.value or "").encode(), promoted.base64.encode())


@dataclass(frozen=True)
class VersionMetadata:
    """A version that Vault knows. What is deleted can be brought back, what is destroyed cannot."""

    number: int
    deleted: bool = False
    destroyed: bool = False


class VaultSecret(Protocol):
    """The secret in Vault, as a delivery needs it."""

    name: str

    def check_access(self) -> None:
        """Prove that we may do what a delivery does, and destroy versions; change nothing."""

    def read(self) -> SecretVersion:
        """The latest version. Raises VaultSecretNotFound, VaultVersionDeleted."""

    def write(self, kept: SecretVersion, value: str) -> None:
        """Write the field on top of the version that was read. Raises DeliveryConflict."""

    def versions(self) -> Sequence[VersionMetadata]:
        """Every version that there is."""

    def value_of(self, version: int) -> str | None:
        """The field in a version, or None where it cannot be read."""

    def destroy(self, versions: Sequence[int]) -> None:
        """Destroy versions for good."""


@dataclass(frozen=True)
class VaultDelivery:
    """Delivery to Vault, where the pods read the key when they start."""

    secret: VaultSecret

    def check_ready(self) -> None:
        """Prove that the key could be delivered; change nothing.

        Raises AccessDenied and the errors of Vault.
        """
        self.secret.check_access()
        self._refuse_fieldless(self.secret.read())

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Write the key where it is not there yet, and read it back.

        Returns the version that was written, or holds it already, and the one that it was written
        upon. Raises Superseded, DeliveryConflict, DeliveryNotProven, the errors of Vault.
        """
        found = self.secret.read()
        before = None
        if not found.contains(promoted.key):
            before = self._write(found, promoted)
            found = self.secret.read()
            if not found.contains(promoted.key):
                raise errors.DeliveryNotProven(
                    f"{self.secret.name} was written, and what was read back is not the promoted"
                    " key. No pod was restarted. Find what else writes it."
                )
        return {
            "state": "done",
            "target": self.secret.name,
            "written": before is not None,
            # Somebody else may have written another field since: check-and-set made ours the next.
            "vaultVersion": found.version if before is None else before + 1,
            "vaultVersionBefore": before,
            "destroysExposed": True,
            "delivery": f"vault-{found.version}",
        }

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether the latest version holds the promoted key."""
        return self.secret.read().contains(promoted.key)

    def locations(self) -> list[KeyLocation]:
        """The latest version; one that is deleted, or never was, has no key."""
        try:
            return [KeyLocation(self.secret.name, key.fingerprint_of(self.secret.read().value))]
        except (errors.VaultSecretNotFound, errors.VaultVersionDeleted):
            return [KeyLocation(self.secret.name, None)]

    def destroy(self, promoted: PromotedKey, exposed: Set[str]) -> DestroyExposedVersionsEntry:
        """Destroy every version that holds an exposed key; their fingerprints name them.

        Returns those versions, and those that nobody can look into (deleted, but not destroyed).
        Raises DeliveryOverwritten where the latest version is not the promoted key; Superseded.
        """
        latest = self.secret.read()
        if not latest.contains(promoted.key):
            raise errors.DeliveryOverwritten(
                f"{self.secret.name} does not hold the new key any more, so nothing was destroyed:"
                " something else wrote it after the rotation."
            )
        older = [one for one in self.secret.versions() if one.number < latest.version]
        doomed = [one.number for one in older if self._holds_exposed(one, promoted, exposed)]
        if doomed:
            promoted.confirm()
            self.secret.destroy(doomed)
            self._see_destroyed(doomed)
        hidden = [one.number for one in older if one.deleted and not one.destroyed]
        return {
            "target": self.secret.name,
            "destroyed": doomed,
            "unreadable": hidden,
            "says": _says(self.secret.name, doomed, hidden, exposed),
        }

    def _write(self, found: SecretVersion, promoted: PromotedKey) -> int:
        """Write, again upon what somebody else wrote in between; returns the version before ours.

        That the key is still current is seen between each read and its write: whatever a later
        rotation delivers in the meantime is a newer version, and the write is refused.
        """
        for attempt in range(1, WRITES_TRIED + 1):
            self._refuse_fieldless(found)
            promoted.confirm()
            try:
                self.secret.write(found, promoted.key.base64)
            except errors.DeliveryConflict:
                if attempt == WRITES_TRIED:
                    raise
                found = self.secret.read()
            else:
                break
        return found.version

    def _refuse_fieldless(self, found: SecretVersion) -> None:
        """A secret without the field is not the one that pods read their key from."""
        if found.value is None:
            raise errors.VaultSecretNotFound(
                f"{self.secret.name}, version {found.version}, has no text {found.key_field}, so"
                " no pod reads its key there. Nothing was changed. Correct KeyField or VaultPath,"
                " or store the key in use there first."
            )

    def _holds_exposed(
        self, one: VersionMetadata, promoted: PromotedKey, exposed: Set[str]
    ) -> bool:
        if one.deleted or one.destroyed or not exposed - {promoted.key.fingerprint}:
            return False
        found = fingerprint(self.secret.value_of(one.number))
        return found in exposed and found != promoted.key.fingerprint

    def _see_destroyed(self, doomed: Sequence[int]) -> None:
        left = [
            one.number
            for one in self.secret.versions()
            if one.number in doomed and not one.destroyed
        ]
        if left:
            raise errors.VaultRefused(
                f"{self.secret.name}: {_numbers(left)} should be destroyed and is not. The new key"
                " is in use. Destroy by hand: vault kv destroy -versions=..."
            )


@runtime_checkable
class Destroyer(Protocol):
    """A delivery mode that keeps old versions, and can destroy them."""

    def destroy(self, promoted: PromotedKey, exposed: Set[str]) -> DestroyExposedVersionsEntry:
        """Destroy every version that holds an exposed key."""


def destroy_exposed_versions(
    source: KeySource, delivery: DeliveryStrategy, run: Run, ledger: Ledger
) -> DestroyExposedVersionsEntry:
    """Destroy what an emergency has replaced, once the run has proved that its key works.

    The entry of the delivery has the fingerprint of the key before. Raises RequestRefused for any
    other run and where the entry is missing, and what `VaultDelivery.destroy` raises.
    """
    if run.mode != "emergency" or not isinstance(delivery, Destroyer):
        raise errors.RequestRefused(
            f"Nothing is destroyed by a run of mode {run.mode} in this delivery mode."
        )
    before = delivery_of(ledger).get("previousFingerprint")
    exposed = exposure.fingerprints(source.marks()) | ({before} if before else set())
    return delivery.destroy(promoted_key(source, run.version), exposed)


def _says(name: str, doomed: Sequence[int], hidden: Sequence[int], exposed: Set[str]) -> str:
    """What became of the exposed key in Vault, for the record and the message. Pure."""
    if not exposed:
        return f"{name}: which key was exposed is not known, so no version was destroyed."
    said = f"destroyed {_numbers(doomed)}" if doomed else "no version left to destroy"
    if hidden:
        said += (
            f"; {_numbers(hidden)} deleted before, which cannot be looked into and can be brought"
            " back: destroy by hand what may hold an exposed key"
        )
    return f"{name}: {said}."


def _numbers(versions: Sequence[int]) -> str:
    """'version 3', or 'versions 3, 4'."""
    return f"version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))}"


def fingerprint(value: str | None) -> str | None:
    """The name of the key that a field holds, or None where it is no session key. Pure."""
    return key.fingerprint_of(value)
