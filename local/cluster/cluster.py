"""The whole cluster in one object, and the only part of this package that others need."""

import contextlib
import secrets
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import yaml

from local.cluster.access import Authenticator
from local.cluster.api_server import ApiServer, AuditEntry
from local.cluster.certificates import CertificateAuthority
from local.cluster.client import ClusterClient
from local.cluster.controllers import Controllers
from local.cluster.eks_tokens import CredentialsLookup
from local.cluster.errors import StatusError
from local.cluster.faults import Faults
from local.cluster.ingress import Ingress
from local.cluster.kubelet import Kubelet
from local.cluster.objects import ObjectStore
from local.cluster.rbac import MASTERS, Grant, Rule, User, read_grants
from local.cluster.resources import NAMESPACES, Json, resource_of
from local.processes import Processes

_NODES = "system:nodes"


def _rule(group: str, resources: set[str], verbs: set[str]) -> Rule:
    return Rule(frozenset({group}), frozenset(resources), frozenset(verbs))


NODE_GRANT = Grant(
    users=frozenset(),
    groups=frozenset({_NODES}),
    namespace="",
    rules=(
        _rule("", {"nodes", "nodes/status"}, {"create", "get", "patch"}),
        _rule("", {"pods"}, {"list", "watch", "patch", "delete"}),
        _rule("", {"pods/status"}, {"patch"}),
        _rule("", {"pods/binding"}, {"create"}),
        _rule("", {"secrets"}, {"get"}),
        _rule("", {"services"}, {"list", "watch"}),
    ),
)


class Cluster:
    """A running cluster: API server, controllers, one node, and an ingress.

    `name` is what EKS tokens are signed for, and `credentials_lookup` knows their keys. `rbac`
    is a YAML file of Roles and RoleBindings. `images` are those that can be pulled.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        name: str,
        credentials_lookup: CredentialsLookup,
        rbac: Path | None,
        images: Collection[str],
        namespace: str = "default",
    ) -> None:
        self.name = name
        self.namespace = namespace
        authority = CertificateAuthority(f"{name} local authority")
        self.ca_pem = authority.pem
        self.admin_token, node_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        tokens = {
            self.admin_token: User("admin", (MASTERS,)),
            node_token: User("system:node:laptop", (_NODES,)),
        }
        authenticator = Authenticator(name, tokens, credentials_lookup)
        grants = [NODE_GRANT, *(read_grants(rbac, namespace) if rbac else [])]
        with contextlib.ExitStack() as parts:  # they end in reverse order, also after an error
            store = ObjectStore()
            self._api = ApiServer(store, authenticator, grants, authority)
            parts.callback(Controllers(store).close)
            parts.callback(self._api.close)
            self.admin = self._client(self.admin_token, parts)
            for existing in {"default", namespace}:
                self.admin.create(NAMESPACES, "", {"metadata": {"name": existing}})
            node = self._client(node_token, parts)
            parts.callback(Kubelet(node, processes, images=images, authority=authority).close)
            self._ingress = Ingress(node, namespace)
            parts.callback(self._ingress.close)
            self._parts = parts.pop_all()

    @property
    def url(self) -> str:
        """The address of the API server."""
        return self._api.url

    @property
    def faults(self) -> Faults:
        """Faults on order, for tests."""
        return self._api.faults

    @property
    def audit(self) -> list[AuditEntry]:
        """What was asked of the API server: (user, verb, resource, name), oldest first."""
        return self._api.audit

    def apply(self, manifest: Json | Path) -> list[Json]:
        """Create what a manifest, or each document of a YAML file, describes, or patch it so.

        Returns the objects. A patch is a strategic merge patch. Raises `StatusError`, and
        `ValueError` for a kind that the cluster does not serve.
        """
        if isinstance(manifest, Path):
            with manifest.open() as text:
                documents = [one for one in yaml.safe_load_all(text) if one]
            return [self._apply_one(document) for document in documents]
        return [self._apply_one(manifest)]

    def ingress_url(self, service: str, port: int = 0) -> str:
        """Return the lasting address of a service of the cluster's namespace.

        `port` is where it shall listen, if that matters; only the first call can say so.
        """
        return self._ingress.url(service, port)

    def close(self) -> None:
        """End the pods, then the control plane."""
        self._parts.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _apply_one(self, manifest: Json) -> Json:
        resource, metadata = resource_of(manifest), manifest["metadata"]
        namespace = metadata.get("namespace", self.namespace) if resource.namespaced else ""
        try:
            return self.admin.create(resource, namespace, manifest)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return self.admin.patch(resource, namespace, metadata["name"], manifest)

    def _client(self, token: str, parts: contextlib.ExitStack) -> ClusterClient:
        client = ClusterClient(self._api.url, self.ca_pem, token)
        parts.callback(client.close)
        return client
