"""How long to wait before the next check of a rollout or of an operator's sync. Pure.

The history of an execution ends at 25,000 events, and no Catch applies then. A check costs nine of
them, so the number of checks until a deadline is bounded, whatever the number of services and the
shortest pause. Checks are as close together as the shortest pause while that fits the bound;
otherwise the pause grows from check to check, so that a quick rollout is noticed soon and the last
check is at the deadline.

Source: AWS Step Functions Developer Guide, "Step Functions service quotas".
"""

from datetime import timedelta
from typing import TypedDict

from keyturn.run.ledger import CheckRolloutEntry, DeliverKeyEntry, Ledger, start_of

# Of all services' rollouts together, until their deadline; a rollback has as many again.
LOOKS_AT_ROLLOUTS = 500
LOOKS_AT_SYNC = 60
SYNC_LIMIT = timedelta(minutes=5)


def most_looks(services: int) -> int:
    """How often the rollout of each of so many services may be checked."""
    return max(2, LOOKS_AT_ROLLOUTS // max(1, services))


def planned(number: int, most: int, limit: int, shortest: int) -> int:
    """Seconds from the beginning to a check, of which number 1 is at `shortest` seconds.

    Check number `most`, of 2 at least, is at `limit` seconds or later.
    """
    left_over = max(0, limit - shortest * most)
    return shortest * number - (-left_over * (number - 1) ** 2 // (most - 1) ** 2)


def pause(number: int, most: int, limit: timedelta, shortest: int) -> int:
    """Whole seconds from check `number` to the next one; never less than `shortest`."""
    seconds = int(limit.total_seconds())
    here, following = (planned(at, most, seconds, shortest) for at in (number, number + 1))
    return following - here


class Pause(TypedDict):
    """The number of a look, and the whole seconds until the next one."""

    looks: int
    pauseSeconds: int


def after_rollout_look(ledger: Ledger, limit: timedelta) -> Pause:
    """The number of this check of a service's rollout, and the pause in seconds after it."""
    most = most_looks(len(start_of(ledger)["services"]))
    return _after(ledger, ledger.get("check_rollout"), most, limit)


def after_sync_look(ledger: Ledger) -> Pause:
    """The number of this check of an operator's sync, and the pause in seconds after it."""
    return _after(ledger, ledger.get("deliver_key"), LOOKS_AT_SYNC, SYNC_LIMIT)


def _after(
    ledger: Ledger, last: CheckRolloutEntry | DeliverKeyEntry | None, most: int, limit: timedelta
) -> Pause:
    """Count from the entry of the last check, so that a repeated call is the same check."""
    number = (last.get("looks", 0) if last else 0) + 1
    shortest = start_of(ledger)["pollSeconds"]
    return {"looks": number, "pauseSeconds": pause(number, most, limit, shortest)}
