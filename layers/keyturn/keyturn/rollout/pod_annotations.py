"""What a restart leaves on a pod template, and so on its pods: a key version, and its delivery.

The delivery is the revision of what the pods read when they start (a Kubernetes Secret's
`resourceVersion`), which every later write changes. A pod that carries the stamp has started after
that delivery. Was the Secret written again since, by us or by anybody, then pods of the same
version may hold another key: the next run's stamp is another one, and for it they are old.
"""

from dataclasses import dataclass
from typing import Protocol

from keyturn.run.ledger import Ledger, delivery_of, text
from keyturn.run.run import Run

KEY_VERSION = "keyturn/session-key-version"
KEY_DELIVERY = "keyturn/session-key-delivery"


class Stamped(Protocol):
    """A pod, or a workload with its template."""

    @property
    def key_version(self) -> str | None:
        """The version on it."""

    @property
    def key_delivery(self) -> str | None:
        """The delivery on it."""


@dataclass(frozen=True)
class Stamp:
    """The same on every try of a run, and in every run until something is delivered again."""

    version: str
    delivery: str

    def is_on(self, seen: Stamped) -> bool:
        """Whether a pod was made, or a template makes pods, for that delivery of that version."""
        return (seen.key_version, seen.key_delivery) == (self.version, self.delivery)

    def annotations(self) -> dict[str, str]:
        """How it is written."""
        return {KEY_VERSION: self.version, KEY_DELIVERY: self.delivery}


def stamp_of_run(run: Run, ledger: Ledger) -> Stamp:
    """The stamp of a run that has delivered its key. Raises RequestRefused where it has not."""
    return Stamp(run.version, text(delivery_of(ledger), "delivery"))
