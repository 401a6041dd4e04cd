"""`keyturn.sessions`: what existed when the purge began is gone when it ends, in bounded slices."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors, sessions
from keyturn.sessions import Page, Purge
from tests.conftest import NOON
from tests.fakes import FakeSessionStore, FakeStopwatch

LOOK_ALIKES = {"sessions:1", "session", "xsession:1", "Session:1", "user:session:1", "session;1"}


def keys(count: int) -> set[str]:
    return {f"session:{number:05}" for number in range(count)}


@dataclass
class SlowStore(FakeSessionStore):
    """Takes its time for each page."""

    watch: FakeStopwatch = field(default_factory=FakeStopwatch)
    page_seconds: float = 0.0

    def _scan(self, cursor: int, keys: int) -> tuple[int, set[str]]:
        self.watch.seconds += self.page_seconds
        return super()._scan(cursor, keys)


def one_slice(store: FakeSessionStore, ledger: dict[str, Any]) -> dict[str, Any]:
    """What one call of the function does, with a ledger that has travelled as JSON."""
    watch = store.watch if isinstance(store, SlowStore) else FakeStopwatch()
    done = sessions.progress(json.loads(json.dumps(ledger)), store, NOON)
    purged = sessions.purge(store, done, watch)
    return {"purge_sessions": sessions.as_entry(purged, NOON + timedelta(seconds=3))}


def purge_all(store: FakeSessionStore) -> dict[str, Any]:
    """What the state machine does: it calls until the purge is finished."""
    ledger: dict[str, Any] = {}
    for _ in range(1000):
        ledger = one_slice(store, ledger)
        if ledger["purge_sessions"]["finished"]:
            entry: dict[str, Any] = ledger["purge_sessions"]
            return entry
    raise AssertionError("the purge never ends")


def test_a_purge_deletes_every_session_and_leaves_the_look_alikes() -> None:
    store = FakeSessionStore(keys(1234) | LOOK_ALIKES)
    entry = purge_all(store)
    assert store.keys == LOOK_ALIKES
    told = {name: entry[name] for name in ("before", "deleted", "left", "found", "createdSince")}
    assert told == {"before": 1234, "deleted": 1234, "left": 0, "found": 0, "createdSince": 0}
    assert entry["seconds"] == 3.0


def test_a_purge_of_an_empty_database_is_finished_at_once() -> None:
    store = FakeSessionStore()
    assert one_slice(store, {})["purge_sessions"]["finished"]


def test_the_second_pass_counts_and_deletes_nothing() -> None:
    store = FakeSessionStore(keys(10))
    counting = Purge("count", "2026-11-24T12:00:00.000Z", store.server, deleted=5)
    done = sessions.purge(store, counting, FakeStopwatch())
    assert (done.working, done.found, done.deleted) == ("finished", 10, 5)
    assert store.keys == keys(10)


def test_sessions_created_since_are_told_from_those_that_could_not_be_deleted() -> None:
    class Busy(FakeSessionStore):
        """Users log in as soon as the first pass is over."""

        def count_page(self, cursor: int, keys: int) -> Page:
            self.keys |= {"session:new-1", "session:new-2", "session:new-3"}
            return super().count_page(cursor, keys)

    store = Busy(keys(5), undeletable={"session:00001", "session:00003"})
    entry = purge_all(store)
    told = {name: entry[name] for name in ("before", "deleted", "left", "createdSince")}
    assert told == {"before": 5, "deleted": 3, "left": 2, "createdSince": 3}


def test_sessions_that_could_not_be_deleted_are_counted_on_every_page() -> None:
    stubborn = {"session:00003", "session:01200", "session:02400"}
    store = FakeSessionStore(keys(2500), undeletable=stubborn)
    entry = purge_all(store)
    assert (entry["deleted"], entry["left"], entry["createdSince"]) == (2497, 3, 0)
    assert store.keys == stubborn


def test_a_slice_is_bounded_and_the_next_one_goes_on_where_it_stopped() -> None:
    store = SlowStore(keys(5000), page_seconds=sessions.SLICE_SECONDS / 2)
    first = one_slice(store, {})
    told = first["purge_sessions"]
    assert not told["finished"]
    assert store.watch.seconds == sessions.SLICE_SECONDS
    assert len(store.page_sizes) == 2
    assert 0 < told["deleted"] < 5000
    second = one_slice(store, first)["purge_sessions"]
    assert second["deleted"] > told["deleted"]
    assert second["startedAt"] == told["startedAt"]


def test_slices_together_do_the_whole_work() -> None:
    store = SlowStore(keys(3000) | LOOK_ALIKES, page_seconds=7.0)
    entry = purge_all(store)
    assert store.keys == LOOK_ALIKES
    assert entry["deleted"] == 3000


def test_a_call_after_the_end_changes_nothing() -> None:
    store = FakeSessionStore(keys(3))
    ledger = {"purge_sessions": purge_all(store)}
    store.keys = keys(2)
    assert one_slice(store, ledger) == ledger
    assert store.keys == keys(2)


def test_a_page_shrinks_where_the_server_is_slow_and_grows_where_it_is_quick() -> None:
    slow = SlowStore(keys(5000), page_seconds=sessions.PAGE_TARGET_SECONDS * 3)
    purge_all(slow)
    assert slow.page_sizes[:5] == [500, 250, 125, 100, 100]
    quick = SlowStore(keys(5000), page_seconds=0.0)
    purge_all(quick)
    assert quick.page_sizes[:3] == [500, 1000, 1000]


@given(st.integers(sessions.PAGE_KEYS_LEAST, sessions.PAGE_KEYS_MOST), st.floats(0, 10))
def test_a_page_size_stays_within_its_bounds(size: int, seconds: float) -> None:
    following = sessions.next_page_size(size, seconds)
    assert sessions.PAGE_KEYS_LEAST <= following <= sessions.PAGE_KEYS_MOST
    if sessions.PAGE_TARGET_SECONDS / 2 <= seconds <= sessions.PAGE_TARGET_SECONDS:
        assert following == size


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5])
def test_a_restart_of_the_server_in_the_middle_begins_again(page: int) -> None:
    store = FakeSessionStore(keys(3000) | LOOK_ALIKES, restart_at_page=page)
    entry = purge_all(store)
    assert store.keys == LOOK_ALIKES
    assert entry["restarts"] == 1
    assert entry["server"] == "run-2"
    assert entry["deleted"] == 3000


def test_a_restart_brings_back_sessions_and_they_are_deleted_too() -> None:
    """A server that restarts from an older snapshot, or a replica that lags, has them again."""

    class Forgetful(FakeSessionStore):
        def server_id(self) -> str:
            if self.server == "run-1" and len(self.page_sizes) >= 2:
                self.server, self.keys = "run-2", keys(2000)
            return self.server

    store = Forgetful(keys(2000))
    assert purge_all(store)["restarts"] == 1
    assert store.keys == set()


def test_a_restart_between_two_slices_begins_again() -> None:
    store = SlowStore(keys(3000), page_seconds=15.0)
    ledger = one_slice(store, {})
    assert ledger["purge_sessions"]["cursor"] > 0
    store.server = "run-2"
    done = sessions.progress(ledger, store, NOON)
    again = sessions.purge(store, done, FakeStopwatch())
    assert (again.server, again.restarts, again.finished) == ("run-2", 1, True)
    assert store.keys == set()


def test_a_server_that_restarts_without_end_is_given_up() -> None:
    class Restless(FakeSessionStore):
        def server_id(self) -> str:
            return f"run-{len(self.page_sizes)}"

    store = Restless(keys(50))
    with pytest.raises(errors.SessionStoreUnavailable, match="Redis restarted 6 times"):
        purge_all(store)


def test_the_count_of_what_is_left_begins_again_with_the_pass() -> None:
    store = FakeSessionStore(keys(20), undeletable={"session:00007"}, restart_at_page=2)
    entry = purge_all(store)
    assert (entry["deleted"], entry["left"], entry["before"]) == (19, 1, 20)


def test_a_server_that_is_down_is_said_to_be() -> None:
    store = FakeSessionStore(keys(3), down=True)
    for attempt in (lambda: purge_all(store), lambda: sessions.check_ready(store)):
        with pytest.raises(errors.SessionStoreUnavailable):
            attempt()


def test_readiness_is_proved_without_deleting() -> None:
    store = FakeSessionStore(keys(3))
    sessions.check_ready(store)
    assert store.keys == keys(3)


def drop(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda entry: {key: value for key, value in entry.items() if key != name}


@pytest.mark.parametrize("name", sorted(Purge.__dataclass_fields__))
def test_a_progress_that_lacks_a_field_is_refused_by_its_name(name: str) -> None:
    store = FakeSessionStore(keys(3))
    entry = drop(name)(one_slice(store, {})["purge_sessions"])
    with pytest.raises(errors.RequestRefused, match=name):
        sessions.progress({"purge_sessions": entry}, store, NOON)


@given(
    st.sets(st.text(max_size=8) | st.text(max_size=8).map("session:".__add__), max_size=40),
    st.integers(1, 3),
    st.floats(0, 30),
)
def test_after_any_purge_no_session_is_left_and_all_else_is(
    names: set[str], pages: int, page_seconds: float
) -> None:
    store = SlowStore(set(names), page_seconds=page_seconds, restart_at_page=pages)
    entry = purge_all(store)
    assert store.keys == {name for name in names if not name.startswith("session:")}
    assert entry["deleted"] == len(names - store.keys)


def test_a_count_tells_how_many_users_a_rotation_logs_out() -> None:
    store = FakeSessionStore(keys(2345) | LOOK_ALIKES)
    assert sessions.count(store, FakeStopwatch()) == {"sessions": 2345, "counted": True}
    assert store.keys == keys(2345) | LOOK_ALIKES


def test_a_count_of_no_sessions_is_one() -> None:
    assert sessions.count(FakeSessionStore(), FakeStopwatch()) == {"sessions": 0, "counted": True}


def test_a_count_stops_after_one_slice_and_says_so() -> None:
    store = SlowStore(keys(5000), page_seconds=sessions.SLICE_SECONDS / 2)
    assert sessions.count(store, store.watch) == {"sessions": 2000, "counted": False}


def test_progress_is_plain_values() -> None:
    store = FakeSessionStore(keys(3))
    begun = sessions.progress({}, store, NOON)
    assert (
        sessions.progress(
            {"purge_sessions": json.loads(json.dumps(sessions.as_entry(begun, NOON)))}, store, NOON
        )
        == begun
    )
