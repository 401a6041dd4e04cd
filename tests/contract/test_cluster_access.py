"""Who may do what: tokens and RBAC."""

from dataclasses import replace

import pytest
import urllib3

from local.cluster.certificates import client_context
from local.cluster.errors import StatusError
from local.cluster.resources import DEPLOYMENTS, PODS, SECRETS, Json, Resource
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest, eks_token
from tests.contract.manifests import container, deployment


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


@pytest.mark.parametrize(
    "token",
    [
        "nobody",
        "k8s-aws-v1.nothing",
        eks_token("AKIDANOTHER", "another-key"),
        eks_token(KEY_ID, "another-key"),
    ],
    ids=["unknown", "not a URL", "no access entry", "wrong signature"],
)
def test_a_token_that_nobody_gave_out_is_a_401(
    cluster: ClusterUnderTest, namespace: str, token: str
) -> None:
    with cluster.client(token) as stranger, pytest.raises(StatusError) as caught:
        stranger.get(DEPLOYMENTS, namespace, "web")
    assert (caught.value.code, caught.value.reason) == (401, "Unauthorized")
    assert caught.value.message == "Unauthorized"


def test_a_token_for_another_cluster_is_a_401(cluster: ClusterUnderTest, namespace: str) -> None:
    token = eks_token(KEY_ID, cluster.entries[KEY_ID].secret_key, cluster="another")
    with cluster.client(token) as rotator, pytest.raises(StatusError) as caught:
        rotator.get(DEPLOYMENTS, namespace, "web")
    assert caught.value.code == 401


def test_without_a_token_one_is_anonymous_and_may_do_nothing(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    url = cluster.url + DEPLOYMENTS.path(namespace, "web")
    with urllib3.PoolManager(ssl_context=client_context(cluster.ca_pem)) as pool:
        answer = pool.request("GET", url, timeout=5)
    assert answer.status == 403
    assert 'User "system:anonymous" cannot get resource "deployments"' in answer.json()["message"]


@pytest.mark.parametrize(
    "resource",
    [replace(DEPLOYMENTS, version="v1beta7"), Resource("things", "Thing", group="apps")],
    ids=["an unknown version", "an unknown resource"],
)
def test_what_a_known_group_does_not_serve_is_a_404_that_names_no_object(
    cluster: ClusterUnderTest, namespace: str, resource: Resource
) -> None:
    with pytest.raises(StatusError) as caught:
        cluster.admin.get(resource, namespace, "web")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert caught.value.message == "the server could not find the requested resource"
    assert caught.value.details == {}


def test_a_group_that_nobody_serves_is_a_404_in_plain_text(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    token = eks_token(KEY_ID, cluster.entries[KEY_ID].secret_key)
    sessions = Resource("externalsecrets", "ExternalSecret", group="external-secrets.io")
    url = cluster.url + sessions.path(namespace, "web-session")
    with urllib3.PoolManager(ssl_context=client_context(cluster.ca_pem)) as pool:
        answer = pool.request("GET", url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert (answer.status, answer.data) == (404, b"404 page not found\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("group", ["things.example", "apps"])
def test_whether_it_is_served_is_no_business_of_others(
    cluster: ClusterUnderTest, namespace: str, group: str
) -> None:
    things = Resource("things", "Thing", group=group)
    with pytest.raises(StatusError, match=rf'^things\.{group} "one" is forbidden: ') as caught:
        cluster.rotator.get(things, namespace, "one")
    assert caught.value.code == 403
    with cluster.client("nobody") as stranger, pytest.raises(StatusError) as caught:
        stranger.get(things, namespace, "one")
    assert caught.value.code == 401
