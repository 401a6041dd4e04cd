"""What every cluster of the stack offers, whatever its control plane.

The node and the ingress are the same for all; so are the tokens, the certificate authority and the
permissions of the node. A kind of cluster adds its control plane.
"""

import abc
import contextlib
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

import yaml

from local.cluster.audit import AuditEntry
from local.cluster.certificates import CertificateAuthority
from local.cluster.client import ClusterClient
from local.cluster.errors import StatusError
from local.cluster.ingress import Ingress
from local.cluster.kubelet import NODE_NAME, Kubelet
from local.cluster.rbac import MASTERS, User
from local.cluster.resources import RESOURCES, Json, Resource, resource_of
from local.processes import Child, Processes

NODE_RBAC = Path(__file__).parent / "node_rbac.yaml"


class RunningCluster(abc.ABC):
    """A cluster from its creation until `close`; `admin` may do everything in it."""

    url: str
    admin: ClusterClient
    _served: Collection[Resource] = RESOURCES.values()

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        self.authority = CertificateAuthority(f"{name} local authority")
        self.admin_token, self._node_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._parts = contextlib.ExitStack()

    @property
    def ca_pem(self) -> str:
        """The authority that the API server's certificate is signed by."""
        return self.authority.pem

    @property
    @abc.abstractmethod
    def server(self) -> str:
        """The API server's kind and version, for people."""

    @property
    @abc.abstractmethod
    def audit(self) -> list[AuditEntry]:
        """What was asked of the API server: (user, verb, resource, name), oldest first."""

    @property
    def children(self) -> Sequence[Child]:
        """The processes without which the cluster cannot go on; pods are not among them."""
        return ()

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _users(self) -> dict[str, User]:
        """The owners of the stack's own tokens."""
        return {
            self.admin_token: User("admin", (MASTERS,)),
            self._node_token: User(f"system:node:{NODE_NAME}", ("system:nodes",)),
        }

    def _take_charge(self, parts: contextlib.ExitStack) -> None:
        """Become the administrator of the control plane at `url`, and make the namespaces."""
        self.admin = self._client(self.admin_token, parts)
        for name in {"default", self.namespace}:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def _start_node(
        self, parts: contextlib.ExitStack, processes: Processes, images: Collection[str]
    ) -> None:
        node = self._client(self._node_token, parts)
        kubelet = Kubelet(node, processes, images=images, authority=self.authority)
        parts.callback(kubelet.close)
        self._ingress = Ingress(node, self.namespace)
        parts.callback(self._ingress.close)

    def _client(self, token: str, parts: contextlib.ExitStack) -> ClusterClient:
        client = ClusterClient(self.url, self.ca_pem, token)
        parts.callback(client.close)
        return client

    def _apply_one(self, manifest: Json) -> Json:
        resource, metadata = resource_of(manifest, self._served), manifest["metadata"]
        namespace = metadata.get("namespace", self.namespace) if resource.namespaced else ""
        try:
            return self.admin.create(resource, namespace, manifest)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return self.admin.patch(resource, namespace, metadata["name"], manifest)
