"""The resources that the cluster serves, and where the Kubernetes API puts them.

One table: a further resource, a custom one included, is one more line here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
Objects = list[Json]

STATUS = frozenset({"status"})


@dataclass(frozen=True)
class Resource:
    """One resource of the API: its plural as in URLs, its kind as in objects, its group."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: 'v1' or 'apps/v1'."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition brings it: Kubernetes keeps `*.k8s.io` for itself."""
        return "." in self.group and not self.group.endswith(".k8s.io")

    @property
    def qualified_plural(self) -> str:
        """The name in messages about requests: 'pods' or 'deployments.apps'."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The name in messages about validation: 'Pod' or 'Deployment.apps'."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, of one object, or of a part of it.

        An empty `namespace` means the whole cluster.
        """
        start = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = ["namespaces", namespace] if self.namespaced and namespace else []
        parts = [*place, self.plural, name, subresource]
        return "/".join([start, *(quote(part, safe="") for part in parts if part)])


NAMESPACES = Resource("namespaces", "Namespace", namespaced=False, subresources=STATUS)
NODES = Resource("nodes", "Node", namespaced=False, subresources=STATUS)
PODS = Resource("pods", "Pod", subresources=frozenset({"status", "log", "binding"}))
SECRETS = Resource("secrets", "Secret")
SERVICES = Resource("services", "Service", subresources=STATUS)
EVENTS = Resource("events", "Event")
RESOURCE_QUOTAS = Resource("resourcequotas", "ResourceQuota", subresources=STATUS)
DEPLOYMENTS = Resource("deployments", "Deployment", group="apps", subresources=STATUS)
REPLICA_SETS = Resource("replicasets", "ReplicaSet", group="apps", subresources=STATUS)

RESOURCES = {
    (resource.group, resource.version, resource.plural): resource
    for resource in (
        NAMESPACES,
        NODES,
        PODS,
        SECRETS,
        SERVICES,
        EVENTS,
        RESOURCE_QUOTAS,
        DEPLOYMENTS,
        REPLICA_SETS,
    )
}


# Only a real control plane serves these as objects; the emulated one reads its roles from a file.
RBAC_RESOURCES = tuple(
    Resource(
        plural,
        kind,
        group="rbac.authorization.k8s.io",
        namespaced=not kind.startswith("Cluster"),
    )
    for plural, kind in (
        ("roles", "Role"),
        ("rolebindings", "RoleBinding"),
        ("clusterroles", "ClusterRole"),
        ("clusterrolebindings", "ClusterRoleBinding"),
    )
)


def resource_of(manifest: Json, served: Collection[Resource]) -> Resource:
    """Return the resource that a manifest belongs to, by its apiVersion and kind.

    Raises `ValueError` for a kind that is not served.
    """
    for resource in served:
        if (resource.api_version, resource.kind) == (
            manifest.get("apiVersion"),
            manifest.get("kind"),
        ):
            return resource
    kinds = ", ".join(sorted(resource.kind for resource in served))
    raise ValueError(
        f"{manifest.get('apiVersion')} {manifest.get('kind')} is not served here; served: {kinds}"
    )


def owner_uid(item: Json) -> str:
    """Return the uid of the object's controller, '' if it has none."""
    for reference in item["metadata"].get("ownerReferences", []):
        if reference.get("controller"):
            return str(reference["uid"])
    return ""
