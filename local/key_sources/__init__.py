"""Where the pods read their key from: one class for each delivery mode that the demo shows.

`place` says what a place can be asked for. `kubernetes_secret` is the place that Keyturn writes
itself; `external_secret` the same Secret, filled by the External Secrets Operator; `vault` is a
real server that the pods ask when they start.
"""

from collections.abc import Mapping

from local.key_sources.external_secret import ExternalSecretPlace
from local.key_sources.kubernetes_secret import KubernetesSecretPlace
from local.key_sources.place import Ground, Place, PlaceProblem
from local.key_sources.vault import VaultPlace

PLACES: Mapping[str, type[Place]] = {
    "kubernetes-secret": KubernetesSecretPlace,
    "external-secrets": ExternalSecretPlace,
    "vault": VaultPlace,
}

__all__ = ["PLACES", "Ground", "Place", "PlaceProblem"]
