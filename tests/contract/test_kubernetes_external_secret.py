"""Delivery by an ExternalSecret on a running cluster: asked for, waited for, and proved."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes.secrets import FORCE_SYNC, KubernetesExternalSecret
from keyturn.delivery import strategy
from keyturn.delivery.external_secrets import ExternalSecretsDelivery
from keyturn.run.times import now
from keyturn.secret import key
from keyturn.settings.loading import DeliverySettings
from keyturn.settings.types import DeliveryMode
from local.cluster.client import MERGE
from local.cluster.resources import SECRETS, Json
from local.external_secrets import EXTERNAL_SECRETS
from tests.conftest import NEW, OLD
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.secrets_operator import SecretsOperator, external_secrets_installed
from tests.contract.waiting import condition, managers, until
from tests.fakes import FakeSecretStore

NAME = "web-session"
SEEN_ONLY = "seen-only"
SECRET = "session-key"
SPEC: Json = {
    "refreshInterval": "1h0m0s",
    "secretStoreRef": {"name": "secrets-manager", "kind": "SecretStore"},
    "target": {"name": SECRET},
    "data": [{"secretKey": FIELD, "remoteRef": {"key": "web/session-key", "property": FIELD}}],
}


@dataclass
class Delivery:
    """A delivery of the new key, one call after the other, as the state machine makes them."""

    cluster: ClusterUnderTest
    namespace: str
    name: str
    delivery: ExternalSecretsDelivery
    old: key.SessionKey = field(default_factory=key.generate_key)
    new: key.SessionKey = field(default_factory=key.generate_key)
    ledger: Any = field(default_factory=lambda: {"rotation": {"previousVersion": OLD}})

    def call(self) -> Any:
        documents = {
            version: key.new_document(one).text
            for version, one in ((OLD, self.old), (NEW, self.new))
        }
        source = FakeSecretStore({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, documents)
        told = strategy.deliver(source, self.delivery, NEW, self.ledger, now())
        self.ledger["deliver_key"] = told
        assert told["state"] != "done" or self.delivery.target.read().contains(self.new)
        return told

    def external_secret(self) -> Json:
        return self.cluster.admin.get(EXTERNAL_SECRETS, self.namespace, self.name)

    def token(self) -> str | None:
        """What the operator was last asked with."""
        annotations = self.external_secret()["metadata"].get("annotations") or {}
        return annotations.get(FORCE_SYNC)


@pytest.fixture(scope="module")
def cluster(each_cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Both kinds of cluster, with the operator's resource installed."""
    with external_secrets_installed(each_cluster):
        yield each_cluster


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


@pytest.fixture
def delivered(cluster: ClusterUnderTest, namespace: str, adapters: Adapters) -> Delivery:
    """A delivery that may do what it has to."""
    return delivery_of(cluster, namespace, adapters, NAME)


@pytest.fixture
def operator(delivered: Delivery) -> Iterator[SecretsOperator]:
    """An operator that has brought the old key already."""
    with synced(delivered) as running:
        yield running


def delivery_of(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, name: str
) -> Delivery:
    settings = DeliverySettings(DeliveryMode("external-secrets"), SECRET, FIELD, "", name)
    external = KubernetesExternalSecret(adapters.api, settings)
    return Delivery(
        cluster, namespace, name, ExternalSecretsDelivery(adapters.secret, external, SECRET)
    )


@contextmanager
def synced(delivered: Delivery, **spec: object) -> Iterator[SecretsOperator]:
    manifest = {"metadata": {"name": delivered.name}, "spec": {**SPEC, **spec}}
    delivered.cluster.admin.create(EXTERNAL_SECRETS, delivered.namespace, manifest)
    running = SecretsOperator(delivered.cluster, delivered.namespace, delivered.old.base64)
    try:
        until(delivered.external_secret, is_ready)
        yield running
    finally:
        running.close()


def proved_after(delivered: Delivery, told: dict[str, Any]) -> bool:
    """Whether the last sync began in a later second than the delivery."""
    return refreshed_at(delivered) > datetime.fromisoformat(told["startedAt"])


def refreshed_at(delivered: Delivery) -> datetime:
    """When the last sync began, in whole seconds."""
    return datetime.fromisoformat(delivered.external_secret()["status"]["refreshTime"])


def is_ready(external_secret: Json) -> bool:
    ready: bool = (
        "status" in external_secret and condition(external_secret, "Ready")["status"] == "True"
    )
    return ready


def test_a_second_sync_is_requested_only_if_the_first_proves_nothing(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    delivered.delivery.check_ready()
    operator.provides = delivered.new.base64
    operator.may_sync.clear()
    until(now, lambda at: at.replace(microsecond=0) > refreshed_at(delivered))
    assert [delivered.call()["asked"] for _ in range(3)] == [1] * 3
    assert delivered.delivery.target.read().contains(delivered.old)
    operator.may_sync.set()
    last = until(delivered.call, lambda told: told["state"] == "done")
    assert delivered.token() == f"{NEW}-{last['asked']}"
    assert proved_after(delivered, last)
    assert "keyturn" in managers(delivered.external_secret())
    assert last["fingerprint"] == delivered.new.fingerprint
    assert last["previousFingerprint"] == delivered.old.fingerprint


def test_a_request_that_a_controller_takes_away_is_answered_all_the_same(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    """As that of a ClusterExternalSecret, or GitOps: the state of before returns, and is synced."""
    operator.provides = delivered.new.base64

    def call_and_take_away() -> Any:
        told = delivered.call()
        if delivered.token() is not None:
            bare = {"metadata": {"annotations": {FORCE_SYNC: None}}}
            place = (EXTERNAL_SECRETS, delivered.namespace, delivered.name)
            delivered.cluster.admin.patch(*place, bare, content_type=MERGE)
        return told

    last = until(call_and_take_away, lambda told: told["state"] == "done")
    assert delivered.token() is None
    assert proved_after(delivered, last)


def test_a_ready_of_the_sync_before_proves_nothing_even_where_the_key_is_there(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    operator.provides = delivered.new.base64
    operator.may_sync.clear()
    delivered.call()
    theirs = {"stringData": {FIELD: delivered.new.base64}}
    delivered.cluster.admin.patch(SECRETS, delivered.namespace, SECRET, theirs)
    assert is_ready(delivered.external_secret())
    assert delivered.delivery.target.read().contains(delivered.new)
    assert delivered.call()["state"] == "waiting"
    operator.may_sync.set()
    until(delivered.call, lambda told: told["state"] == "done")


def test_a_sync_that_brings_the_old_key_is_asked_for_again(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    again = until(delivered.call, lambda told: told["asked"] == 2)
    assert again["state"] == "waiting"
    assert delivered.token() == f"{NEW}-2"
    operator.provides = delivered.new.base64
    last = until(delivered.call, lambda told: told["state"] == "done")
    assert delivered.token() == f"{NEW}-{last['asked']}"


def test_a_sync_that_fails_is_waited_for(delivered: Delivery, operator: SecretsOperator) -> None:
    operator.provides = None
    delivered.call()
    until(delivered.external_secret, lambda found: not is_ready(found))
    assert delivered.call()["state"] == "waiting"
    assert delivered.token() == f"{NEW}-1"


def test_the_operator_tries_again_by_itself_and_mends_what_others_write(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    operator.provides = None
    delivered.call()
    until(delivered.external_secret, lambda found: not is_ready(found))
    operator.provides = delivered.new.base64
    until(delivered.external_secret, is_ready)
    assert delivered.delivery.target.read().contains(delivered.new)
    theirs = {"stringData": {FIELD: "c2hvcnQ="}}
    delivered.cluster.admin.patch(SECRETS, delivered.namespace, SECRET, theirs)
    until(delivered.delivery.target.read, lambda found: found.contains(delivered.new))


def test_the_operator_owns_the_secret_and_says_so(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    assert delivered.delivery.target.read().owner == f"ExternalSecret {NAME}"
    assert [sync.name for sync in operator.syncs] == [NAME]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"refreshPolicy": "CreatedOnce"}, "refreshPolicy CreatedOnce"),
        ({"refreshInterval": "0s"}, "refreshInterval 0"),
        ({"target": {"name": "another"}}, "writes the Secret another"),
    ],
    ids=["CreatedOnce", "no interval", "another Secret"],
)
def test_an_external_secret_that_cannot_sync_the_key_is_refused(
    delivered: Delivery, spec: Json, named: str
) -> None:
    with synced(delivered, **spec):
        before = delivered.external_secret()
        with pytest.raises(errors.SyncImpossible, match=f"{named}.* Nothing was changed"):
            delivered.delivery.check_ready()
        assert delivered.external_secret() == before


def test_with_the_permission_a_dry_run_passes_and_changes_nothing(
    delivered: Delivery, operator: SecretsOperator
) -> None:
    assert operator.provides == delivered.old.base64
    before = delivered.external_secret()
    delivered.delivery.check_ready()
    assert delivered.external_secret() == before


def test_without_the_permission_the_error_names_it_and_nothing_is_changed(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    refused = delivery_of(cluster, namespace, adapters, SEEN_ONLY)
    with synced(refused):
        before = refused.external_secret()
        with pytest.raises(errors.AccessDenied, match=r"`patch externalsecrets` \(seen-only\)"):
            refused.delivery.check_ready()
        assert refused.external_secret() == before
