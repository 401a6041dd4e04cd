"""The External Secrets Operator of the local stack: it brings secrets from a provider into Secrets.

    sync_rules -> when the operator syncs, and what it then writes: pure
    operator   -> the loop around them, over the Kubernetes API
    provider   -> what is read, from Secrets Manager's public API

It behaves as external-secrets' own `externalsecret_controller.go` where a rotation can tell: when a
request to sync is heard and when it is ignored, what the status says, and who mends the Secret.
"""

from local.external_secrets.operator import SecretsOperator
from local.external_secrets.provider import ProviderError, SecretsManagerProvider
from local.external_secrets.sync_rules import EXTERNAL_SECRETS

__all__ = [
    "EXTERNAL_SECRETS",
    "ProviderError",
    "SecretsManagerProvider",
    "SecretsOperator",
]
