"""The cluster with a real control plane, and all else as in the emulated one.

Authentication is EKS's way: a webhook tells the API server who a presigned token's owner is. Who
may do what is written as Roles and RoleBindings, and the API server judges by them.
"""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from local.cluster.audit import AuditEntry
from local.cluster.control_plane import ControlPlane
from local.cluster.control_plane_binaries import find_binaries
from local.cluster.eks_tokens import CredentialsLookup
from local.cluster.resources import RBAC_RESOURCES, RESOURCES
from local.cluster.running_cluster import NODE_RBAC, RunningCluster
from local.cluster.token_webhook import TokenWebhook
from local.processes import Child, Processes


class RealCluster(RunningCluster):
    """A running cluster, as `Cluster`, but for faults: a real API server has none on order.

    The control plane's programs are in the folder that KUBEBUILDER_ASSETS names. Raises
    ControlPlaneError.
    """

    _served = (*RESOURCES.values(), *RBAC_RESOURCES)

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
        with contextlib.ExitStack() as parts:  # they end in reverse order, also after an error
            webhook = TokenWebhook(name, credentials_lookup, self.authority)
            parts.callback(webhook.close)
            self._control_plane = ControlPlane(
                processes,
                find_binaries(),
                authority=self.authority,
                users=self._users(),
                webhook_url=webhook.url,
            )
            parts.callback(self._control_plane.close)
            self.url = self._control_plane.url
            self._take_charge(parts)
            for manifest in [NODE_RBAC, *([rbac] if rbac else [])]:
                self.apply(manifest)
            self._start_node(parts, processes, images)
            self._parts = parts.pop_all()

    @property
    def server(self) -> str:
        """The API server's kind and version, for people."""
        return f"kube-apiserver {self.admin.server_version()}"

    @property
    def audit(self) -> list[AuditEntry]:
        """The API server's audit log: (user, verb, resource, name), in the order of the answers."""
        return self._control_plane.audit

    @property
    def children(self) -> Sequence[Child]:
        """etcd, kube-apiserver and kube-controller-manager."""
        return self._control_plane.children
