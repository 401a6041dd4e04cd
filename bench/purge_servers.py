"""The servers that are purged: one, and a cluster of three primaries, filled alike each time."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from redis import Redis

from local.processes import Processes
from local.redis_server import Product, RedisServer, find_binary
from tests import session_fill
from tests.redis_cluster import RedisCluster

DATABASE = 1
PRIMARIES = 3
FREED_SECONDS = 120.0
POLL_SECONDS = 0.01
# The limit is measured with scripts of seconds, in which a server answers nobody.
OPTIONS = {"lua-time-limit": "600000"}
CLUSTER_OPTIONS = {**OPTIONS, "cluster-node-timeout": "600000"}
LOOKUPS = 10_000

# Each lookup moves one bucket of a table that is growing. A key that expires is in both tables.
LOOK_UP = """
local key = redis.call('RANDOMKEY')
for _ = 1, ARGV[1] do redis.call('EXISTS', key) end
"""


class Standalone:
    """One server, with the sessions in a database of their own."""

    name, database = "standalone", DATABASE

    def __init__(self, processes: Processes) -> None:
        self._server = RedisServer(processes, options=OPTIONS)
        self.kind = self._server.kind
        self.address = (self._server.host, self._server.port)
        self.probe = (*self.address, "probe")

    def fill(self, sessions: int, others_every: int) -> None:
        """Put sessions and other keys into the empty database."""
        with self._server.client(self.database) as client:
            session_fill.fill(client, sessions, others_every=others_every)

    @contextlib.contextmanager
    def clients(self) -> Iterator[Sequence[Redis]]:
        """A client of each primary's database of sessions."""
        with self._server.client(self.database) as client:
            yield [client]

    def close(self) -> None:
        """End the server."""
        self._server.close()


class Cluster:
    """Three primaries; the probe asks one of them."""

    name, database = "cluster", 0

    def __init__(self, processes: Processes) -> None:
        self._cluster = RedisCluster(
            processes, product=product(), primaries=PRIMARIES, options=CLUSTER_OPTIONS
        )
        first = self._cluster.nodes[0]
        self.kind = first.kind
        self.address = (first.host, first.port)
        (tag,) = session_fill.tags_of(self._cluster.slots(0)[:1])
        self.probe = (*self.address, f"probe{{{tag}}}")

    def fill(self, sessions: int, others_every: int) -> None:
        """Put sessions and other keys, as many on each primary, into the empty cluster."""
        self._cluster.fill(sessions, others_every=others_every)

    @contextlib.contextmanager
    def clients(self) -> Iterator[Sequence[Redis]]:
        """A client of each primary."""
        with ExitStack() as closing:
            yield [closing.enter_context(node.client()) for node in self._cluster.nodes]

    def close(self) -> None:
        """End all nodes."""
        self._cluster.close()


Target = Standalone | Cluster


def product() -> Product:
    """Redis where it is installed, else Valkey."""
    return "redis" if find_binary("redis") else "valkey"


def settings(target: Target) -> dict[str, Any]:
    """Where the sessions are, as the function is told."""
    host, port = target.address
    return {
        "redis_host": host,
        "redis_port": port,
        "redis_database": target.database,
        "redis_tls": False,
        "certificate_authorities_secret": "",
        "redis_authentication": "none",
        "redis_user": "",
        "redis_password_secret": "",
        "redis_cache_name": "",
        "session_prefixes": ("session:",),
        "purge_pace": "fast",
    }


def prepare(target: Target, sessions: int, others_every: int) -> None:
    """Begin with an empty database, fill it, and let its tables grow to the end."""
    with target.clients() as clients:
        for client in clients:
            client.flushdb(asynchronous=True)
        wait_until_freed(clients)
        target.fill(sessions, others_every)
        for client in clients:
            for _ in range(0, client.dbsize(), LOOKUPS):
                client.eval(LOOK_UP, 0, LOOKUPS)


def wait_until_freed(clients: Sequence[Redis]) -> None:
    """Wait until what was flushed is freed in the background. Raises TimeoutError."""
    deadline = time.monotonic() + FREED_SECONDS
    while any(client.info("memory")["lazyfree_pending_objects"] for client in clients):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Redis has not freed its memory within {FREED_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)


def keys_left(target: Target) -> int:
    """How many keys there are, sessions or not."""
    with target.clients() as clients:
        return sum(client.dbsize() for client in clients)
