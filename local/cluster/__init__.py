"""A Kubernetes cluster on a laptop: a control plane, and pods that are real processes.

    requests -> access (tokens, RBAC) -> verbs -> objects (the store)
    controllers (Deployments, ReplicaSets, garbage) work on the store
    kubelet and ingress speak HTTP to the API server, so they serve a real control plane too

`Cluster` has the control plane above, in which only what this project meets is there, and behaves
as in Kubernetes, messages included. `RealCluster` has Kubernetes' own.
"""

from local.cluster.cluster import Cluster
from local.cluster.control_plane_binaries import ControlPlaneError
from local.cluster.eks_tokens import AccessEntry, CredentialsLookup
from local.cluster.errors import StatusError
from local.cluster.real_cluster import RealCluster
from local.cluster.running_cluster import RunningCluster

__all__ = [
    "AccessEntry",
    "Cluster",
    "ControlPlaneError",
    "CredentialsLookup",
    "RealCluster",
    "RunningCluster",
    "StatusError",
]
