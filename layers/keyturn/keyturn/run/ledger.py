"""The ledger that the state machine passes from state to state.

It holds what the run is, under `rotation`, and each state's result under the name of its function.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from keyturn import errors
from keyturn.run.times import parse_timestamp

Ledger = Mapping[str, Any]


def entry(ledger: Ledger, name: str) -> Mapping[str, Any]:
    """What a state before this one wrote into the ledger.

    Raises RequestRefused where it is not there: the states have run out of order.
    """
    found = ledger.get(name)
    if not isinstance(found, Mapping):
        raise errors.RequestRefused(f"The input has no entry '{name}'. Nothing was done.")
    return found


def text(found: Mapping[str, Any], name: str) -> str:
    """A text of the ledger or of one of its entries. Raises RequestRefused where there is none."""
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise errors.RequestRefused(f"The input has no text '{name}'. Nothing was done.")
    return value


def started_at(ledger: Ledger) -> datetime:
    """When the run began. Raises RequestRefused where BeginRotation has not run."""
    return parse_timestamp(text(entry(ledger, "begin_rotation"), "startedAt"))
