"""Deliver the promoted key to where the pods read it, and prove that it arrived.

A `DeliveryStrategy` is one `DeliveryMode`, and each has a module in this package; `NoDelivery`
(mode `none`: the pods read Secrets Manager themselves) is here. The proof is the same for all: the
value that the pods will read is read back and compared. A pod is never restarted on "sync
requested". The value is compared again once all pods were restarted (`confirm_delivery`), in case
another writer replaced it in between.
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
    """One place that pods, or an operator for them, read the key from; None where it has none."""

    target: str
    fingerprint: str | None


@dataclass(frozen=True)
class PromotedKey:
    """The key to deliver, the version that it is the key of, and a look whether it still is."""

    key: SessionKey
    version: str
    confirm: Callable[[], None] = field(repr=False)


class DeliveryStrategy(Protocol):
    """One way for the key to get to the pods."""

    def check_ready(self) -> str | None:
        """Prove that the key could be delivered; change nothing. Returns what is worth a note."""

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Bring the key, or look how far it is; `last` is what the last call returned.

        Returns `state` ('done' or 'waiting'), `target`, `written`, what the next call needs, and
        when done `delivery`: the revision of what the pods read, which any later write changes.
        """

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether what the pods read is the promoted key; it only looks."""

    def locations(self) -> list[KeyLocation]:
        """Which key there is in each place of the delivery; it only looks."""


class KeySource(staging_labels.LabelStore, exposure.KeyStore, Protocol):
    """Where the promoted key is read from."""

    def read(self, version: str) -> str:
        """Read the secret document of a version."""


def deliver(
    source: KeySource, delivery: DeliveryStrategy, version: str, ledger: Ledger, at: datetime
) -> DeliverKeyEntry:
    """Bring the key of `version` to the pods' reach, or look how far it is on its way.

    Returns the ledger's entry: the way's progress, both fingerprints, when it began, and how long
    it took where it took several calls. Raises KeyInvalid and what the way raises.
    """
    found = ledger.get("deliver_key")
    last: DeliverKeyEntry = found if found and found.get("state") == "waiting" else {}
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
    """See that the pods, which were restarted since, still read the key that was delivered.

    It writes nothing: pods may hold another key by now, and only a restart mends that. Raises
    DeliveryOverwritten.
    """
    target, promoted = delivery_of(ledger).get("target"), promoted_key(source, version)
    if not delivery.contains(promoted):
        raise errors.DeliveryOverwritten(
            f"{target} held the new key, and holds another now: something else"
            " wrote it while pods were restarted, and they may have started with that one. Stop the"
            " other writer (an operator, GitOps) before the next run, which delivers the key and"
            " restarts every service once more."
        )
    return {"target": target, "fingerprint": promoted.key.fingerprint}


class NoDelivery:
    """The pods read Secrets Manager when they start: the promotion was the delivery."""

    def check_ready(self) -> None:
        """Nothing has to be ready."""

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Say so; that the version is current was confirmed before this step."""
        return {
            "state": "done",
            "target": "Secrets Manager, read by the pods",
            "written": False,
            "delivery": promoted.version,
        }

    def contains(self, promoted: PromotedKey) -> bool:
        """Nothing stands between the pods and the current version."""
        return True

    def locations(self) -> list[KeyLocation]:
        """There is no place but Secrets Manager."""
        return []


def check_readable(source: KeySource) -> None:
    """See that the key in use can be read, and is one. Raises KeyInvalid, AccessDenied."""
    current = staging_labels.labelled(source.labels(), staging_labels.AWSCURRENT)
    if current is not None:
        secret_key.parse_document(source.read(current))


def promoted_key(source: KeySource, version: str) -> PromotedKey:
    """The key of a version, to be delivered. Raises KeyInvalid, KeyExposed, Superseded."""
    found = secret_key.parse_document(source.read(version)).key
    try:
        exposure.refuse_exposed(source, version, found.fingerprint)
    except errors.KeyExposed:
        # An emergency may have marked it since it was seen to be current: then that has overtaken.
        staging_labels.confirm_current(source, version)
        raise
    return PromotedKey(found, version, partial(staging_labels.confirm_current, source, version))


def _previous_fingerprint(source: KeySource, ledger: Ledger) -> str | None:
    """The name of the key before, for the record; None where its version is gone or malformed."""
    previous = ledger["rotation"].get("previousVersion") if "rotation" in ledger else None
    return exposure.fingerprint_of(source, previous) if previous else None
