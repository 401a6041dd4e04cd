"""A real Redis or Valkey cluster on the loopback interface, for the tests.

Nodes find each other as under `redis-cli --cluster create`: every primary gets its even share of
the slots and an epoch of its own, all meet the first, and replicas follow. Whatever is said of the
cluster is asked of its nodes, each for itself, so that it holds after a failover too.
"""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from local.ports import hold_port
from local.processes import Processes
from local.redis_server import Product, RedisServer
from tests import session_fill
from tests.local_services import wait_for
from tests.session_fill import SLOTS

OPTIONS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "repl-diskless-sync-delay": "0",  # a replica gets its copy at once
}


class ClusterKeys:
    """The keys of one database of a whole cluster; each is sought at the primary of its slot."""

    def __init__(self, cluster: "RedisCluster", db: int) -> None:
        self._cluster = cluster
        self._clients = [node.client(db) for node in cluster.nodes]

    def put(self, *names: bytes) -> None:
        """Put keys, each with some value."""
        owners = self._owners()
        for name in names:
            owners[key_slot(name)].set(name, b"a sealed session")

    def get(self, name: bytes) -> bytes | None:
        """Return a key's value, if there is such a key."""
        value: Any = self._owners()[key_slot(name)].get(name)
        return None if value is None else bytes(value)

    def names(self) -> set[bytes]:
        """Return the names of all keys."""
        return {name for client in self._primaries() for name in client.scan_iter(count=1000)}

    def size(self) -> int:
        """Return how many keys there are."""
        return sum(client.dbsize() for client in self._primaries())

    def clear(self) -> None:
        """Delete every key of the database."""
        for client in self._primaries():
            client.flushdb()

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def __enter__(self) -> "ClusterKeys":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _primaries(self) -> list[Redis]:
        return [self._clients[index] for index in self._cluster.primaries()]

    def _owners(self) -> dict[int, Redis]:
        """The client of the primary of each slot."""
        cluster = self._cluster
        served = {index: cluster.slots(index) for index in cluster.primaries()}
        return {slot: self._clients[index] for index, slots in served.items() for slot in slots}


class RedisCluster:
    """A cluster that is whole from the start; `nodes` are its primaries, then their replicas.

    The first primary's replicas come first. `databases` above one is an option of Valkey 9.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        product: Product,
        primaries: int = 3,
        replicas: int = 0,
        databases: int = 1,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._closing = contextlib.ExitStack()
        self.nodes: list[RedisServer] = []
        self._clients: list[Redis] = []
        self._bus_ports: list[int] = []
        several = {"cluster-databases": str(databases)} if databases > 1 else {}
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for _ in range(primaries * (1 + replicas)):
                self._add_node(processes, product, {**OPTIONS, **several, **(options or {})})
            self._share_slots(primaries)
            self._meet()
            self._follow(primaries, replicas)
            self.wait_until_whole()
            undo.pop_all()
        self.seed = (self.nodes[0].host, self.nodes[0].port)
        self.kind = self.nodes[0].kind

    def close(self) -> None:
        """End every node. Safe to call twice."""
        self._closing.close()

    def __enter__(self) -> "RedisCluster":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def client(self, db: int = 0) -> ClusterKeys:
        """Return the keys of a database; the caller closes it."""
        return ClusterKeys(self, db)

    def fill(self, sessions: int, *, db: int = 0, **what: Any) -> None:
        """Put that many sessions, as many in each primary, as `session_fill.fill` does."""
        primaries = self.primaries()

        def fill_primary(place: int) -> None:
            share = len(range(place, sessions, len(primaries)))
            tags = session_fill.tags_of(self.slots(primaries[place]))
            with self.nodes[primaries[place]].client(db) as client:
                session_fill.fill(client, share, tags=tags, **what)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill_primary, range(len(primaries))))

    def kill(self, index: int) -> None:
        """End a node at once, as a crash does."""
        self.nodes[index].kill()

    def restart(self, index: int) -> None:
        """Start a node again: it is who it was, without its keys unless the options save them."""
        self.nodes[index].restart()

    def wait_until_whole(self) -> None:
        """Wait until every running node says so, and all tell the same of who serves what.

        Right after `kill` the others have noticed nothing yet: wait for that first.
        """
        wait_for(self._is_whole, "whole cluster")

    def wait_until_broken(self) -> None:
        """Wait until every running node misses slots."""
        wait_for(
            lambda: all(self._state(index) == "fail" for index in self._running()), "broken cluster"
        )

    def primaries(self) -> list[int]:
        """Return which running nodes serve slots."""
        return [index for index in self._running() if self.slots(index)]

    def slots(self, index: int) -> Sequence[int]:
        """Return the slots that a running node serves; none if it is a replica."""
        ranges = self._itself(index)["slots"]  # of a first and a last one, or of one only
        return [slot for ends in ranges for slot in range(int(ends[0]), int(ends[-1]) + 1)]

    def node_id(self, index: int) -> str:
        """Return the name that a running node has in its cluster."""
        return str(self._itself(index)["node_id"])

    def _add_node(self, processes: Processes, product: Product, options: Mapping[str, str]) -> None:
        held, bus_port = hold_port()
        self._closing.callback(held.close)
        own = {**options, "cluster-port": str(bus_port)}
        node = self._closing.enter_context(RedisServer(processes, product=product, options=own))
        self.nodes.append(node)
        self._clients.append(self._closing.enter_context(node.client()))
        self._bus_ports.append(bus_port)

    def _share_slots(self, primaries: int) -> None:
        for index in range(len(self.nodes)):
            self._ask(index, "CLUSTER SET-CONFIG-EPOCH", index + 1)
            if index < primaries:
                first, end = (SLOTS * place // primaries for place in (index, index + 1))
                self._ask(index, "CLUSTER ADDSLOTSRANGE", first, end - 1)

    def _meet(self) -> None:
        first = self.nodes[0]
        for index in range(1, len(self.nodes)):
            self._ask(index, "CLUSTER MEET", first.host, first.port, self._bus_ports[0])
        wait_for(lambda: all(map(self._knows_all, self._running())), "acquaintance of all nodes")

    def _follow(self, primaries: int, replicas: int) -> None:
        for index in range(primaries, len(self.nodes)):
            followed = self.node_id((index - primaries) // replicas)
            self._ask(index, "CLUSTER REPLICATE", followed)

    def _running(self) -> list[int]:
        return [index for index, node in enumerate(self.nodes) if node.child.running]

    def _is_whole(self) -> bool:
        running = self._running()
        try:
            views = [self._ask(index, "CLUSTER NODES") for index in running]
            links = [self._clients[index].info("replication") for index in running]
            states = {self._state(index) for index in running}
        except RedisError:  # one has only just started
            return False
        told = [
            {node["node_id"]: ("master" in node["flags"], node["slots"]) for node in view.values()}
            for view in views
        ]
        linked = all(link.get("master_link_status", "up") == "up" for link in links)
        agreed = len(told[0]) == len(self.nodes) and all(view == told[0] for view in told)
        return states == {"ok"} and linked and agreed

    def _state(self, index: int) -> str:
        return str(self._ask(index, "CLUSTER INFO")["cluster_state"])

    def _knows_all(self, index: int) -> bool:
        known = self._ask(index, "CLUSTER NODES").values()
        return len(known) == len(self.nodes) and not any("handshake" in n["flags"] for n in known)

    def _itself(self, index: int) -> Any:
        known = self._ask(index, "CLUSTER NODES").values()
        return next(node for node in known if "myself" in node["flags"])

    def _ask(self, index: int, *command: Any) -> Any:
        return self._clients[index].execute_command(*command)  # type: ignore[no-untyped-call]
