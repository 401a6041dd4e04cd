"""What existed when the purge began is gone when it ends, in bounded slices."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.run.ledger import sessions_counted
from keyturn.sessions import progress as purge_progress
from keyturn.sessions import purge
from keyturn.sessions import store as session_store
from keyturn.sessions.progress import PrimaryProgress, PurgeProgress
from keyturn.sessions.purge import PurgeOptions
from keyturn.sessions.store import PACES
from tests.conftest import NOON
from tests.every_case import every_case
from tests.fakes import FakeClock, FakePrimary, FakeSessionStore
from tests.unit.sessions.stored_sessions import LOOK_ALIKES, RUNS, SlowStore, keys

AT = "2026-11-24T12:00:00.000Z"
FAST = PurgeOptions(PACES["fast"])
FLUSH = PurgeOptions(PACES["fast"], flush=True)


def one_slice(store: FakeSessionStore, ledger: Any, options: PurgeOptions = FAST) -> Any:
    """What one call of the function does, with a ledger that has travelled as JSON."""
    clock = store.clock if isinstance(store, SlowStore) else FakeClock()
    done = purge.next_slice(json.loads(json.dumps(ledger)), store, options, clock, NOON)
    at = NOON + timedelta(seconds=3)
    entry = purge_progress.progress_entry(done, at, sessions_counted(ledger))
    return {**ledger, "purge_sessions": entry}


def purge_all(store: FakeSessionStore, options: PurgeOptions = FAST) -> Any:
    """What the state machine does: it calls until the purge is finished, and retries a little."""
    ledger: dict[str, Any] = {}
    for _ in range(1000):
        try:
            ledger = one_slice(store, ledger, options)
        except errors.SessionStoreUnavailable:
            ledger = one_slice(store, ledger, options)
        if ledger["purge_sessions"]["finished"]:
            entry: dict[str, Any] = ledger["purge_sessions"]
            return entry
    raise AssertionError("the purge never ends")


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("pace", PACES)
def test_a_purge_deletes_every_session_and_leaves_the_look_alikes(
    pace: str, runs: list[str]
) -> None:
    store = FakeSessionStore(keys(1234) | LOOK_ALIKES, runs=runs)
    entry = purge_all(store, PurgeOptions(PACES[pace]))
    assert store.keys == LOOK_ALIKES
    told = {name: entry[name] for name in ("before", "deleted", "left", "createdSince")}
    assert told == {"before": 1234, "deleted": 1234, "left": 0, "createdSince": 0}
    assert (entry["keysBefore"], entry["keysAfter"]) == (1240, 6)
    assert (entry["seconds"], entry["perSecond"]) == (3.0, 411.3)


def test_the_first_call_only_looks() -> None:
    store = FakeSessionStore(keys(10))
    entry = one_slice(store, {})["purge_sessions"]
    assert (entry["finished"], entry["keysBefore"], entry["deleted"]) == (False, 10, 0)
    assert store.keys == keys(10)
    assert store.page_sizes == []


def test_a_purge_of_an_empty_database_is_finished_at_once() -> None:
    assert one_slice(FakeSessionStore(), one_slice(FakeSessionStore(), {}))["purge_sessions"][
        "finished"
    ]


def test_the_second_pass_counts_and_deletes_nothing() -> None:
    store = FakeSessionStore(keys(10))
    counting = PurgeProgress(
        AT, 15, 10, (PrimaryProgress("redis-0:6379", "run-1", "count"),), acknowledged=5
    )
    done = purge.purge_slice(store, counting, FAST, FakeClock())
    assert (done.finished, done.walks[0].found, done.acknowledged) == (True, 10, 5)
    assert store.keys == keys(10)


class Busy(SlowStore):
    """Users log in as soon as the first pass is over."""

    def primaries(self) -> list[FakePrimary]:
        return [BusyPrimary(self, 0, self.runs[0])]


class BusyPrimary(FakePrimary):
    def count_page(self, cursor: str, keys: int) -> session_store.ScanPage:
        self.store.keys |= {"session:new-1", "session:new-2", "session:new-3"}
        return super().count_page(cursor, keys)


def test_sessions_created_since_are_told_from_those_that_could_not_be_deleted() -> None:
    store = Busy(keys(5), undeletable={"session:00001", "session:00003"})
    entry = purge_all(store)
    told = {name: entry[name] for name in ("before", "deleted", "left", "createdSince")}
    assert told == {"before": 5, "deleted": 3, "left": 2, "createdSince": 3}
    assert entry["createdPerSecond"] == 1.0
    assert purge_progress.purge_summary(entry) == (
        "3 ended; of those that existed when the purge began, 2 could not be deleted;"
        " 3 created since (1 a second)"
    )


def test_sessions_that_could_not_be_deleted_are_counted_on_every_page() -> None:
    stubborn = {"session:00003", "session:01200", "session:02400"}
    store = FakeSessionStore(keys(2500), undeletable=stubborn)
    entry = purge_all(store)
    assert (entry["deleted"], entry["left"], entry["createdSince"]) == (2497, 3, 0)
    assert store.keys == stubborn


def test_a_purge_that_left_nothing_says_so_in_few_words() -> None:
    entry = purge_all(FakeSessionStore(keys(5)))
    assert purge_progress.purge_summary(entry) == (
        "5 ended; of those that existed when the purge began, none is left"
    )


def test_a_slice_is_bounded_and_the_next_one_goes_on_where_it_stopped() -> None:
    store = SlowStore(keys(5000), page_seconds=session_store.SLICE_SECONDS / 2)
    first = one_slice(store, one_slice(store, {}))
    told = first["purge_sessions"]
    assert not told["finished"]
    assert store.clock.seconds == session_store.SLICE_SECONDS
    assert len(store.page_sizes) == 2
    assert 0 < told["deleted"] < 5000
    second = one_slice(store, first)["purge_sessions"]
    assert second["deleted"] > told["deleted"]
    assert second["startedAt"] == told["startedAt"]


@pytest.mark.parametrize("runs", RUNS)
def test_slices_together_do_the_whole_work(runs: list[str]) -> None:
    store = SlowStore(keys(3000) | LOOK_ALIKES, runs=runs, page_seconds=7.0)
    entry = purge_all(store)
    assert store.keys == LOOK_ALIKES
    assert entry["deleted"] == 3000


def test_a_call_after_the_end_changes_nothing() -> None:
    store = FakeSessionStore(keys(3))
    ledger = {"purge_sessions": purge_all(store)}
    store.keys = keys(2)
    assert one_slice(store, ledger) == ledger
    assert store.keys == keys(2)


def test_what_is_to_go_is_told_where_the_sessions_were_counted() -> None:
    store = SlowStore(keys(5000), page_seconds=session_store.SLICE_SECONDS / 2)
    counted = {"begin_rotation": {"sessions": 5000, "counted": True}}
    told = one_slice(store, one_slice(store, counted))["purge_sessions"]
    assert told["sessionsToGo"] == 5000 - told["deleted"]
    assert told["secondsToGo"] == pytest.approx(told["sessionsToGo"] / told["perSecond"], abs=0.1)
    unknown = {"begin_rotation": {"sessions": 20, "counted": False}}
    told = one_slice(store, unknown)["purge_sessions"]
    assert (told["sessionsToGo"], told["secondsToGo"]) == (None, None)


# Calls that are lost, and servers that go


def test_a_call_whose_answer_was_lost_is_told_apart_from_what_was_acknowledged() -> None:
    store = SlowStore(keys(5000), page_seconds=session_store.SLICE_SECONDS / 2)
    ledger = one_slice(store, {})
    one_slice(store, ledger)  # and its answer never arrives
    unheard, store.page_seconds = 5000 - len(store.keys), 0.0
    assert unheard > 0
    entry = one_slice(store, ledger)["purge_sessions"]
    told = {name: entry[name] for name in ("before", "deleted", "vanished", "left")}
    assert told == {
        "before": 5000 - unheard,
        "deleted": 5000 - unheard,
        "vanished": unheard,
        "left": 0,
    }


def test_users_who_log_in_meanwhile_do_not_hide_what_a_lost_call_deleted() -> None:
    store = Busy(keys(5000), page_seconds=session_store.SLICE_SECONDS / 2)
    ledger = one_slice(store, {})
    one_slice(store, ledger)  # and its answer never arrives
    unheard, store.page_seconds = 5000 - len(store.keys), 0.0
    assert unheard > 0
    entry = one_slice(store, ledger)["purge_sessions"]
    assert (entry["deleted"], entry["vanished"]) == (5000 - unheard, unheard)
    assert entry["createdSince"] == 3


@pytest.mark.parametrize("options", [FAST, FLUSH], ids=["scan", "flush"])
def test_other_keys_that_expire_meanwhile_are_not_ended_sessions(options: PurgeOptions) -> None:
    others = {f"cache:{number}" for number in range(50_000)}
    store = FakeSessionStore(keys(1000) | others)
    ledger = one_slice(store, {}, options)
    store.keys -= others
    entry = one_slice(store, ledger, options)["purge_sessions"]
    told = {name: entry[name] for name in ("before", "deleted", "vanished", "left")}
    assert told == {"before": 1000, "deleted": 1000, "vanished": 50_000, "left": 0}
    assert purge_progress.purge_summary(entry) == (
        "1000 ended; of those that existed when the purge began, none is left; 50000"
        " disappeared otherwise (expired, deleted by others, or by a call whose response was lost)"
    )


def test_nothing_is_counted_while_slots_are_on_their_way() -> None:
    store = FakeSessionStore(keys(3000) | LOOK_ALIKES, moving=True)
    ledger = one_slice(store, one_slice(store, {}))
    assert store.keys == LOOK_ALIKES
    assert not ledger["purge_sessions"]["finished"]
    with pytest.raises(errors.SessionStoreUnavailable, match="on their way"):
        one_slice(store, ledger)
    store.moving = False
    assert one_slice(store, ledger)["purge_sessions"]["finished"]


@dataclass
class Failing(SlowStore):
    """Goes away at a page."""

    fails_at_page: int = 0

    def page_turned(self, keys: int) -> None:
        super().page_turned(keys)
        if len(self.page_sizes) == self.fails_at_page:
            raise errors.SessionStoreUnavailable("Redis closed the connection")


def test_what_was_done_before_an_error_is_not_lost() -> None:
    store = Failing(keys(3000), fails_at_page=3)
    entry = one_slice(store, one_slice(store, {}))["purge_sessions"]
    assert entry["deleted"] == FAST.pace.least_keys * 3
    assert entry["walks"][0]["cursor"] != "0"


def test_an_error_before_anything_was_done_is_told_at_once() -> None:
    store = Failing(keys(3000), fails_at_page=1)
    with pytest.raises(errors.SessionStoreUnavailable):
        one_slice(store, one_slice(store, {}))


def test_an_error_that_lasts_ends_the_purge() -> None:
    store = FakeSessionStore(keys(3000), restart_at_page=2)
    ledger = one_slice(store, one_slice(store, {}))
    store.down = True
    with pytest.raises(errors.SessionStoreUnavailable):
        one_slice(store, ledger)


@every_case("runs", RUNS)
@every_case("page", [1, 2, 3, 4, 5])
def test_a_restart_of_a_server_in_the_middle_begins_again_there(page: int, runs: list[str]) -> None:
    store = FakeSessionStore(keys(3000) | LOOK_ALIKES, runs=runs, restart_at_page=page)
    entry = purge_all(store)
    assert store.keys == LOOK_ALIKES
    assert entry["restarts"] == 1
    assert [walk["identity"] for walk in entry["walks"]] == ["run-2", *runs[1:]]
    assert entry["deleted"] == 3000


def test_a_restart_brings_back_sessions_and_they_are_deleted_too() -> None:
    """A server that restarts from an older snapshot, or a replica that lags, has them again."""

    class Forgetful(FakeSessionStore):
        def page_turned(self, number: int) -> None:
            super().page_turned(number)
            if len(self.page_sizes) == 5:
                self.runs, self.keys = ["run-2"], keys(2000)

    store = Forgetful(keys(2000))
    assert purge_all(store)["restarts"] == 1
    assert store.keys == set()


def test_a_failover_at_the_very_end_is_noticed() -> None:
    """The last page was turned, and then another server took over with what it had."""

    class FailsOver(FakeSessionStore):
        asked = 0

        def primaries(self) -> list[FakePrimary]:
            self.asked += 1
            if self.asked == 3:
                self.runs, self.keys = ["run-2"], keys(50)
            return super().primaries()

    store = FailsOver(keys(2000))
    assert purge_all(store)["restarts"] == 1
    assert store.keys == set()


def test_a_primary_that_joins_a_cluster_is_walked_and_one_that_left_is_not() -> None:
    store = SlowStore(keys(3000), runs=["run-1", "other-1"], page_seconds=7.0)
    ledger = one_slice(store, one_slice(store, {}))
    store.runs = ["run-1", "other-1", "third-1"]
    store.page_seconds = 0.0
    again = purge.next_slice(ledger, store, FAST, FakeClock(), NOON)
    assert [walk.identity for walk in again.walks] == ["run-1", "other-1", "third-1"]
    assert again.restarts == 1
    shrunk = purge.reconcile_primaries(again, [FakePrimary(store, 0, "run-1")])
    assert [walk.identity for walk in shrunk.walks] == ["run-1"]


def test_a_server_that_restarts_without_end_is_given_up() -> None:
    class Restless(FakeSessionStore):
        def primaries(self) -> list[FakePrimary]:
            self.runs = [f"run-{len(self.page_sizes)}"]
            return super().primaries()

        def page_turned(self, number: int) -> None:
            super().page_turned(number)
            self.keys.add("session:again")

    with pytest.raises(errors.SessionStoreUnavailable, match=r"during the purge \(6 times\)"):
        purge_all(Restless(keys(50)))


def test_two_purges_at_once_do_no_harm() -> None:
    store = SlowStore(keys(3000) | LOOK_ALIKES, page_seconds=7.0)
    one = two = one_slice(store, {})
    for _ in range(3):
        one, two = one_slice(store, one), one_slice(store, two)
    store.page_seconds = 0.0
    for ledger in (one, two):
        while not ledger["purge_sessions"]["finished"]:
            ledger = one_slice(store, ledger)  # noqa: PLW2901
        assert ledger["purge_sessions"]["left"] == 0
    assert store.keys == LOOK_ALIKES


# Flushing


@pytest.mark.parametrize("runs", RUNS)
def test_a_flush_empties_every_primary_and_counts_afterwards(runs: list[str]) -> None:
    store = FakeSessionStore(keys(1000), runs=runs)
    entry = purge_all(store, FLUSH)
    assert store.keys == set()
    assert store.flushes == len(runs)
    assert (entry["before"], entry["deleted"], entry["left"]) == (1000, 1000, 0)


def test_a_database_with_a_stranger_is_not_flushed() -> None:
    store = FakeSessionStore(keys(10) | {"user:7"})
    with pytest.raises(errors.FlushRefused, match="keys that are not sessions"):
        purge_all(store, FLUSH)
    assert len(store.keys) == 11


def test_a_flush_is_not_repeated_while_the_count_goes_on() -> None:
    store = SlowStore(keys(1000), page_seconds=session_store.SLICE_SECONDS)
    ledger = one_slice(store, one_slice(store, {}, FLUSH), FLUSH)
    store.keys = keys(5000)  # users log in
    one_slice(store, ledger, FLUSH)
    assert store.flushes == 1


# Progress that travels


def drop(name: str) -> Callable[[Any], Any]:
    return lambda entry: {key: value for key, value in entry.items() if key != name}


@pytest.mark.parametrize("name", sorted(PurgeProgress.__dataclass_fields__))
def test_a_progress_that_lacks_a_field_is_refused_by_its_name(name: str) -> None:
    entry = drop(name)(one_slice(FakeSessionStore(keys(3)), {})["purge_sessions"])
    with pytest.raises(errors.RequestRefused, match=name):
        purge_progress.parse_progress({"purge_sessions": entry})


@pytest.mark.parametrize("walks", [None, 7, "x", [7], [{"primary": "redis"}]])
def test_progress_that_is_not_ours_is_refused(walks: object) -> None:
    entry = one_slice(FakeSessionStore(keys(3)), {})["purge_sessions"]
    entry["walks"] = walks
    with pytest.raises(errors.RequestRefused):
        purge_progress.parse_progress({"purge_sessions": entry})


def test_progress_is_plain_values() -> None:
    begun = purge.begin_purge(FakeSessionStore(keys(3)), NOON)
    entry = json.loads(json.dumps(purge_progress.progress_entry(begun, NOON)))
    assert purge_progress.parse_progress({"purge_sessions": entry}) == begun


@given(
    st.sets(st.text(max_size=8) | st.text(max_size=8).map("session:".__add__), max_size=40),
    st.integers(1, 3),
    st.floats(0, 30),
    st.sampled_from(RUNS),
)
def test_after_any_purge_no_session_is_left_and_all_else_is(
    names: set[str], page: int, page_seconds: float, runs: list[str]
) -> None:
    store = SlowStore(set(names), runs=runs, page_seconds=page_seconds, restart_at_page=page)
    entry = purge_all(store)
    assert store.keys == {name for name in names if not name.startswith("session:")}
    assert entry["deleted"] == len(names - store.keys)
