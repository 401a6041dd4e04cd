"""The emulated cluster: an API server and controllers of ours, in this process."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from local.cluster.access import Authenticator
from local.cluster.api_server import VERSION, ApiServer
from local.cluster.audit import AuditEntry
from local.cluster.controllers import Controllers
from local.cluster.eks_tokens import CredentialsLookup
from local.cluster.faults import Faults
from local.cluster.objects import ObjectStore
from local.cluster.rbac import read_grants
from local.cluster.running_cluster import NODE_RBAC, RunningCluster
from local.processes import Processes


class Cluster(RunningCluster):
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
        super().__init__(name, namespace)
        authenticator = Authenticator(name, self._users(), credentials_lookup)
        manifests = [NODE_RBAC, *([rbac] if rbac else [])]
        grants = [grant for manifest in manifests for grant in read_grants(manifest, namespace)]
        with contextlib.ExitStack() as parts:  # they end in reverse order, also after an error
            store = ObjectStore()
            self._api = ApiServer(store, authenticator, grants, self.authority)
            self.url = self._api.url
            parts.callback(Controllers(store).close)
            parts.callback(self._api.close)
            self._take_charge(parts)
            self._start_node(parts, processes, images)
            self._parts = parts.pop_all()

    @property
    def server(self) -> str:
        """The API server's kind and version, for people."""
        return f"emulated API server {VERSION['gitVersion']}"

    @property
    def faults(self) -> Faults:
        """Faults on order, for tests."""
        return self._api.faults

    @property
    def audit(self) -> list[AuditEntry]:
        """What was asked of the API server: (user, verb, resource, name), oldest first."""
        return self._api.audit
