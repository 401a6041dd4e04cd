"""Any field of INFO may be missing, and none is assumed."""

from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.redis import server_info
from keyturn.adapters.redis.server_info import ServerFacts

INFO: dict[str, Any] = {
    "redis_mode": "standalone",
    "role": "master",
    "run_id": "a1",
    "cluster_enabled": 0,
    "db1": {"keys": 7, "expires": 0},
}


class Answering:
    where = "Redis redis.test:6379 database 1"

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info

    def call(self, *command: Any) -> Any:
        assert command == ("INFO",)
        return self.info


def test_the_facts_of_a_server() -> None:
    assert server_info.read_server_info(Answering(INFO), 1) == ServerFacts("a1", True, False, 7)
    replica = {**INFO, "role": "slave", "cluster_enabled": 1}
    assert server_info.read_server_info(Answering(replica), 1) == ServerFacts("a1", False, True, 7)


def test_an_empty_database_is_not_listed() -> None:
    assert server_info.read_server_info(Answering(INFO), 0).keys == 0


@pytest.mark.parametrize("name", ["role", "run_id", "cluster_enabled"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    info = {key: value for key, value in INFO.items() if key != name}
    with pytest.raises(errors.SessionStoreUnsupported, match=f"{name}.*Nothing was deleted"):
        server_info.read_server_info(Answering(info), 1)


@pytest.mark.parametrize("keyspace", [{}, {"expires": 0}, "keys", {"keys": "many"}, None])
def test_a_keyspace_without_a_number_is_named(keyspace: object) -> None:
    with pytest.raises(errors.SessionStoreUnsupported, match="number of keys of db1"):
        server_info.read_server_info(Answering({**INFO, "db1": keyspace}), 1)


@pytest.mark.parametrize("name", ["redis_mode", "server_mode"])
def test_a_sentinel_is_named_whatever_else_it_answers(name: str) -> None:
    for info in ({name: "sentinel"}, {**INFO, name: "sentinel"}):
        with pytest.raises(errors.SessionStoreUnsupported, match="is a Sentinel"):
            server_info.read_server_info(Answering(info), 1)
