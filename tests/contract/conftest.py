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
# The cases of these files meet the real API server with `make test FULL=1`, but for those below:
# each kind of call, each kind of refusal, and each kind of workload.
TWINS = (
    "test_argo_rollouts",
    "test_cluster_",
    "test_custom_resources",
    "test_kubernetes_adapter",
    "test_kubernetes_external_secret.py",
    "test_kubernetes_many_pods",
    "test_kubernetes_rollout",
)
ALWAYS = (
    "test_a_restart_is_done_when_every_pod_was_created_after_it",
    "test_a_dry_restart_is_answered_and_changes_nothing",
    "test_a_restart_replaces_the_pods_and_the_same_restart_again_does_nothing",
    "test_logs_are_those_of_a_versions_pods_and_of_their_last_crash",
    "test_pods_are_listed_page_by_page",
    "test_the_secrets_field_is_written_and_the_others_are_kept",
    "test_a_workload_that_somebody_else_wrote_meanwhile_is_a_conflict_and_stays",
    "test_what_is_not_there_is_named",
    "test_of_a_secret_whose_metadata_is_asked_for_no_data_is_sent",
    "test_a_second_sync_is_requested_only_if_the_first_proves_nothing",
    "test_a_json_merge_patch_of_a_custom_object_replaces_its_lists",
    "test_an_old_pod_that_still_ends_is_waited_for_though_kubectl_says_done",
    "test_a_new_pod_that_cannot_run_fails_the_rollout_at_once",
    "test_two_rotations_in_one_second_are_two_rollouts",
    "test_the_revision_of_a_delivery_changes_with_every_write_alone",
)


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
