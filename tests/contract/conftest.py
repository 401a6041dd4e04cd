"""The clusters of the contract tests: each kind starts once, each test has its own namespace."""

import os
import re
from collections.abc import Iterator

import boto3
import pytest

from local.cloud import Cloud
from local.cluster import Cluster, RealCluster
from local.cluster.control_plane_binaries import ASSETS
from local.cluster.resources import NAMESPACES
from local.functions import Functions
from local.processes import Processes
from tests.contract.cluster_under_test import NO_REAL_CLUSTER, ClusterUnderTest, start_cluster
from tests.contract.secrets_manager_account import ACCOUNT, REGION, Account, open_account

# A plain skip, and no skipif, lets the summary say it once for each file.
WITHOUT_IT = [] if os.environ.get(ASSETS) else [pytest.mark.skip(NO_REAL_CLUSTER)]
# These files are about the emulated cluster, or twins of cases of the other files: they meet the
# real API server with `make test FULL=1`, but for these.
TWINS = ("test_cluster_", "test_argo_rollouts", "test_kubernetes_many_pods")
ALWAYS = ("test_a_restart_is_done_when_every_pod_was_created_after_it_and_starts_no_update",)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        twin = item.path.name.startswith(TWINS) and not item.name.startswith(ALWAYS)
        if twin and re.search(r"[\[-]real[\]-]", item.name):
            item.add_marker(pytest.mark.exhaustive)


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
    scope="module",
    params=[
        pytest.param("emulated_cluster", id="emulated"),
        pytest.param("real_cluster", id="real", marks=WITHOUT_IT),
    ],
)
def each_cluster(request: pytest.FixtureRequest) -> ClusterUnderTest:
    """Both kinds of cluster, one after the other."""
    found: ClusterUnderTest = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def cluster(each_cluster: ClusterUnderTest) -> ClusterUnderTest:
    """The cluster as it starts; a file that needs custom resources installs them in its own."""
    return each_cluster


@pytest.fixture
def namespace(cluster: ClusterUnderTest) -> Iterator[str]:
    """A namespace of a test's own, which goes with all that is in it."""
    name = cluster.new_namespace()
    yield name
    cluster.admin.delete(NAMESPACES, "", name)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """What starts the processes of a test, and ends them with it."""
    with Processes() as found:
        yield found


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account behind the local AWS, which this process calls from now on."""
    with open_account() as account, Processes() as processes:
        functions = Functions(
            processes, account=ACCOUNT, region=REGION, extra_environment=lambda _: {}
        )
        cloud = Cloud(functions, account.manager, account=ACCOUNT, region=REGION)
        # The default session keeps the credentials with which it was made.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        yield account
        cloud.close()
        functions.close()
