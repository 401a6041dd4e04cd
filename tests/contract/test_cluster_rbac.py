"""kubernetes/rbac.yaml before a real API server: it is enough, and no word of it is too much."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from keyturn import errors
from keyturn.stamp import Stamp
from local.cluster import AccessEntry
from local.cluster.client import MERGE
from local.cluster.resources import DEPLOYMENTS, NAMESPACES, RBAC_RESOURCES, SECRETS, Json
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.manifests import container, deployment
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.waiting import until, wait_for_rollout

MANIFEST = Path(__file__).parents[2] / "kubernetes" / "rbac.yaml"
ROLE, BINDING = (one for one in yaml.safe_load_all(MANIFEST.read_text()) if one)
ROLES = next(one for one in RBAC_RESOURCES if one.kind == "Role")
FUNCTION = "AKIDFUNCTION"
ONE = Stamp("one", "1")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

Permission = tuple[str, str]

PERMISSIONS: list[Permission] = [
    (verb, resource)
    for rule in ROLE["rules"]
    for resource in rule["resources"]
    for verb in rule["verbs"]
]


def write(adapters: Adapters) -> None:
    version = adapters.secret.read().resource_version
    adapters.secret.write("another", version, dry_run=True)


def restart(adapters: Adapters) -> None:
    version = adapters.cluster.workload("web-console").resource_version
    adapters.cluster.restart("web-console", {}, version, dry_run=True)


def read_logs(adapters: Adapters) -> list[str]:
    found = adapters.cluster.of_restart("web-console", ONE, LONG_AGO)
    return [line.text for log in found.logs for line in log.lines]


# The calls of a rotation by the permission that they are the first to need.
CALLS: dict[Permission, Callable[[Adapters], object]] = {
    ("get", "deployments"): lambda one: one.cluster.workload("web-console"),
    ("patch", "deployments"): restart,
    ("list", "pods"): lambda one: one.cluster.pods("web-console"),
    ("get", "pods/log"): read_logs,
    ("get", "secrets"): lambda one: one.secret.read(),
    ("patch", "secrets"): write,
}


@dataclass(frozen=True)
class Site:
    """A namespace as in production: services, their key, and the role."""

    cluster: ClusterUnderTest
    namespace: str

    @property
    def adapters(self) -> Adapters:
        return adapters_of(self.cluster, self.namespace)

    def grant(self, without: Permission | None = None) -> None:
        """Give the role its rules, or all but one permission."""
        patch = {"rules": rules(without)}
        name = ROLE["metadata"]["name"]
        self.cluster.admin.patch(ROLES, self.namespace, name, patch, content_type=MERGE)


def rules(without: Permission | None) -> list[Json]:
    kept = []
    for rule in ROLE["rules"]:
        (resource,) = rule["resources"]
        verbs = [verb for verb in rule["verbs"] if (verb, resource) != without]
        kept += [{**rule, "verbs": verbs}] if verbs else []
    return kept


@pytest.fixture(scope="module")
def site(real_cluster: ClusterUnderTest) -> Iterator[Site]:
    namespace = real_cluster.new_namespace()
    for document in (ROLE, BINDING):
        metadata = {**document["metadata"], "namespace": namespace}
        real_cluster.running.apply({**document, "metadata": metadata})
    manifest = deployment("web-console", container(), replicas=1)
    manifest["spec"]["template"]["metadata"]["annotations"] = ONE.annotations()
    real_cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    for name in ("session-key", "another"):
        secret = {"metadata": {"name": name}, "stringData": {FIELD: "value"}}
        real_cluster.admin.create(SECRETS, namespace, secret)
    wait_for_rollout(real_cluster, namespace, "web-console")
    secret_key = secrets.token_urlsafe(30)
    groups = tuple(subject["name"] for subject in BINDING["subjects"])
    real_cluster.entries[FUNCTION] = AccessEntry(secret_key, "a function's role", groups)
    with signing_as(FUNCTION, secret_key):
        yield Site(real_cluster, namespace)
    real_cluster.admin.delete(NAMESPACES, "", namespace)


@pytest.fixture(autouse=True)
def _whole_role(site: Site) -> None:
    site.grant()
    calls = CALLS.values()
    until(lambda: [denial(call, site.adapters) for call in calls], lambda found: not any(found))


def denial(call: Callable[[Adapters], object], adapters: Adapters) -> str:
    """Why a call is denied, '' if it is not."""
    try:
        call(adapters)
    except errors.AccessDenied as denied:
        return str(denied)
    return ""


def test_with_the_whole_role_every_call_of_a_rotation_is_permitted(site: Site) -> None:
    assert CALLS.keys() == set(PERMISSIONS)
    assert {permission: denial(call, site.adapters) for permission, call in CALLS.items()} == (
        dict.fromkeys(CALLS, "")
    )
    assert "listening" in read_logs(site.adapters)


@pytest.mark.parametrize("permission", PERMISSIONS, ids=" ".join)
def test_without_one_permission_the_denial_names_it(site: Site, permission: Permission) -> None:
    site.grant(without=permission)
    says = until(lambda: denial(CALLS[permission], site.adapters), bool)
    assert says.startswith(f"The function's role may not `{' '.join(permission)}`")
    assert f"cluster contract, namespace {site.namespace} (403)" in says
    assert "kubernetes/rbac.yaml" in says


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/apis/apps/v1/namespaces/{here}/deployments"),
        ("GET", "/apis/apps/v1/namespaces/{here}/deployments/another"),
        ("PATCH", "/apis/apps/v1/namespaces/{here}/deployments/another"),
        ("PATCH", "/apis/apps/v1/namespaces/{here}/deployments/web-console/scale"),
        ("DELETE", "/apis/apps/v1/namespaces/{here}/deployments/web-console"),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/web-console"),
        ("GET", "/api/v1/namespaces/{here}/secrets"),
        ("GET", "/api/v1/namespaces/{here}/secrets/another"),
        ("PATCH", "/api/v1/namespaces/{here}/secrets/another"),
        ("PATCH", "/api/v1/namespaces/default/secrets/session-key"),
        ("POST", "/api/v1/namespaces/{here}/pods"),
        ("POST", "/api/v1/namespaces/{here}/pods/web-console-1/exec"),
        ("DELETE", "/api/v1/namespaces/{here}/pods/web-console-1"),
        ("GET", "/api/v1/namespaces/default/pods"),
    ],
)
def test_what_no_rotation_does_is_denied(site: Site, method: str, path: str) -> None:
    with pytest.raises(errors.AccessDenied, match=r"\(403\)"):
        site.adapters.api.request(method, path.format(here=site.namespace), [], {})


def test_a_role_without_an_access_entry_is_told_so(site: Site) -> None:
    with signing_as("AKIDSTRANGER", "no-access"), pytest.raises(errors.AccessDenied) as caught:
        site.adapters.cluster.workload("web-console")
    assert "not accepted by cluster contract" in str(caught.value)
    assert "EKS access entry" in str(caught.value)
