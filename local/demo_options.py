"""What the user of the demo asks for: the variables of `make demo`, and which go together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local import artefacts, faults, triggers
from local.execution_tracker import states_of
from local.faults import Fault
from local.key_sources import PLACES
from local.stack import Listeners, LocalStack

FEWEST_SESSIONS, MOST_SESSIONS = 4, 5_000_000
DEFAULT_SESSIONS = 2_000


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    sessions: int
    real_cluster: bool
    mode: str
    delivery: str
    fault: Fault | None
    template: Path

    def stack(self, listeners: Listeners) -> LocalStack:
        """The stack to rotate on; a fault need not wait for Secrets Manager's patience."""
        way = triggers.options(self.mode, datetime.now(UTC))
        wanted = self.fault.options() if self.fault else {}
        patience = {"rotation_retry_seconds": 0.5} if self.fault else {}
        parameters = {**way.get("parameters", {}), **wanted.get("parameters", {})}
        options = {**way, **wanted, **patience, "parameters": parameters}
        return LocalStack(
            listeners,
            real_cluster=self.real_cluster,
            delivery=self.delivery,
            template=self.template,
            **options,
        )

    @property
    def states(self) -> list[str]:
        """The states that will be shown."""
        stops = self.fault is not None and self.fault.error is not None
        turns = self.mode == "scheduled" and stops and bool(self.fault and self.fault.at)
        return states_of(
            emergency=self.mode != "scheduled",
            way_back=turns,
            keeps_versions=PLACES[self.delivery].keeps_versions,
        )


def read(environ: Mapping[str, str]) -> Wish:
    """Read the wish from the variables; raises ValueError, in a sentence, for one that is none."""
    delivery = _one_of(PLACES, "DELIVERY", environ.get("DELIVERY", "")) or "kubernetes-secret"
    mode = _one_of(triggers.WAYS, "MODE", environ.get("MODE", "")) or "scheduled"
    return Wish(
        _sessions(environ.get("SESSIONS", "")),
        _real_cluster(environ.get("CLUSTER", "")),
        mode,
        delivery,
        _fault(environ.get("FAULT", ""), environ.get("FAIL", ""), delivery, mode),
        artefacts.chosen(environ.get("BUILT", "")),
    )


def _sessions(text: str) -> int:
    if not text:
        return DEFAULT_SESSIONS
    if not text.isdecimal() or not FEWEST_SESSIONS <= int(text) <= MOST_SESSIONS:
        raise ValueError(
            f"SESSIONS is a number from {FEWEST_SESSIONS} to {MOST_SESSIONS:,}, not {text!r}."
        )
    return int(text)


def _real_cluster(text: str) -> bool:
    if text not in {"", "emulated", "real"}:
        raise ValueError(f"CLUSTER is emulated or real, not {text!r}.")
    return text == "real"


def _fault(fault: str, failure: str, delivery: str, mode: str) -> Fault | None:
    if fault and failure:
        raise ValueError("FAULT and FAIL are two ways to say what goes wrong: give one.")
    _one_of(faults.FAULTS, "FAULT", fault)
    _one_of(faults.FAILURES, "FAIL", failure)
    if fault == "old-key-put-back" and mode == "scheduled":
        raise ValueError(
            "FAULT=old-key-put-back is about a key that is marked as exposed, which an emergency"
            " does: give MODE=emergency or MODE=finding too."
        )
    if fault == "hostile-checks" and mode == "scheduled":
        raise ValueError(
            "FAULT=hostile-checks is about what an emergency does not wait for; a scheduled"
            " rotation stops. Give MODE=emergency or MODE=finding too."
        )
    if fault in {"key-crash", "old-key-put-back"} and delivery == "external-secrets":
        raise ValueError(
            f"FAULT={fault} writes over the Kubernetes Secret, and the External Secrets Operator"
            " mends that at once: with DELIVERY=external-secrets there is nothing to see. Leave"
            " DELIVERY out, or take vault."
        )
    return faults.named(fault or failure, delivery)


def _one_of(known: Mapping[str, object], variable: str, text: str) -> str:
    if text and text not in known:
        raise ValueError(f"{variable} is one of {', '.join(known)}, not {text!r}.")
    return text
