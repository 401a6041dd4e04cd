"""Session stores for the contract cases: the fake, real servers, and what a purge does there."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.sessions import progress as purge_progress
from keyturn.sessions import purge
from keyturn.sessions import store as session_store
from keyturn.sessions.purge import PurgeOptions
from keyturn.settings.loading import SessionSettings
from keyturn.settings.types import Port, Prefixes, PurgePace, RedisAuthentication, SecretArn
from local.redis_server import RedisServer
from tests.conftest import AUTHORITIES, NOON
from tests.fakes import FakeClock, FakeSessionStore
from tests.redis_cluster import RedisCluster

DATABASE = 1
FAST = PurgeOptions(session_store.PACES["fast"])
FLUSH = PurgeOptions(session_store.PACES["fast"], flush=True)


def settings_of(host: str, port: int, **changes: Any) -> SessionSettings:
    values: dict[str, Any] = {
        "redis_host": host,
        "redis_port": Port(port),
        "redis_database": DATABASE,
        "redis_tls": False,
        "certificate_authorities_secret": SecretArn(AUTHORITIES),
        "redis_authentication": RedisAuthentication("none"),
        "redis_user": "",
        "redis_password_secret": "",
        "redis_cache_name": "",
        "session_prefixes": Prefixes(["session:"]),
        "purge_pace": PurgePace("fast"),
    }
    return SessionSettings(**{**values, **changes})


def store_of(server: RedisServer, **changes: Any) -> RedisSessions:
    return RedisSessions(settings_of(server.host, server.port, **changes))


def store_of_cluster(cluster: RedisCluster, **changes: Any) -> RedisSessions:
    host, port = cluster.seed
    return RedisSessions(settings_of(host, port, **{"redis_database": 0, **changes}))


class Stage(Protocol):
    """A session store, and a way to fill it."""

    def store(self, *prefixes: str) -> session_store.SessionStore: ...

    def put(self, *names: bytes) -> None: ...

    def names(self) -> set[bytes]: ...


class FakeStage:
    def __init__(self, runs: list[str]) -> None:
        self.fake = FakeSessionStore(runs=runs)

    def store(self, *prefixes: str) -> session_store.SessionStore:
        self.fake.prefixes = prefixes or ("session:",)
        return self.fake

    def put(self, *names: bytes) -> None:
        self.fake.keys |= {name.decode("latin-1") for name in names}

    def names(self) -> set[bytes]:
        return {name.encode("latin-1") for name in self.fake.keys}


class ServerStage:
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = server.client(DATABASE)

    def store(self, *prefixes: str) -> session_store.SessionStore:
        return store_of(self.server, session_prefixes=prefixes or ("session:",))

    def put(self, *names: bytes) -> None:
        self.client.mset(dict.fromkeys(names, b"a sealed session"))

    def names(self) -> set[bytes]:
        return set(self.client.scan_iter(count=1000))


class ClusterStage:
    def __init__(self, cluster: RedisCluster, database: int) -> None:
        self.cluster, self.database = cluster, database
        self.held = cluster.client(database)

    def store(self, *prefixes: str) -> session_store.SessionStore:
        changes = {"session_prefixes": prefixes or ("session:",), "redis_database": self.database}
        return store_of_cluster(self.cluster, **changes)

    def put(self, *names: bytes) -> None:
        self.held.put(*names)

    def names(self) -> set[bytes]:
        return self.held.names()


def one_slice(
    store: session_store.SessionStore, ledger: dict[str, Any], options: PurgeOptions = FAST
) -> dict[str, Any]:
    """What one call of the function does, with a ledger that has travelled as JSON."""
    done = purge.next_slice(json.loads(json.dumps(ledger)), store, options, FakeClock(), NOON)
    return {"purge_sessions": purge_progress.progress_entry(done, NOON + timedelta(seconds=1))}


def purge_all(
    store: session_store.SessionStore,
    options: PurgeOptions = FAST,
    *,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """What the state machine does; `between` runs between any two calls."""
    ledger: dict[str, Any] = {}
    while not ledger.get("purge_sessions", {}).get("finished"):
        ledger = one_slice(store, ledger, options)
        between()
    entry: dict[str, Any] = ledger["purge_sessions"]
    return entry


def count(store: session_store.SessionStore) -> int:
    found = session_store.count_sessions(store, FAST.pace, FakeClock())
    assert found["counted"]
    return int(found["sessions"])
