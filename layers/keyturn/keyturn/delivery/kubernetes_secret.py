"""DeliveryMode `kubernetes-secret`: the key is one field of the Secret that pods read."""

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keyturn import errors
from keyturn.delivery.strategy import KeyLocation, PromotedKey
from keyturn.run.ledger import DeliverKeyEntry
from keyturn.secret import key as secret_key
from keyturn.secret.key import SessionKey


@dataclass(frozen=True)
class SecretContent:
    """The content of the Kubernetes Secret. `value` is key material and is never shown."""

    value: str | None = field(repr=False)
    resource_version: str
    immutable: bool = False
    owner: str | None = None

    def contains(self, promoted: SessionKey) -> bool:
        """Whether it is the promoted key."""
        return hmac.compare_digest((self.value or "").encode(), promoted.base64.encode())


class TargetSecret(Protocol):
    """The Kubernetes Secret that the pods read the key from."""

    name: str

    def read(self) -> SecretContent:
        """Read the target. Raises ServiceNotFound if it does not exist."""

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        """Write if unchanged since `resource_version`, else raise DeliveryConflict."""


@dataclass(frozen=True)
class KubernetesSecretDelivery:
    """Writes one field of one Kubernetes Secret, if it has not changed since it was read."""

    target: TargetSecret

    def check_ready(self) -> None:
        """Verify that the field could be written; change nothing.

        The dry run writes the present value, so that no key is sent. Raises ServiceNotFound,
        DeliveryRefused, AccessDenied, DeliveryConflict.
        """
        content = self.target.read()
        self._refuse_foreign(content)
        self.target.write(content.value or "", content.resource_version, dry_run=True)

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Write the key unless it is already there, and read it back.

        Between the read and the write the version is verified to be current. If a later rotation
        delivers its key in the meantime, the write finds another revision and is refused. Raises
        Superseded, DeliveryConflict, DeliveryRefused, DeliveryNotProven.
        """
        content = self.target.read()
        written = not content.contains(promoted.key)
        if written:
            self._refuse_foreign(content)
            promoted.confirm()
            self.target.write(promoted.key.base64, content.resource_version, dry_run=False)
            content = self.target.read()
            if not content.contains(promoted.key):
                raise errors.DeliveryNotProven(
                    f"{self.target.name} was written, but the value read back is not the promoted"
                    " key. No pod was restarted. Find the other writer (an operator, GitOps)."
                )
        return {
            "state": "done",
            "target": self.target.name,
            "written": written,
            "delivery": content.resource_version,
        }

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether the field holds the promoted key."""
        return self.target.read().contains(promoted.key)

    def locations(self) -> list[KeyLocation]:
        """The one field."""
        return [location_of(self.target)]

    def _refuse_foreign(self, content: SecretContent) -> None:
        if content.immutable:
            raise errors.DeliveryRefused(
                f"{self.target.name} is immutable, so the new key cannot be written into it."
                " Replace it with a mutable one."
            )
        if content.owner:
            raise errors.DeliveryRefused(
                f"{self.target.name} belongs to {content.owner}, which would overwrite the new key."
                " Use DeliveryMode external-secrets, or remove the Secret from that owner."
            )


def location_of(target: TargetSecret) -> KeyLocation:
    """The key in a Kubernetes Secret; a missing Secret has none."""
    try:
        return KeyLocation(target.name, secret_key.fingerprint_of(target.read().value))
    except errors.ServiceNotFound:
        return KeyLocation(target.name, None)
