"""Which key is delivered, by every delivery mode."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from keyturn import errors
from keyturn.delivery import inspection, kubernetes_secret, strategy
from keyturn.delivery.external_secrets import ExternalSecretsDelivery
from keyturn.delivery.vault import VaultDelivery
from keyturn.delivery.vault_operator import Source, VaultOperatorDelivery
from keyturn.secret import key
from keyturn.secret.exposure import Mark
from tests.conftest import NEW, NOON, OLD
from tests.every_case import every_case
from tests.fakes import (
    FakeOperator,
    FakeSecretStore,
    FakeTarget,
    FakeVaultOperator,
    FakeVaultSecret,
)

SOURCE = Source("secret", "trading-platform/web-console", "", "session-key")
MODES = ["kubernetes-secret", "external-secrets", "vault", "vault with its operator"]


def document(of: key.SessionKey) -> str:
    return json.dumps({key.FIELD: of.base64})


@dataclass
class Place:
    """One key in every place, the current one at first, and a mark on the one before."""

    old: key.SessionKey = field(default_factory=key.generate_key)
    new: key.SessionKey = field(default_factory=key.generate_key)
    store: FakeSecretStore = field(default_factory=FakeSecretStore)
    target: FakeTarget = field(default_factory=FakeTarget)
    vault: FakeVaultSecret = field(default_factory=FakeVaultSecret)

    def __post_init__(self) -> None:
        self.store.stages = {OLD: [], NEW: ["AWSCURRENT"]}
        self.store.documents = {OLD: document(self.old), NEW: document(self.new)}
        self.store.mark_exposed(Mark(OLD, NOON, "emergency", self.old.fingerprint))
        self.put(self.new.base64)

    def put(self, value: str) -> None:
        self.target.value = value
        self.vault.put(**{key.FIELD: value})

    def delivery(self, mode: str) -> strategy.DeliveryStrategy:
        write = VaultDelivery(self.vault)
        operator = FakeVaultOperator(self.vault, self.target)
        ways: dict[str, strategy.DeliveryStrategy] = {
            "kubernetes-secret": kubernetes_secret.KubernetesSecretDelivery(self.target),
            "external-secrets": ExternalSecretsDelivery(
                self.target, FakeOperator(self.target), "session-key"
            ),
            "vault": write,
            "vault with its operator": VaultOperatorDelivery(write, self.target, operator, SOURCE),
            "none": strategy.NoDelivery(),
        }
        return ways[mode]

    def answer(self, mode: str = "kubernetes-secret") -> Any:
        return inspection.inspect_delivery(self.store, self.delivery(mode), self.store.marks())

    def delivered(self, mode: str = "kubernetes-secret") -> Any:
        found: dict[str, Any] = self.answer(mode)["delivered"]
        return found


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.mark.parametrize("mode", MODES)
def test_the_current_key_is_recognised_in_every_place(place: Place, mode: str) -> None:
    found = place.answer(mode)
    assert (found["function"], found["current"]) == ("deliver_key", NEW)
    assert found["delivered"]["holds"] == "current"
    assert found["delivered"]["version"] is None
    assert found["delivered"]["fingerprint"] == place.new.fingerprint


@pytest.mark.parametrize("mode", MODES)
def test_an_exposed_key_is_recognised_and_its_version_named(place: Place, mode: str) -> None:
    place.put(place.old.base64)
    found = place.delivered(mode)
    assert (found["holds"], found["version"]) == ("exposed", OLD)
    assert found["fingerprint"] == place.old.fingerprint


@every_case("mode", MODES)
@every_case("value", [key.generate_key().base64, "c2hvcnQ=", ""])
def test_any_other_value_is_another_key(place: Place, mode: str, value: str) -> None:
    place.put(value)
    assert place.delivered(mode)["holds"] == "other"


def test_where_pods_read_secrets_manager_themselves_nothing_is_known(place: Place) -> None:
    assert place.delivered("none") == {
        "holds": "unknown",
        "version": None,
        "fingerprint": None,
        "target": None,
    }


def test_a_secret_that_is_gone_holds_another_key_than_the_current(place: Place) -> None:
    place.target.gone = True
    assert place.delivered()["holds"] == "other"
    place.vault.deleted.add(len(place.vault.fields))
    assert place.delivered("vault")["holds"] == "other"


def test_of_several_places_the_worst_is_told(place: Place) -> None:
    """The operator brings what Vault has to the Kubernetes Secret."""
    place.vault.put(**{key.FIELD: place.old.base64})
    found = place.delivered("vault with its operator")
    assert (found["holds"], found["target"]) == ("exposed", place.vault.name)


def test_a_mark_without_a_fingerprint_is_matched_by_its_versions_value(
    place: Place,
) -> None:
    """The watch marks without reading the key."""
    place.store.tags = {}
    place.store.mark_exposed(Mark(OLD, NOON, "emergency"))
    place.put(place.old.base64)
    assert place.delivered()["holds"] == "exposed"
    del place.store.documents[OLD]
    assert place.delivered()["holds"] == "other"
    place.store.documents[OLD] = "not a key"
    assert place.delivered()["holds"] == "other"


def test_an_exposed_key_that_is_current_is_exposed(place: Place) -> None:
    place.store.mark_exposed(Mark(NEW, NOON, "finding", place.new.fingerprint))
    assert (place.delivered()["holds"], place.delivered()["version"]) == ("exposed", NEW)


def test_a_place_that_cannot_be_read_is_an_error_and_no_answer(place: Place) -> None:
    def down() -> kubernetes_secret.SecretContent:
        raise errors.ClusterUnavailable("the API does not answer")

    place.target.read = down  # type: ignore[method-assign]
    with pytest.raises(errors.ClusterUnavailable):
        place.answer()


def test_an_answer_never_shows_a_key(place: Place) -> None:
    for value in (place.new, place.old):
        place.put(value.base64)
        for mode in MODES:
            told = json.dumps(place.answer(mode))
            assert place.new.base64 not in told
            assert place.old.base64 not in told
