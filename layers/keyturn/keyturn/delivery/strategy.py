"""Deliver the promoted key to where the pods read it, and prove that it arrived.

Each `DeliveryMode` is a `DeliveryStrategy` with a module in this package; `NoDelivery` (mode
`none`: the pods read Secrets Manager themselves) is here. The proof is the same for all: the value
that the pods will read is read back and compared. A requested sync alone never causes a restart.
After all pods were restarted the value is compared again (`confirm_delivery`), in case another
writer replaced it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol

from keyturn import errors
from keyturn.run.ledger import ConfirmDeliveryEntry, DeliverKeyEntry, Ledger, delivery_of
from keyturn.run.times import format_timestamp, parse_timestamp
from keyturn.secret import exposure, staging_labels
from keyturn.secret import key as secret_key
from keyturn.secret.key import SessionKey


@dataclass(frozen=True)
class KeyLocation:
    """The key in one target that pods, or an operator, read; None if the target has no key."""

    target: str
    fingerprint: str | None


@dataclass(frozen=True)
class PromotedKey:
    """The key to deliver, its version, and a check that the version is still current."""

    key: SessionKey
    version: str
    confirm: Callable[[], None] = field(repr=False)


class DeliveryStrategy(Protocol):
    """A strategy that delivers the key to the pods."""

    def check_ready(self) -> str | None:
        """Verify that the key could be delivered; change nothing. Returns notes."""

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Deliver the key, or check the progress; `last` is the result of the last call.

        Returns `state` ('done' or 'waiting'), `target`, `written`, the input of the next call, and
        when done `delivery`: the revision of the object that the pods read, which any later write
        changes.
        """

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether the pods would read the promoted key; writes nothing."""

    def locations(self) -> list[KeyLocation]:
        """The key in each target of the delivery; writes nothing."""


class KeySource(staging_labels.LabelStore, exposure.KeyStore, Protocol):
    """The source of the promoted key."""

    def read(self, version: str) -> str:
        """Read the secret document of a version."""


def deliver(
    source: KeySource, delivery: DeliveryStrategy, version: str, ledger: Ledger, at: datetime
) -> DeliverKeyEntry:
    """Deliver the key of `version`, or check the progress of its delivery.

    Returns the ledger's entry: the strategy's progress, both fingerprints, when it began, and how
    long it took if it took several calls. Raises KeyInvalid and the errors of the strategy.
    """
    entry = ledger.get("deliver_key")
    last: DeliverKeyEntry = entry if entry and entry.get("state") == "waiting" else {}
    promoted = promoted_key(source, version)
    started = parse_timestamp(last["startedAt"]) if last else at
    progress: DeliverKeyEntry = {
        **delivery.deliver(promoted, last, at),
        "fingerprint": promoted.key.fingerprint,
        "previousFingerprint": _previous_fingerprint(source, ledger),
        "startedAt": format_timestamp(started),
    }
    if last:
        progress["seconds"] = round((at - started).total_seconds(), 3)
    return progress


def confirm_delivery(
    source: KeySource, delivery: DeliveryStrategy, version: str, ledger: Ledger
) -> ConfirmDeliveryEntry:
    """Verify after the restarts that the pods still read the key that was delivered.

    It writes nothing: pods may hold another key by now, and only a restart corrects that. Raises
    DeliveryOverwritten.
    """
    target, promoted = delivery_of(ledger).get("target"), promoted_key(source, version)
    if not delivery.contains(promoted):
        raise errors.DeliveryOverwritten(
            f"{target} no longer holds the new key: another writer changed it"
            " during the restart, and pods may have started with another key. Stop the other writer"
            " (an operator, GitOps), then retry the run, which delivers the key and restarts every"
            " service again."
        )
    return {"target": target, "fingerprint": promoted.key.fingerprint}


class NoDelivery:
    """The pods read Secrets Manager when they start: the promotion is the delivery."""

    def check_ready(self) -> None:
        """No target has to be verified."""

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Report done; this step has already verified that the version is current."""
        return {
            "state": "done",
            "target": "Secrets Manager, read by the pods",
            "written": False,
            "delivery": promoted.version,
        }

    def contains(self, promoted: PromotedKey) -> bool:
        """The pods read the current version directly."""
        return True

    def locations(self) -> list[KeyLocation]:
        """There is no target other than Secrets Manager."""
        return []


def check_readable(source: KeySource) -> None:
    """Verify that the current key can be read and is valid. Raises KeyInvalid, AccessDenied."""
    current = staging_labels.labelled(source.labels(), staging_labels.AWSCURRENT)
    if current is not None:
        secret_key.parse_document(source.read(current))


def promoted_key(source: KeySource, version: str) -> PromotedKey:
    """The key of a version, to be delivered. Raises KeyInvalid, KeyExposed, Superseded."""
    session_key = secret_key.parse_document(source.read(version)).key
    try:
        exposure.refuse_exposed(source, version, session_key.fingerprint)
    except errors.KeyExposed:
        # An emergency may have marked the version after it was verified to be current: then it has
        # overtaken this run.
        staging_labels.confirm_current(source, version)
        raise
    return PromotedKey(
        session_key, version, partial(staging_labels.confirm_current, source, version)
    )


def _previous_fingerprint(source: KeySource, ledger: Ledger) -> str | None:
    """The previous key's fingerprint, for the record; None if its version is gone or invalid."""
    previous = ledger["rotation"].get("previousVersion") if "rotation" in ledger else None
    return exposure.fingerprint_of(source, previous) if previous else None
