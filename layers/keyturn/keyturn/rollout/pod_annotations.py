"""The annotations that a restart writes to a pod template: the key version, and its delivery.

The delivery is the revision of the object that the pods read when they start (a Kubernetes Secret's
`resourceVersion`), which every later write changes. A pod with the annotations has started after
that delivery. If the Secret was written again since, by any writer, pods of the same version may
hold another key: the next run has other annotations, and treats them as old.
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
        """The annotated version."""

    @property
    def key_delivery(self) -> str | None:
        """The annotated delivery."""


@dataclass(frozen=True)
class Stamp:
    """The same at every attempt of a run, and in every run until something is delivered again."""

    version: str
    delivery: str

    def is_on(self, seen: Stamped) -> bool:
        """Whether a pod, or a template's pods, were created for that delivery of that version."""
        return (seen.key_version, seen.key_delivery) == (self.version, self.delivery)

    def annotations(self) -> dict[str, str]:
        """The annotations as text."""
        return {KEY_VERSION: self.version, KEY_DELIVERY: self.delivery}


def stamp_of_run(run: Run, ledger: Ledger) -> Stamp:
    """The annotations of a run that has delivered its key. Raises RequestRefused if it has not."""
    return Stamp(run.version, text(delivery_of(ledger), "delivery"))
