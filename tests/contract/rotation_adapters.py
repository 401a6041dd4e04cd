"""The product's adapters of Kubernetes, as a function uses them on a cluster under test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from keyturn.adapters.kubernetes.api import KubernetesApi
from keyturn.adapters.kubernetes.secrets import KubernetesSecret
from keyturn.adapters.kubernetes.workloads import KubernetesCluster
from keyturn.settings.loading import ClusterSettings, DeliverySettings
from keyturn.settings.types import DeliveryMode, SecretArn, Url
from tests.conftest import AUTHORITIES
from tests.contract.cluster_under_test import NAME, ClusterUnderTest

FIELD = "SESSION_ENCRYPTION_KEY"


@dataclass(frozen=True)
class Settings(ClusterSettings, DeliverySettings):
    """What the adapters ask of a function's settings."""


@dataclass(frozen=True)
class Adapters:
    api: KubernetesApi
    cluster: KubernetesCluster
    secret: KubernetesSecret
    reading_key: KubernetesCluster
    """The cluster as a function sees it that knows which Secret the pods read."""


def still_on_top() -> None:
    """No other rotation has overtaken the run."""


@contextmanager
def signing_as(key_id: str, secret_key: str) -> Iterator[None]:
    """Give the process the credentials of a function's role."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("AWS_ACCESS_KEY_ID", key_id)
        patches.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        patches.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patches.delenv("AWS_SESSION_TOKEN", raising=False)
        yield


def adapters_of(cluster: ClusterUnderTest, namespace: str) -> Adapters:
    """The adapters, which sign with the process's credentials from now on."""
    settings = Settings(
        certificate_authorities_secret=SecretArn(AUTHORITIES),
        cluster_name=NAME,
        cluster_endpoint=Url(cluster.url),
        namespace=namespace,
        delivery_mode=DeliveryMode("kubernetes-secret"),
        external_secret="",
        kubernetes_secret="session-key",
        kubernetes_secret_key=FIELD,
        vault_static_secret="",
    )
    api = KubernetesApi(settings, lambda: cluster.ca_pem)
    secret = KubernetesSecret(api, settings)
    return Adapters(api, KubernetesCluster(api), secret, KubernetesCluster(api, settings))
