"""How far apart looks are, and that their number is bounded."""

from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from keyturn import errors
from keyturn.run import polling
from keyturn.run.ledger import Ledger, Start
from tests.every_case import every_case
from tests.ledgers import AT


def ledger(services: int, shortest: int = 5, last: int | None = None) -> Ledger:
    begun = {"services": [f"s-{n}" for n in range(services)], "pollSeconds": shortest}
    found: Any = {"start": begun} | ({} if last is None else {"check_rollout": {"looks": last}})
    return cast("Ledger", found)


def looks_until(limit: int, most: int, shortest: int) -> list[int]:
    """The seconds of each look until the one at the deadline or after it; the calls take none."""
    at, number, seen = shortest, 1, [shortest]
    while at < limit:
        at += polling.pause(number, most, timedelta(seconds=limit), shortest)
        number += 1
        seen.append(at)
    return seen


@every_case("limit", [30, 900, 3600])
@every_case("most", [2, 5, 25, 60, 250])
@every_case("shortest", [1, 5, 60])
def test_no_more_looks_than_the_bound_are_made_until_the_deadline(
    limit: int, most: int, shortest: int
) -> None:
    seen = looks_until(limit, most, shortest)
    pauses = [later - earlier for earlier, later in pairwise(seen)]
    assert len(seen) <= most
    assert all(pause >= shortest for pause in pauses)
    # Whole seconds: a pause may be one second shorter than the one before.
    assert all(later >= earlier - 1 for earlier, later in pairwise(pauses))
    assert limit <= seen[-1] < limit + shortest + 1


def test_few_services_are_looked_at_at_the_shortest_pause_until_their_deadline() -> None:
    pauses = {polling.pause(number, 250, timedelta(seconds=900), 5) for number in range(1, 181)}
    assert pauses == {5}


def test_many_services_are_looked_at_sooner_in_the_beginning_than_at_the_end() -> None:
    seen = looks_until(900, 25, 5)
    assert (len(seen), seen[0], seen[-1]) == (25, 5, 900)
    assert seen[1] - seen[0] == 7
    assert seen[-1] - seen[-2] == 68


def test_a_look_that_is_repeated_is_the_same_look() -> None:
    limit = timedelta(seconds=900)
    assert polling.after_rollout_look(ledger(2), limit) == {"looks": 1, "pauseSeconds": 5}
    first = polling.after_rollout_look(ledger(20, last=7), limit)
    assert first == polling.after_rollout_look(ledger(20, last=7), limit)
    assert first["looks"] == 8


def test_the_more_services_the_fewer_looks_has_each() -> None:
    limit = timedelta(seconds=900)
    pauses = [
        polling.after_rollout_look(ledger(services, last=10), limit)["pauseSeconds"]
        for services in (1, 2, 5, 20, 100, 1000)
    ]
    assert pauses == sorted(pauses)
    assert pauses[0] == pauses[1] == 5 < pauses[3]


def test_a_sync_is_looked_at_as_often_as_fits_its_own_bound() -> None:
    begun: Start = {"startedAt": AT, "services": ["web"], "pollSeconds": 5}
    assert polling.after_sync_look({"start": begun}) == {"looks": 1, "pauseSeconds": 5}
    again: Ledger = {"start": begun, "deliver_key": {"looks": 1}}
    assert polling.after_sync_look(again) == {"looks": 2, "pauseSeconds": 5}


def test_a_look_of_a_run_that_has_not_begun_is_refused() -> None:
    with pytest.raises(errors.RequestRefused, match="'start'"):
        polling.after_rollout_look({}, timedelta(seconds=900))
