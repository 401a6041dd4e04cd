"""The staging labels of the secret: which version is which, and whether a run is still current."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyturn import errors

AWSCURRENT, AWSPENDING, AWSPREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"

Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Version:
    """A version of the secret; one without a value has no creation date."""

    id: str
    created: datetime | None
    labels: frozenset[str]


class LabelStore(Protocol):
    """The operations on the secret for callers that only read its labels."""

    def labels(self) -> Labels:
        """Version ids and their staging labels, value-less versions included."""


def confirm_current(store: LabelStore, version: str) -> None:
    """Verify that a run's version still carries AWSCURRENT. Raises Superseded."""
    current = labelled(store.labels(), AWSCURRENT)
    if current != version:
        raise errors.Superseded(
            f"AWSCURRENT is {current} and no longer {version}: another rotation has"
            " overtaken this run, which stops here. Follow the other run."
        )


def labelled(labels: Labels, label: str) -> str | None:
    """The version that carries a label."""
    return next((version for version, carried in labels.items() if label in carried), None)
