"""The External Secrets Operator on a cluster under test: the local stack's, and what it reads."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from local import external_secrets
from local.cluster.custom_resources import CustomResourcesLost, installed
from local.cluster.resources import Resource
from local.external_secrets import EXTERNAL_SECRETS, ProviderError
from tests.contract.cluster_under_test import ClusterUnderTest


class SecretsOperator(external_secrets.SecretsOperator):
    """Syncs the ExternalSecrets of a namespace until `close`, while `may_sync` is set.

    `provides` is what the provider answers for every reference, and None for no answer.
    """

    def __init__(self, cluster: ClusterUnderTest, namespace: str, provides: str) -> None:
        self.provides: str | None = provides
        super().__init__(cluster.admin, namespace, self._answer)

    def _answer(self, _reference: Mapping[str, str]) -> str:
        if self.provides is None:
            raise ProviderError("the provider does not answer")
        return self.provides


@contextmanager
def external_secrets_installed(
    cluster: ClusterUnderTest, resource: Resource = EXTERNAL_SECRETS
) -> Iterator[None]:
    """Have the cluster serve ExternalSecrets, or another resource, in one version for a while."""
    try:
        with installed(cluster.running, resource):
            yield
    except CustomResourcesLost as lost:
        pytest.skip(str(lost))
