"""ExternalSecrets in the versions of the API that operators serve, old and new."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes.secrets import FORCE_SYNC, KubernetesExternalSecret
from keyturn.adapters.kubernetes.vault_secrets_operator import KubernetesStaticSecret
from keyturn.settings.loading import DeliverySettings
from keyturn.settings.types import DeliveryMode
from local.cluster.resources import Resource
from local.external_secrets import EXTERNAL_SECRETS
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.secrets_operator import external_secrets_installed

NAME = "web-session"
OLDER = replace(EXTERNAL_SECRETS, version="v1beta1")


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


@pytest.fixture
def external(adapters: Adapters) -> KubernetesExternalSecret:
    settings = DeliverySettings(DeliveryMode("external-secrets"), "session-key", FIELD, "", NAME)
    return KubernetesExternalSecret(adapters.api, settings)


def create(cluster: ClusterUnderTest, namespace: str, resource: Resource) -> None:
    manifest = {"metadata": {"name": NAME}, "spec": {"target": {"name": "session-key"}}}
    cluster.admin.create(resource, namespace, manifest)


@pytest.mark.parametrize("served", [EXTERNAL_SECRETS, OLDER], ids=lambda one: one.version)
def test_it_is_read_and_asked_in_the_version_that_is_served(
    cluster: ClusterUnderTest,
    namespace: str,
    external: KubernetesExternalSecret,
    served: Resource,
) -> None:
    with external_secrets_installed(cluster, served):
        with pytest.raises(errors.ServiceNotFound, match=f"externalsecrets/{NAME}"):
            external.read()
        create(cluster, namespace, served)
        assert external.read().writes == "session-key"
        external.force_sync("token", dry_run=False)
        annotations = cluster.admin.get(served, namespace, NAME)["metadata"]["annotations"]
        assert annotations[FORCE_SYNC] == "token"


def test_an_operator_that_is_replaced_by_a_newer_one_is_followed(
    cluster: ClusterUnderTest, namespace: str, external: KubernetesExternalSecret
) -> None:
    for served in (OLDER, EXTERNAL_SECRETS):
        with external_secrets_installed(cluster, served):
            create(cluster, namespace, served)
            assert external.read().name == NAME
            cluster.admin.delete(served, namespace, NAME)


def test_a_cluster_without_the_operator_is_told_so(external: KubernetesExternalSecret) -> None:
    with pytest.raises(errors.ResourceNotServed, match="neither as v1 nor as v1beta1"):
        external.read()


def test_a_cluster_without_the_vault_secrets_operator_is_told_so(adapters: Adapters) -> None:
    settings = DeliverySettings(DeliveryMode("vault"), "session-key", FIELD, NAME, "")
    with pytest.raises(errors.ResourceNotServed, match=r"vaultstaticsecrets at .*/v1beta1"):
        KubernetesStaticSecret(adapters.api, settings).read()
