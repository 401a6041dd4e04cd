"""Bring the promoted key to where the pods read it, and prove that it is there.

Mode `kubernetes-secret`: one field of one Kubernetes Secret, written under the precondition that
nobody changed the Secret since it was read. The proof is the same for every mode: read back and
compare. A pod is never restarted on "sync requested".
"""

import hmac
from dataclasses import dataclass, field
from typing import Any, Protocol

from keyturn import errors, key
from keyturn.key import SessionKey


@dataclass(frozen=True)
class Delivered:
    """What the delivery target holds now. `value` is key material and is never shown."""

    value: str | None = field(repr=False)
    resource_version: str
    immutable: bool = False
    owner: str | None = None


class Target(Protocol):
    """Where the pods read the key from."""

    name: str

    def read(self) -> Delivered:
        """Read the target. Raises ServiceNotFound where it does not exist."""

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        """Write if unchanged since `resource_version`, else raise DeliveryConflict."""


class KeySource(Protocol):
    """Where the promoted key is read from."""

    def read(self, version: str) -> str:
        """Read the secret document of a version."""

    def previous_version(self) -> str | None:
        """The version that carries AWSPREVIOUS."""


def check_ready(target: Target) -> None:
    """Prove that the key could be delivered; change nothing.

    The dry run writes back what is there, so that no key travels. Raises ServiceNotFound,
    DeliveryRefused, AccessDenied, DeliveryConflict.
    """
    found = target.read()
    _refuse_foreign(target, found)
    target.write(found.value or "", found.resource_version, dry_run=True)


def deliver(source: KeySource, target: Target, version: str) -> dict[str, Any]:
    """Make the target hold the key of `version`, and prove it by reading back.

    Returns the target, whether it had to be written, and both fingerprints. Raises
    DeliveryConflict, DeliveryRefused, DeliveryNotProven, KeyInvalid.
    """
    promoted = key.parse_document(source.read(version)).key
    found = target.read()
    changed = not _holds(found, promoted)
    if changed:
        _refuse_foreign(target, found)
        target.write(promoted.base64, found.resource_version, dry_run=False)
        if not _holds(target.read(), promoted):
            raise errors.DeliveryNotProven(
                f"{target.name} was written, and what was read back is not the promoted key."
                " No pod was restarted. Find what else writes it (an operator, GitOps)."
            )
    return {
        "target": target.name,
        "written": changed,
        "fingerprint": promoted.fingerprint,
        "previousFingerprint": _previous_fingerprint(source),
    }


def _holds(found: Delivered, promoted: SessionKey) -> bool:
    return hmac.compare_digest((found.value or "").encode(), promoted.base64.encode())


def _refuse_foreign(target: Target, found: Delivered) -> None:
    if found.immutable:
        raise errors.DeliveryRefused(
            f"{target.name} is immutable, so the new key cannot be written into it."
            " Replace it with one that is not."
        )
    if found.owner:
        raise errors.DeliveryRefused(
            f"{target.name} belongs to {found.owner}, which would overwrite what we write."
            " Rotate through that controller, or let it go of the Secret."
        )


def _previous_fingerprint(source: KeySource) -> str | None:
    """The name of the key before, for the record; None where its version is gone or malformed."""
    previous = source.previous_version()
    if previous is None:
        return None
    try:
        return key.parse_document(source.read(previous)).key.fingerprint
    except errors.KeyInvalid:
        return None
