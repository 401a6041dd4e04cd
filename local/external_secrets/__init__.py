"""The External Secrets Operator of the local stack: it brings secrets from a provider into Secrets.

    custom_resource -> what the API server has to serve
    sync_rules      -> when the operator syncs, and what it then writes: pure
    operator        -> the loop around them, over the Kubernetes API
    provider        -> what is read, from Secrets Manager's public API

It behaves as external-secrets' own `externalsecret_controller.go` where a rotation can tell: when a
request to sync is heard and when it is ignored, what the status says, and who mends the Secret.
"""

from local.external_secrets.custom_resource import (
    EXTERNAL_SECRETS,
    CustomResourcesLost,
    install,
    installed,
    loses_custom_resources,
)
from local.external_secrets.operator import SecretsOperator
from local.external_secrets.provider import ProviderError, SecretsManagerProvider

__all__ = [
    "EXTERNAL_SECRETS",
    "CustomResourcesLost",
    "ProviderError",
    "SecretsManagerProvider",
    "SecretsOperator",
    "install",
    "installed",
    "loses_custom_resources",
]
