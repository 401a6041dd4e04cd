"""How hard a purge works, whether it will be able to, how many there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.sessions import store as session_store
from keyturn.sessions.store import PACES, Pace
from tests.fakes import FakeClock, FakeSessionStore
from tests.unit.sessions.stored_sessions import LOOK_ALIKES, RUNS, SlowStore, keys

FAST, GENTLE = PACES["fast"], PACES["gentle"]


def test_a_page_shrinks_where_the_server_is_slow_and_grows_where_it_is_quick() -> None:
    assert FAST.next_keys(1000, 0.011) == 500
    assert FAST.next_keys(FAST.least_keys, 1.0) == FAST.least_keys
    assert FAST.next_keys(500, 0.001) == 1000
    assert FAST.next_keys(FAST.most_keys, 0.0) == FAST.most_keys == 1000
    assert FAST.next_keys(500, 0.008) == 500


@given(st.sampled_from([FAST, GENTLE]), st.floats(0, 1), st.floats(0, 10))
def test_a_page_size_stays_within_its_bounds(pace: Pace, part: float, seconds: float) -> None:
    keys = round(pace.least_keys + part * (pace.most_keys - pace.least_keys))
    following = pace.next_keys(keys, seconds)
    assert pace.least_keys <= following <= pace.most_keys <= 2000
    if pace.page_seconds / 2 <= seconds <= pace.page_seconds:
        assert following == keys


def test_the_way_to_the_server_is_not_its_work() -> None:
    clock = FakeClock()
    assert session_store.throttle(FAST, 500, 0.021, 0.020, clock) == 1000
    assert session_store.throttle(FAST, 500, 0.001, 0.020, clock) == 1000
    assert session_store.throttle(FAST, 500, 0.031, 0.020, clock) == 250


def test_only_a_gentle_pace_rests_as_long_as_the_server_worked() -> None:
    clock = FakeClock()
    session_store.throttle(FAST, 500, 0.003, 0.001, clock)
    assert clock.slept == 0
    session_store.throttle(GENTLE, 64, 0.003, 0.001, clock)
    assert clock.slept == pytest.approx(0.002 * GENTLE.rest)
    assert GENTLE.rest >= 1


def test_a_server_that_is_down_is_said_to_be() -> None:
    with pytest.raises(errors.SessionStoreUnavailable):
        session_store.check_ready(FakeSessionStore(down=True), flush=False)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("flush", [False, True])
def test_readiness_is_proved_without_deleting(runs: list[str], *, flush: bool) -> None:
    store = FakeSessionStore(keys(7), runs=runs)
    session_store.check_ready(store, flush=flush)
    assert store.keys == keys(7)
    assert store.flushes == 0


def test_what_is_not_permitted_is_found_before_anything_changes() -> None:
    with pytest.raises(errors.SessionCommandRefused, match="UNLINK"):
        session_store.check_ready(FakeSessionStore(denied="UNLINK"), flush=False)
    session_store.check_ready(FakeSessionStore(denied="FLUSHDB"), flush=False)
    with pytest.raises(errors.SessionCommandRefused, match="FLUSHDB"):
        session_store.check_ready(FakeSessionStore(denied="FLUSHDB"), flush=True)


@pytest.mark.parametrize("runs", RUNS)
def test_a_database_that_holds_more_than_sessions_is_not_to_be_flushed(runs: list[str]) -> None:
    store = FakeSessionStore(keys(7) | {"user:7"}, runs=runs)
    with pytest.raises(errors.FlushRefused, match=r"redis-.*PurgeMode") as no:
        session_store.check_ready(store, flush=True)
    assert "user" not in str(no.value)  # a name may be what a browser holds
    session_store.check_ready(store, flush=False)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("pace", PACES)
def test_a_count_tells_how_many_users_a_rotation_logs_out(pace: str, runs: list[str]) -> None:
    store = FakeSessionStore(keys(2345) | LOOK_ALIKES, runs=runs)
    told = session_store.count_sessions(store, PACES[pace], FakeClock())
    assert told == {"sessions": 2345, "counted": True}
    assert store.keys == keys(2345) | LOOK_ALIKES


def test_a_count_of_no_sessions_is_one() -> None:
    told = session_store.count_sessions(FakeSessionStore(), FAST, FakeClock())
    assert told == {"sessions": 0, "counted": True}


def test_a_count_stops_after_one_slice_and_says_so() -> None:
    store = SlowStore(keys(5000), page_seconds=session_store.SLICE_SECONDS / 2)
    told = session_store.count_sessions(store, FAST, store.clock)
    assert told == {"sessions": 2 * FAST.least_keys, "counted": False}


def test_a_problem_on_one_primary_is_the_counts() -> None:
    store = FakeSessionStore(keys(300), runs=["run-1", "other-1"], restart_at_page=1)
    with pytest.raises(errors.SessionStoreUnavailable):
        session_store.count_sessions(store, FAST, FakeClock())
