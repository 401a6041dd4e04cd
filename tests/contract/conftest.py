"""The clusters of the contract tests: each kind starts once, each test has its own namespace."""

import os
from collections.abc import Iterator

import pytest

from local.cluster import Cluster, RealCluster
from local.cluster.control_plane_binaries import ASSETS
from local.cluster.resources import NAMESPACES
from tests.contract.cluster_under_test import NO_REAL_CLUSTER, ClusterUnderTest, start_cluster

# A plain skip, and no skipif, lets the summary say it once for each file.
WITHOUT_IT = [] if os.environ.get(ASSETS) else [pytest.mark.skip(NO_REAL_CLUSTER)]


@pytest.fixture(scope="session")
def emulated_cluster() -> Iterator[ClusterUnderTest]:
    with start_cluster(Cluster) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[ClusterUnderTest]:
    if not os.environ.get(ASSETS):
        pytest.skip(NO_REAL_CLUSTER)
    with start_cluster(RealCluster) as cluster:
        yield cluster


@pytest.fixture(
    params=[
        pytest.param("emulated_cluster", id="emulated"),
        pytest.param("real_cluster", id="real", marks=WITHOUT_IT),
    ]
)
def cluster(request: pytest.FixtureRequest) -> ClusterUnderTest:
    """Both kinds of cluster, one after the other."""
    found: ClusterUnderTest = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def namespace(cluster: ClusterUnderTest) -> Iterator[str]:
    """A namespace of a test's own, which goes with all that is in it."""
    name = cluster.new_namespace()
    yield name
    cluster.admin.delete(NAMESPACES, "", name)
