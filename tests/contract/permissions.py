"""What the rotator may do in one namespace of a real cluster, beyond what all tests let it do."""

from local.cluster.resources import RBAC_RESOURCES, Json, Resource
from tests.contract.cluster_under_test import GROUP, ClusterUnderTest
from tests.contract.waiting import until

ROLES = next(resource for resource in RBAC_RESOURCES if resource.kind == "Role")
ROLE_BINDINGS = next(resource for resource in RBAC_RESOURCES if resource.kind == "RoleBinding")
REVIEWS = Resource(
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    group="authorization.k8s.io",
    namespaced=False,
)


def permit(
    cluster: ClusterUnderTest, namespace: str, resource: Resource, name: str, *verbs: str
) -> None:
    """Let the rotator do that to one object, and wait until the server knows it."""
    rule = {
        "apiGroups": [resource.group],
        "resources": [resource.plural],
        "resourceNames": [name],
        "verbs": list(verbs),
    }
    role = {"metadata": {"name": resource.plural}, "rules": [rule]}
    group = ROLES.group
    binding = {
        "metadata": {"name": resource.plural},
        "roleRef": {"apiGroup": group, "kind": ROLES.kind, "name": resource.plural},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": GROUP}],
    }
    cluster.admin.create(ROLES, namespace, role)
    cluster.admin.create(ROLE_BINDINGS, namespace, binding)
    asked = {
        "namespace": namespace,
        "group": resource.group,
        "resource": resource.plural,
        "name": name,
        "verb": verbs[0],  # a role's verbs come all at once
    }

    def review() -> Json:
        return cluster.rotator.create(REVIEWS, "", {"spec": {"resourceAttributes": asked}})

    until(review, lambda answered: bool(answered["status"]["allowed"]))
