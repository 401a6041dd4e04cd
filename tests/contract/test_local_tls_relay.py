"""The TLS in front of the local Redis: it passes everything on, for clients that trust it."""

from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.processes import Processes
from local.redis_server import RedisServer
from local.tls_relay import TlsRelay

SECONDS = 3


@pytest.fixture
def server(processes: Processes) -> Iterator[RedisServer]:
    with RedisServer(processes) as found:
        yield found


@pytest.fixture
def relay(server: RedisServer) -> Iterator[TlsRelay]:
    made = TlsRelay(server.port)
    yield made
    made.close()


def client(relay: TlsRelay, **how: object) -> redis.Redis:
    once = Retry(NoBackoff(), 0)
    return redis.Redis("127.0.0.1", relay.port, socket_timeout=SECONDS, retry=once, **how)  # type: ignore[arg-type]


def test_what_is_large_passes_both_ways(relay: TlsRelay, server: RedisServer) -> None:
    value = bytes(3_000_000)
    with client(relay, ssl=True, ssl_ca_data=relay.ca_pem) as secure, server.client() as plain:
        secure.set("large", value)
        assert plain.get("large") == value
        assert secure.get("large") == value


def test_a_client_that_trusts_another_authority_or_speaks_no_tls_is_not_served(
    relay: TlsRelay,
) -> None:
    with client(relay, ssl=True) as distrustful, pytest.raises(redis.ConnectionError):
        distrustful.ping()
    with client(relay) as plain, pytest.raises(redis.RedisError):
        plain.ping()
