"""A Kubernetes cluster on a laptop: an emulated control plane, and pods that are real processes.

    requests -> access (tokens, RBAC) -> verbs -> objects (the store)
    controllers (Deployments, ReplicaSets, garbage) work on the store
    kubelet and ingress speak HTTP to the API server, so they serve a real control plane too

Only what this project meets is here, and that behaves as in Kubernetes, messages included.
"""

from local.cluster.cluster import Cluster
from local.cluster.eks_tokens import AccessEntry, CredentialsLookup
from local.cluster.errors import StatusError

__all__ = ["AccessEntry", "Cluster", "CredentialsLookup", "StatusError"]
