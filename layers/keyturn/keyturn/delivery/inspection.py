"""Compare the delivered key: the answer of `deliver_key` to the drift check of `watch_key`.

Fingerprints are compared in the one function that may read the key and its delivery targets. A key
that is marked as exposed is recognised by the mark's fingerprint, or by the value of the marked
version, while Secrets Manager has it. The answer has ids and fingerprints, never a key.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from keyturn.delivery.strategy import DeliveryStrategy, KeyLocation, KeySource
from keyturn.secret import key, staging_labels
from keyturn.secret.exposure import Mark, fingerprint_of

Holds = Literal["exposed", "other", "current", "unknown"]


class Delivered(TypedDict):
    """The key of a delivery target; `version` is that of an exposed key."""

    holds: Holds
    version: str | None
    fingerprint: str | None
    target: str | None


class DeliveryAnswer(TypedDict):
    """The delivered key, and the version that was current when it was read."""

    function: str
    current: str | None
    delivered: Delivered


def inspect_delivery(
    source: KeySource, delivery: DeliveryStrategy, marks: Sequence[Mark]
) -> DeliveryAnswer:
    """The whole answer: the delivered key, and the version that was current then.

    Raises KeyInvalid, and the errors of the delivery targets.
    """
    current = staging_labels.labelled(source.labels(), staging_labels.AWSCURRENT)
    return {
        "function": "deliver_key",
        "current": current,
        "delivered": inspect(source, delivery, marks, current),
    }


def inspect(
    source: KeySource, delivery: DeliveryStrategy, marks: Sequence[Mark], current: str | None
) -> Delivered:
    """Which key is delivered: the current, an exposed (and its version), another, or unknown.

    With several targets the worst result counts: an operator would sync it to the others.
    """
    places = delivery.locations()
    if not places or current is None:
        return {"holds": "unknown", "version": None, "fingerprint": None, "target": None}
    promoted = key.parse_document(source.read(current)).key.fingerprint
    exposed = _exposed(source, marks)
    worst = min(places, key=lambda place: ORDER[_holds(place, promoted, exposed)])
    return {
        "holds": _holds(worst, promoted, exposed),
        "version": exposed.get(worst.fingerprint or ""),
        "fingerprint": worst.fingerprint,
        "target": worst.target,
    }


ORDER: Mapping[Holds, int] = {"exposed": 0, "other": 1, "current": 2}


def _holds(place: KeyLocation, promoted: str, exposed: Mapping[str, str]) -> Holds:
    if place.fingerprint in exposed:
        return "exposed"
    return "current" if place.fingerprint == promoted else "other"


def _exposed(source: KeySource, marks: Sequence[Mark]) -> dict[str, str]:
    """The marked version of each exposed key's fingerprint."""
    versions = {}
    for mark in marks:
        fingerprint = mark.fingerprint or fingerprint_of(source, mark.version)
        if fingerprint:
            versions[fingerprint] = mark.version
    return versions
