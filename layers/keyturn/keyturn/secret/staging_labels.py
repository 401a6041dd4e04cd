"""The staging labels of the secret: which version is which, and whether a run is still on top."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyturn import errors

AWSCURRENT, AWSPENDING, AWSPREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"

Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Version:
    """A version of the secret; one that has no value yet does not tell when it was made."""

    id: str
    created: datetime | None
    labels: frozenset[str]


class LabelStore(Protocol):
    """The one secret, as those need it who only look where its labels are."""

    def labels(self) -> Labels:
        """Version ids and their staging labels, value-less versions included."""


def confirm_current(store: LabelStore, version: str) -> None:
    """See that a run's version still carries AWSCURRENT. Raises Superseded."""
    current = labelled(store.labels(), AWSCURRENT)
    if current != version:
        raise errors.Superseded(
            f"AWSCURRENT is {current} and no longer {version}: another rotation has"
            " overtaken this run, which does nothing more. Follow the other run."
        )


def labelled(labels: Labels, label: str) -> str | None:
    """The version that carries a label."""
    return next((version for version, carried in labels.items() if label in carried), None)
