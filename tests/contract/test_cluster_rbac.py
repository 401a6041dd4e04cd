"""kubernetes/rbac.yaml before a real API server: enough for each function, and no word too much."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from keyturn import errors
from keyturn.rollout.pod_annotations import Stamp
from local.cluster import AccessEntry
from local.cluster.client import MERGE
from local.cluster.resources import DEPLOYMENTS, NAMESPACES, RBAC_RESOURCES, SECRETS, Json
from tests.choice import cases
from tests.cluster_roles import DOCUMENTS, Permission, permissions, roles
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.manifests import container, deployment
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.waiting import until, wait_for_rollout

ROLES = roles()
ROLE_RESOURCE = next(one for one in RBAC_RESOURCES if one.kind == "Role")
ONE = Stamp("one", "1")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

PERMISSIONS = [(group, one) for group, role in ROLES.items() for one in permissions(role)]
# Each permission with one function that has it.
ALWAYS = {permission: (group, permission) for group, permission in PERMISSIONS}.values()


def write(adapters: Adapters) -> None:
    """Write without a look before: what is refused is the right, not the version."""
    with_conflict(lambda: adapters.secret.write("another", "1", dry_run=True))


def restart(adapters: Adapters) -> None:
    with_conflict(lambda: adapters.cluster.restart("web-console", {}, "1", dry_run=True))


def with_conflict(call: Callable[[], object]) -> None:
    """Whoever gets as far as a conflict is permitted."""
    with pytest.raises(errors.DeliveryConflict):
        call()


def list_pods(adapters: Adapters) -> None:
    path = f"/api/v1/namespaces/{adapters.api.namespace}/pods"
    adapters.api.get(path, [("labelSelector", "app=web-console")])


def read_logs(adapters: Adapters) -> list[str]:
    found = adapters.cluster.of_restart("web-console", ONE, LONG_AGO)
    return [line.text for log in found.logs for line in log.lines]


# The calls of a rotation by the permission that they are the first to need.
CALLS: dict[Permission, Callable[[Adapters], object]] = {
    ("get", "deployments"): lambda one: one.cluster.workload("web-console"),
    ("patch", "deployments"): restart,
    ("list", "pods"): list_pods,
    ("get", "pods/log"): read_logs,
    ("get", "secrets"): lambda one: one.secret.read(),
    ("patch", "secrets"): write,
}
READS_WORKLOADS = {("get", "deployments"), ("list", "pods")}
READS_LOGS = {*READS_WORKLOADS, ("get", "pods/log")}
# What each function calls.
FUNCTIONS: dict[str, set[Permission]] = {
    "keyturn-deliver-key": {("get", "secrets"), ("patch", "secrets")},
    "keyturn-restart-service": {*READS_WORKLOADS, ("patch", "deployments")},
    "keyturn-check-rollout": READS_LOGS,
    "keyturn-validate-rotation": READS_LOGS,
}


@dataclass(frozen=True)
class Site:
    """A namespace as in production: services, their key, the Roles, and a function of each."""

    cluster: ClusterUnderTest
    namespace: str
    secret_keys: dict[str, str]

    def denial(self, group: str, call: Callable[[Adapters], object]) -> str:
        """Why a call of a group's function is denied, '' if it is not."""
        with signing_as(key_id(group), self.secret_keys[group]):
            try:
                call(adapters_of(self.cluster, self.namespace))
            except errors.AccessDenied as denied:
                return str(denied)
        return ""

    def grant(self, group: str, without: Permission | None = None) -> None:
        """Give a Role its rules, or all but one permission."""
        patch = {"rules": rules(ROLES[group], without)}
        self.cluster.admin.patch(ROLE_RESOURCE, self.namespace, group, patch, content_type=MERGE)


def key_id(group: str) -> str:
    return f"AKID{group.upper().replace('-', '')}"


def rules(role: Json, without: Permission | None) -> list[Json]:
    kept = []
    for rule in role["rules"]:
        (resource,) = rule["resources"]
        verbs = [verb for verb in rule["verbs"] if (verb, resource) != without]
        kept += [{**rule, "verbs": verbs}] if verbs else []
    return kept


@pytest.fixture(scope="module")
def site(real_cluster: ClusterUnderTest) -> Iterator[Site]:
    namespace = real_cluster.new_namespace()
    for document in DOCUMENTS:
        metadata = {**document["metadata"], "namespace": namespace}
        real_cluster.running.apply({**document, "metadata": metadata})
    manifest = deployment("web-console", container(), replicas=1)
    manifest["spec"]["template"]["metadata"]["annotations"] = ONE.annotations()
    real_cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    for name in ("session-key", "another"):
        secret = {"metadata": {"name": name}, "stringData": {FIELD: "value"}}
        real_cluster.admin.create(SECRETS, namespace, secret)
    wait_for_rollout(real_cluster, namespace, "web-console")
    secret_keys = {group: secrets.token_urlsafe(30) for group in ROLES}
    for group, secret_key in secret_keys.items():
        entry = AccessEntry(secret_key, f"the role of {group}", (group,))
        real_cluster.entries[key_id(group)] = entry
    site = Site(real_cluster, namespace, secret_keys)
    until(lambda: denials(site), lambda found: not found)
    yield site
    real_cluster.admin.delete(NAMESPACES, "", namespace)


@pytest.fixture
def narrowed(site: Site) -> Iterator[Site]:
    """The namespace for a test that changes Roles; they are as they were for the next one."""
    yield site
    for group in FUNCTIONS:
        site.grant(group)
    until(lambda: denials(site), lambda found: not found)


def denials(site: Site) -> list[str]:
    """Why functions are denied what they call."""
    calls = [(group, CALLS[one]) for group, needed in FUNCTIONS.items() for one in needed]
    return [why for group, call in calls if (why := site.denial(group, call))]


@pytest.mark.parametrize("group", ROLES)
def test_a_function_may_do_what_it_calls_and_nothing_that_another_calls(
    site: Site, group: str
) -> None:
    denied = {one for one, call in CALLS.items() if site.denial(group, call)}
    assert denied == CALLS.keys() - FUNCTIONS[group]
    assert {*permissions(ROLES[group])} == FUNCTIONS[group]


@pytest.mark.parametrize("group", ["keyturn-check-rollout", "keyturn-validate-rotation"])
def test_what_reads_hostile_text_reads_no_secret_and_changes_nothing(
    site: Site, group: str
) -> None:
    assert {verb for verb, _ in permissions(ROLES[group])} == {"get", "list"}
    found: list[str] = []
    assert site.denial(group, lambda one: found.extend(read_logs(one))) == ""
    assert "listening" in found
    for forbidden in (("get", "secrets"), ("patch", "secrets"), ("patch", "deployments")):
        assert "(403)" in site.denial(group, CALLS[forbidden])
    path = f"/api/v1/namespaces/{site.namespace}/secrets/session-key"
    assert "(403)" in site.denial(group, lambda one: one.api.metadata(path))


@pytest.mark.parametrize(
    "case", cases(PERMISSIONS, ALWAYS), ids=[f"{group} {' '.join(p)}" for group, p in PERMISSIONS]
)
def test_without_one_permission_the_denial_names_it(
    narrowed: Site, case: tuple[str, Permission]
) -> None:
    group, permission = case
    narrowed.grant(group, without=permission)
    summary = until(lambda: narrowed.denial(group, CALLS[permission]), bool)
    assert summary.startswith(f"The function's role may not `{' '.join(permission)}`")
    assert f"cluster contract, namespace {narrowed.namespace} (403)" in summary
    assert "kubernetes/rbac.yaml" in summary


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
def test_what_no_rotation_does_is_denied_to_every_function(
    site: Site, method: str, path: str
) -> None:
    where = path.format(here=site.namespace)
    for group in ROLES:
        assert "(403)" in site.denial(group, lambda one: one.api.request(method, where, [], {}))


def test_a_searching_reloader_is_unknown_without_the_optional_rule(
    narrowed: Site,
) -> None:
    matches = {"metadata": {"annotations": {"reloader.stakater.com/match": "true"}}}
    narrowed.cluster.admin.patch(SECRETS, narrowed.namespace, "session-key", matches)
    group, seen = "keyturn-restart-service", list[bool | None]()

    def look(adapters: Adapters) -> None:
        seen.append(adapters.reading_key.secret_matches_reloader())

    assert narrowed.denial(group, look) == ""
    assert seen == [None]
    optional = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["session-key"],
        "verbs": ["get"],
    }
    patch = {"rules": [*ROLES[group]["rules"], optional]}
    narrowed.cluster.admin.patch(
        ROLE_RESOURCE, narrowed.namespace, group, patch, content_type=MERGE
    )
    until(lambda: narrowed.denial(group, look) or seen[-1], lambda found: found is True)


def test_a_role_without_an_access_entry_is_told_so(site: Site) -> None:
    with signing_as("AKIDSTRANGER", "no-access"), pytest.raises(errors.AccessDenied) as caught:
        adapters_of(site.cluster, site.namespace).cluster.workload("web-console")
    assert "not accepted by cluster contract" in str(caught.value)
    assert "EKS access entry" in str(caught.value)
