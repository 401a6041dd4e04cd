"""Who may do what: tokens and RBAC."""

from collections.abc import Iterator

import pytest

from local.cluster.errors import StatusError
from local.cluster.resources import DEPLOYMENTS, PODS, SECRETS, Json, Resource
from tests.contract.cluster_under_test import CLUSTERS, ClusterUnderTest, container, deployment


@pytest.fixture(params=CLUSTERS, scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterUnderTest]:
    with CLUSTERS[request.param]() as running:
        yield running


@pytest.fixture
def namespace(cluster: ClusterUnderTest) -> str:
    return cluster.new_namespace()


@pytest.fixture(autouse=True)
def _objects(cluster: ClusterUnderTest, namespace: str) -> None:
    for name in ("web", "other"):
        manifest = deployment(name, container(), replicas=0)
        cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    cluster.admin.create(SECRETS, namespace, {"metadata": {"name": "session-key"}})


def test_the_role_permits_what_it_names(cluster: ClusterUnderTest, namespace: str) -> None:
    patch: Json = {"metadata": {"labels": {"seen": "yes"}}}
    assert cluster.rotator.get(DEPLOYMENTS, namespace, "web")["metadata"]["name"] == "web"
    cluster.rotator.patch(DEPLOYMENTS, namespace, "web", patch)
    cluster.rotator.patch(SECRETS, namespace, "session-key", patch)
    assert cluster.rotator.list(PODS, namespace) == []


@pytest.mark.parametrize(
    ("verb", "resource", "name"),
    [
        ("get", DEPLOYMENTS, "other"),
        ("patch", DEPLOYMENTS, "other"),
        ("delete", DEPLOYMENTS, "web"),
        ("get", SECRETS, "another"),
        ("delete", PODS, "web-1"),
    ],
)
def test_everything_else_is_a_403_that_says_what_was_missing(
    cluster: ClusterUnderTest, namespace: str, verb: str, resource: Resource, name: str
) -> None:
    calls = {
        "get": lambda: cluster.rotator.get(resource, namespace, name),
        "patch": lambda: cluster.rotator.patch(resource, namespace, name, {}),
        "delete": lambda: cluster.rotator.delete(resource, namespace, name),
    }
    with pytest.raises(StatusError) as caught:
        calls[verb]()
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
    assert caught.value.message.startswith(f'{resource.qualified_plural} "{name}" is forbidden: ')
    assert caught.value.message.endswith(
        f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}" '
        f'in the namespace "{namespace}"'
    )


def test_listing_secrets_is_forbidden(cluster: ClusterUnderTest, namespace: str) -> None:
    with pytest.raises(StatusError, match=r"^secrets is forbidden: ") as caught:
        cluster.rotator.list(SECRETS, namespace)
    assert caught.value.code == 403


def test_a_token_that_nobody_gave_out_is_a_401(cluster: ClusterUnderTest, namespace: str) -> None:
    with cluster.client("nobody") as stranger, pytest.raises(StatusError) as caught:
        stranger.get(DEPLOYMENTS, namespace, "web")
    assert (caught.value.code, caught.value.reason) == (401, "Unauthorized")
    assert caught.value.message == "Unauthorized"
