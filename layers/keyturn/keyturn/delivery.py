"""Bring the promoted key to where the pods read it, and prove that it is there.

A `Way` is one delivery mode: `DirectWrite` here (mode `kubernetes-secret`), `ForcedSync` in
`synchronization` (mode `external-secrets`), `VaultWrite` in `vault_delivery` (mode `vault`),
`NothingToDeliver` (mode `none`: the pods read Secrets Manager themselves). The proof is the same
for all: what the pods will read is read back and compared. A pod is never restarted on "sync
requested". It is compared again once all pods were restarted (`confirm`): somebody may have written
over it in between.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from keyturn import errors, exposure, key, labels
from keyturn.key import SessionKey
from keyturn.run import Ledger, moment, timestamp


@dataclass(frozen=True)
class Delivered:
    """What the Kubernetes Secret holds now. `value` is key material and is never shown."""

    value: str | None = field(repr=False)
    resource_version: str
    immutable: bool = False
    owner: str | None = None

    def holds(self, promoted: SessionKey) -> bool:
        """Whether it is the promoted key."""
        return hmac.compare_digest((self.value or "").encode(), promoted.base64.encode())


@dataclass(frozen=True)
class Held:
    """One place that pods, or an operator for them, read the key from; None where it has none."""

    target: str
    fingerprint: str | None


@dataclass(frozen=True)
class Promoted:
    """The key to deliver, the version that it is the key of, and a look whether it still is."""

    key: SessionKey
    version: str
    confirm: Callable[[], None] = field(repr=False)


class Target(Protocol):
    """The Kubernetes Secret that the pods read the key from."""

    name: str

    def read(self) -> Delivered:
        """Read the target. Raises ServiceNotFound where it does not exist."""

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        """Write if unchanged since `resource_version`, else raise DeliveryConflict."""


class Way(Protocol):
    """One way for the key to get to the pods."""

    def check_ready(self) -> str | None:
        """Prove that the key could be delivered; change nothing. Returns what is worth a note."""

    def bring(self, promoted: Promoted, last: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        """Bring the key, or look how far it is; `last` is what the last call returned.

        Returns `state` ('done' or 'waiting'), `target`, `written`, what the next call needs, and
        when done `delivery`: the revision of what the pods read, which any later write changes.
        """

    def holds(self, promoted: Promoted) -> bool:
        """Whether what the pods read is the promoted key; it only looks."""

    def held(self) -> list[Held]:
        """Which key there is in each place of the delivery; it only looks."""


class KeySource(labels.LabelStore, exposure.KeyStore, Protocol):
    """Where the promoted key is read from."""

    def read(self, version: str) -> str:
        """Read the secret document of a version."""


def deliver(
    source: KeySource, way: Way, version: str, ledger: Ledger, at: datetime
) -> dict[str, Any]:
    """Bring the key of `version` to the pods' reach, or look how far it is on its way.

    Returns the ledger's entry: the way's progress, both fingerprints, when it began, and how long
    it took where it took several calls. Raises KeyInvalid and what the way raises.
    """
    found = ledger.get("deliver_key") or {}
    last = found if found.get("state") == "waiting" else {}
    promoted = promoted_key(source, version)
    started = moment(last["startedAt"]) if last else at
    progress = way.bring(promoted, last, at)
    return {
        **progress,
        "fingerprint": promoted.key.fingerprint,
        "previousFingerprint": _previous_fingerprint(source, ledger),
        "startedAt": timestamp(started),
        **({"seconds": round((at - started).total_seconds(), 3)} if last else {}),
    }


def confirm(
    source: KeySource, way: Way, version: str, delivered: Mapping[str, Any]
) -> dict[str, Any]:
    """See that the pods, which were restarted since, still read the key that was `delivered`.

    It writes nothing: pods may hold another key by now, and only a restart mends that. Raises
    DeliveryOverwritten.
    """
    promoted = promoted_key(source, version)
    if not way.holds(promoted):
        raise errors.DeliveryOverwritten(
            f"{delivered.get('target')} held the new key, and holds another now: something else"
            " wrote it while pods were restarted, and they may have started with that one. Stop the"
            " other writer (an operator, GitOps) before the next run, which delivers the key and"
            " restarts every service once more."
        )
    return {"target": delivered.get("target"), "fingerprint": promoted.key.fingerprint}


@dataclass(frozen=True)
class DirectWrite:
    """Writes one field of one Kubernetes Secret, if nobody has changed it since it was read."""

    target: Target

    def check_ready(self) -> None:
        """Prove that the field could be written; change nothing.

        The dry run writes back what is there, so that no key travels. Raises ServiceNotFound,
        DeliveryRefused, AccessDenied, DeliveryConflict.
        """
        found = self.target.read()
        self._refuse_foreign(found)
        self.target.write(found.value or "", found.resource_version, dry_run=True)

    def bring(self, promoted: Promoted, last: Mapping[str, Any], at: datetime) -> dict[str, Any]:  # noqa: ARG002 - one call is enough
        """Write the key where it is not there yet, and read it back.

        That it is still current is seen once more between the read and the write: whatever a later
        rotation delivers in the meantime, the write then meets another revision and is refused.
        Raises Superseded, DeliveryConflict, DeliveryRefused, DeliveryNotProven.
        """
        found = self.target.read()
        written = not found.holds(promoted.key)
        if written:
            self._refuse_foreign(found)
            promoted.confirm()
            self.target.write(promoted.key.base64, found.resource_version, dry_run=False)
            found = self.target.read()
            if not found.holds(promoted.key):
                raise errors.DeliveryNotProven(
                    f"{self.target.name} was written, and what was read back is not the promoted"
                    " key. No pod was restarted. Find what else writes it (an operator, GitOps)."
                )
        told = {"target": self.target.name, "written": written}
        return {"state": "done", **told, "delivery": found.resource_version}

    def holds(self, promoted: Promoted) -> bool:
        """Whether the field holds the promoted key."""
        return self.target.read().holds(promoted.key)

    def held(self) -> list[Held]:
        """The one field."""
        return [held_by(self.target)]

    def _refuse_foreign(self, found: Delivered) -> None:
        if found.immutable:
            raise errors.DeliveryRefused(
                f"{self.target.name} is immutable, so the new key cannot be written into it."
                " Replace it with one that is not."
            )
        if found.owner:
            raise errors.DeliveryRefused(
                f"{self.target.name} belongs to {found.owner}, which would overwrite what we write."
                " Use DeliveryMode external-secrets, or let it go of the Secret."
            )


class NothingToDeliver:
    """The pods read Secrets Manager when they start: the promotion was the delivery."""

    def check_ready(self) -> None:
        """Nothing has to be ready."""

    def bring(self, promoted: Promoted, last: Mapping[str, Any], at: datetime) -> dict[str, Any]:  # noqa: ARG002 - nothing to bring
        """Say so; that the version is current was confirmed before this step."""
        told = {"target": "Secrets Manager, read by the pods", "written": False}
        return {"state": "done", **told, "delivery": promoted.version}

    def holds(self, promoted: Promoted) -> bool:  # noqa: ARG002 - the version is current
        """Nothing stands between the pods and the current version."""
        return True

    def held(self) -> list[Held]:
        """There is no place but Secrets Manager."""
        return []


def held_by(target: Target) -> Held:
    """Which key a Kubernetes Secret has; a Secret that is gone has none."""
    try:
        return Held(target.name, key.fingerprint_of(target.read().value))
    except errors.ServiceNotFound:
        return Held(target.name, None)


def check_readable(source: KeySource) -> None:
    """See that the key in use can be read, and is one. Raises KeyInvalid, AccessDenied."""
    current = labels.labelled(source.labels(), labels.AWSCURRENT)
    if current is not None:
        key.parse_document(source.read(current))


def promoted_key(source: KeySource, version: str) -> Promoted:
    """The key of a version, to be delivered. Raises KeyInvalid, KeyExposed, Superseded."""
    found = key.parse_document(source.read(version)).key
    try:
        exposure.refuse_exposed(source, version, found.fingerprint)
    except errors.KeyExposed:
        # An emergency may have marked it since it was seen to be current: then that has overtaken.
        labels.confirm_current(source, version)
        raise
    return Promoted(found, version, partial(labels.confirm_current, source, version))


def _previous_fingerprint(source: KeySource, ledger: Ledger) -> str | None:
    """The name of the key before, for the record; None where its version is gone or malformed."""
    previous = (ledger.get("rotation") or {}).get("previousVersion")
    return exposure.fingerprint_of(source, previous) if previous else None
