"""Delivery to a real Vault, and on by a VaultStaticSecret to a Secret on a running cluster."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.kubernetes.secrets import KubernetesSecret
from keyturn.adapters.kubernetes.vault_secrets_operator import FORCE_SYNC, KubernetesStaticSecret
from keyturn.delivery import strategy
from keyturn.delivery.vault_operator import Source, VaultOperatorDelivery
from keyturn.run.run import Run
from keyturn.run.times import now
from keyturn.secret import key
from keyturn.settings.loading import DeliverySettings
from keyturn.settings.types import DeliveryMode
from local.cluster.resources import SECRETS, Json
from local.processes import Processes
from local.vault_server import VaultServer
from tests.conftest import ARN, NEW, OLD
from tests.contract import vault_secret
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.secrets_operator import external_secrets_installed
from tests.contract.vault_operator import STATIC_SECRETS, VaultOperator
from tests.contract.vault_secret import MOUNT, PATH, Stored, use
from tests.contract.waiting import managers, until
from tests.fakes import FakeSecretStore

NAME, SEEN_ONLY, SECRET = "web-session", "seen-only", "session-key"
SPEC: Json = {
    "type": "kv-v2",
    "mount": MOUNT,
    "path": PATH,
    "destination": {"name": SECRET, "create": True},
    "rolloutRestartTargets": [{"kind": "Deployment", "name": "web"}],
}


@pytest.fixture(scope="module")
def server() -> Iterator[VaultServer]:
    with Processes() as processes, VaultServer(processes) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(each_cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Both kinds of cluster, with the operator's resource installed."""
    with external_secrets_installed(each_cluster, STATIC_SECRETS):
        yield each_cluster


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


@dataclass
class Delivery:
    """A delivery of the new key, one call after the other, as the state machine makes them."""

    cluster: ClusterUnderTest
    namespace: str
    site: vault_secret.Site
    delivery: VaultOperatorDelivery
    last: Any = field(default_factory=dict)

    def call(self) -> Any:
        documents = {
            version: json.dumps({key.FIELD: one.base64})
            for version, one in ((OLD, self.site.old), (NEW, self.site.new))
        }
        source = FakeSecretStore({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, documents)
        ledger: Any = {**Run(NEW, ARN, "scheduled", OLD).as_ledger()}
        if self.last:
            ledger["deliver_key"] = self.last
        self.last = strategy.deliver(source, self.delivery, NEW, ledger, now())
        return self.last

    def static_secret(self) -> Json:
        return self.cluster.admin.get(STATIC_SECRETS, self.namespace, NAME)


def delivery_of(
    server: VaultServer, cluster: ClusterUnderTest, namespace: str, adapters: Adapters, name: str
) -> Delivery:
    settings = DeliverySettings(DeliveryMode("vault"), SECRET, FIELD, name, "")
    site = vault_secret.Site(server)
    delivery = VaultOperatorDelivery(
        site.delivery(),
        KubernetesSecret(adapters.api, settings),
        KubernetesStaticSecret(adapters.api, settings),
        Source(MOUNT, PATH, "", SECRET),
    )
    return Delivery(cluster, namespace, site, delivery)


@pytest.fixture
def delivering(
    server: VaultServer,
    cluster: ClusterUnderTest,
    namespace: str,
    adapters: Adapters,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Delivery]:
    """A Secret that the operator has filled from Vault."""
    credentials: dict[str, str] = {}
    monkeypatch.setattr(aws_client, "client", use(Stored(credentials)))
    found = delivery_of(server, cluster, namespace, adapters, NAME)
    found.site.grant()
    credentials.update(found.site.credentials)
    found.site.kept.put({FIELD: found.site.old.base64, "OTHER": "kept"})
    for name in (NAME, SEEN_ONLY):
        cluster.admin.create(STATIC_SECRETS, namespace, {"metadata": {"name": name}, "spec": SPEC})
    yield found
    server.client().secrets.kv.v2.delete_metadata_and_all_versions(PATH, mount_point=MOUNT)


@pytest.fixture
def operator(delivering: Delivery) -> Iterator[VaultOperator]:
    client = delivering.site.server.client()
    running = VaultOperator(delivering.cluster, delivering.namespace, client)
    listed = delivering.cluster.admin.list
    until(lambda: listed(SECRETS, delivering.namespace), bool)
    yield running
    running.close()


def test_vault_is_written_and_the_operator_brings_the_key_on(
    delivering: Delivery, operator: VaultOperator
) -> None:
    delivering.delivery.check_ready()
    assert "annotations" not in delivering.static_secret()["metadata"]
    operator.may_sync.clear()
    assert [delivering.call()["state"] for _ in range(3)] == ["waiting"] * 3
    assert delivering.delivery.target.read().contains(delivering.site.old)
    operator.may_sync.set()
    done = until(delivering.call, lambda told: told["state"] == "done")
    assert delivering.static_secret()["metadata"]["annotations"] == {FORCE_SYNC: f"{NEW}-1"}
    assert "keyturn" in managers(delivering.static_secret())
    assert (done["vaultVersionBefore"], done["vaultVersion"], done["asked"]) == (1, 2, 1)
    assert done["restartedByOperator"] == ["deployment/web"]
    assert delivering.delivery.target.read().contains(delivering.site.new)
    assert delivering.site.kept.fields()["OTHER"] == "kept"


@pytest.mark.usefixtures("operator")
def test_without_the_permission_the_error_names_it_and_nothing_is_changed(
    delivering: Delivery, adapters: Adapters
) -> None:
    settings = DeliverySettings(DeliveryMode("vault"), SECRET, FIELD, SEEN_ONLY, "")
    seen_only = KubernetesStaticSecret(adapters.api, settings)
    assert seen_only.read().writes == SECRET
    with pytest.raises(errors.AccessDenied, match=r"`patch vaultstaticsecrets` \(seen-only\)"):
        seen_only.force_sync("token", dry_run=True)


@pytest.mark.usefixtures("operator")
def test_one_that_is_pinned_to_a_version_is_refused_unchanged(delivering: Delivery) -> None:
    pin = {"spec": {"version": 1}}
    delivering.cluster.admin.patch(STATIC_SECRETS, delivering.namespace, NAME, pin)
    before = delivering.static_secret()
    with pytest.raises(errors.SyncImpossible, match="pinned to one version"):
        delivering.delivery.check_ready()
    assert delivering.static_secret() == before
