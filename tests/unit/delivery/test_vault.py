"""One field changes, a conflict is met, what is exposed is destroyed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyturn import errors
from keyturn.delivery import strategy, vault
from keyturn.delivery.kubernetes_secret import KubernetesSecretDelivery
from keyturn.delivery.strategy import PromotedKey
from keyturn.delivery.vault import WRITES_TRIED, SecretVersion, VaultDelivery
from keyturn.run.ledger import DeliverKeyEntry
from keyturn.run.run import Run
from keyturn.secret import key
from keyturn.secret.exposure import Mark
from keyturn.secret.key import SessionKey
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeSecretStore, FakeTarget, FakeVaultSecret

FIELD = key.FIELD
EMERGENCY = Run(NEW, ARN, "emergency", OLD)


@pytest.fixture
def old() -> SessionKey:
    return key.generate_key()


@pytest.fixture
def new() -> SessionKey:
    return key.generate_key()


@pytest.fixture
def secret(old: SessionKey) -> FakeVaultSecret:
    found = FakeVaultSecret()
    found.put(**{FIELD: old.base64, "OTHER": "kept"})
    return found


@pytest.fixture
def delivery(secret: FakeVaultSecret) -> VaultDelivery:
    return VaultDelivery(secret)


@pytest.fixture
def source(old: SessionKey, new: SessionKey) -> FakeSecretStore:
    return FakeSecretStore(
        {OLD: [], NEW: ["AWSCURRENT"]},
        {OLD: json.dumps({FIELD: old.base64}), NEW: json.dumps({FIELD: new.base64})},
    )


def promoted(new: SessionKey, confirm: Callable[[], Any] = lambda: None) -> PromotedKey:
    return PromotedKey(new, NEW, confirm)


def test_a_write_whose_answer_was_lost_is_not_repeated(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    secret.lost_answers = 1
    with pytest.raises(errors.VaultUnavailable):
        delivery.deliver(promoted(new), {}, NOON)
    found = delivery.deliver(promoted(new), {}, NOON)
    assert (found["written"], found["delivery"], len(secret.fields)) == (False, "vault-2", 2)


def test_that_the_key_is_current_is_seen_before_each_write(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(len(secret.fields))
        if len(looks) < 3:
            secret.put(**{**secret.fields[len(secret.fields)], f"by-another-{len(looks)}": True})

    found = delivery.deliver(promoted(new, look), {}, NOON)
    assert looks == [1, 2, 3]
    assert (found["vaultVersionBefore"], found["vaultVersion"]) == (3, 4)
    assert secret.fields[4] == {
        FIELD: new.base64,
        "OTHER": "kept",
        "by-another-1": True,
        "by-another-2": True,
    }


def test_conflicts_without_end_are_left_to_the_state_machine(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    with pytest.raises(errors.DeliveryConflict):
        delivery.deliver(promoted(new, lambda: secret.put(**secret.fields[1])), {}, NOON)
    assert len(secret.fields) == 1 + WRITES_TRIED


def test_a_field_that_vanishes_in_between_is_not_made_anew(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    with pytest.raises(errors.VaultSecretNotFound, match="version 2, has no text"):
        delivery.deliver(promoted(new, lambda: secret.put(OTHER="alone")), {}, NOON)
    assert len(secret.fields) == 2


def test_the_version_that_is_named_is_the_one_that_was_written(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    """Somebody else writes another field before it is read back."""
    write = secret.write

    def write_and_be_followed(kept: SecretVersion, value: str) -> None:
        write(kept, value)
        secret.put(**{**secret.read().fields, "OTHER": "changed"})

    secret.write = write_and_be_followed  # type: ignore[method-assign]
    found = delivery.deliver(promoted(new), {}, NOON)
    assert (found["vaultVersionBefore"], found["vaultVersion"]) == (1, 2)
    assert secret.read().version == 3


def test_what_is_read_back_is_the_proof(
    delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    secret.swallows_writes = True
    with pytest.raises(errors.DeliveryNotProven, match="No pod was restarted"):
        delivery.deliver(promoted(new), {}, NOON)


def test_the_checks_ask_for_the_rights_that_will_be_used(secret: FakeVaultSecret) -> None:
    VaultDelivery(secret).check_ready()
    assert (secret.checks, len(secret.fields)) == (1, 1)
    secret.denied = True
    with pytest.raises(errors.AccessDenied):
        VaultDelivery(secret).check_ready()


@pytest.mark.parametrize("value", [None, 7, ["a", "list"]])
def test_a_secret_without_the_field_as_text_is_not_the_pods(
    value: object, delivery: VaultDelivery, secret: FakeVaultSecret, new: SessionKey
) -> None:
    secret.put(**({} if value is None else {FIELD: value}))
    with pytest.raises(errors.VaultSecretNotFound):
        delivery.check_ready()
    with pytest.raises(errors.VaultSecretNotFound):
        delivery.deliver(promoted(new), {}, NOON)
    assert len(secret.fields) == 2


def test_the_ledgers_entry_names_the_versions_and_both_keys(
    delivery: VaultDelivery, source: FakeSecretStore, old: SessionKey, new: SessionKey
) -> None:
    ledger = EMERGENCY.as_ledger()
    told = strategy.deliver(source, delivery, NEW, ledger, NOON)
    assert told["previousFingerprint"] == old.fingerprint
    assert (told["vaultVersion"], told["destroysExposed"]) == (2, True)
    assert strategy.confirm_delivery(source, delivery, NEW, {"deliver_key": told}) == {
        "target": told["target"],
        "fingerprint": new.fingerprint,
    }


def test_a_version_written_over_meanwhile_is_named(
    delivery: VaultDelivery, secret: FakeVaultSecret, source: FakeSecretStore
) -> None:
    told = strategy.deliver(source, delivery, NEW, EMERGENCY.as_ledger(), NOON)
    secret.put(**{FIELD: key.generate_key().base64})
    with pytest.raises(errors.DeliveryOverwritten, match="web-console no longer holds the new key"):
        strategy.confirm_delivery(source, delivery, NEW, {"deliver_key": told})


def delivered(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> DeliverKeyEntry:
    """Versions 1 and 2 hold the exposed key, 3 another text, 4 is deleted, 5 the new key."""
    secret.put(**{FIELD: old.base64, "OTHER": "changed"})
    secret.put(**{FIELD: "no key at all"})
    secret.put(**{FIELD: old.base64})
    told = strategy.deliver(source, delivery, NEW, EMERGENCY.as_ledger(), NOON)
    secret.deleted.add(4)
    return told


def test_every_version_with_the_exposed_key_is_destroyed(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    told = delivered(delivery, source, secret, old)
    found = vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})
    assert (found["destroyed"], found["unreadable"]) == ([1, 2], [4])
    assert "destroyed versions 1, 2; version 4 deleted before" in found["says"]
    assert secret.destroyed == {1, 2}
    again = vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})
    assert (again["destroyed"], secret.destroyed) == ([], {1, 2})
    assert "no version left to destroy" in again["says"]


def test_a_marked_version_is_destroyed_whichever_rotation_replaced_it(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    """An emergency overtakes a scheduled run: the key of before that run is exposed, too."""
    earlier = key.generate_key()
    secret.put(**{FIELD: earlier.base64, "OTHER": "changed"})
    secret.put(**{FIELD: key.generate_key().base64})
    told = strategy.deliver(source, delivery, NEW, EMERGENCY.as_ledger(), NOON)
    source.mark_exposed(Mark("7" * 36, NOON, "emergency", earlier.fingerprint))
    found = vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})
    assert found["destroyed"] == [1, 2]
    assert secret.destroyed == {1, 2}


def test_if_the_exposed_key_is_unknown_nothing_is_destroyed(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    told = delivered(delivery, source, secret, old)
    told["previousFingerprint"] = None
    found = vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})
    assert (found["destroyed"], secret.destroyed) == ([], set())
    assert "the exposed key is unknown" in found["says"]


def test_a_key_that_is_current_no_more_destroys_nothing(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    told = delivered(delivery, source, secret, old)
    source.stages = {OLD: [], NEW: [], "another": ["AWSCURRENT"]}
    with pytest.raises(errors.Superseded):
        vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})
    assert secret.destroyed == set()


def test_a_version_that_survives_its_destruction_is_an_error(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    told = delivered(delivery, source, secret, old)
    secret.keeps_doomed = True
    with pytest.raises(errors.VaultRefused, match="versions 1, 2 could not be destroyed"):
        vault.destroy_exposed_versions(source, delivery, EMERGENCY, {"deliver_key": told})


@pytest.mark.parametrize("mode", ["scheduled", "rollback"])
def test_no_other_run_destroys_anything(
    mode: Any,
    delivery: VaultDelivery,
    source: FakeSecretStore,
    secret: FakeVaultSecret,
    old: SessionKey,
) -> None:
    told = delivered(delivery, source, secret, old)
    run = Run(NEW, ARN, mode, OLD, version=OLD if mode == "rollback" else NEW)
    with pytest.raises(errors.RequestRefused):
        vault.destroy_exposed_versions(source, delivery, run, {"deliver_key": told})
    assert secret.destroyed == set()


def test_no_other_delivery_mode_destroys_anything(source: FakeSecretStore) -> None:
    with pytest.raises(errors.RequestRefused):
        vault.destroy_exposed_versions(
            source, KubernetesSecretDelivery(FakeTarget()), EMERGENCY, {}
        )


def test_without_the_entry_of_the_delivery_nothing_is_destroyed(
    delivery: VaultDelivery, source: FakeSecretStore, secret: FakeVaultSecret, old: SessionKey
) -> None:
    delivered(delivery, source, secret, old)
    with pytest.raises(errors.RequestRefused, match="no entry 'deliver_key'"):
        vault.destroy_exposed_versions(source, delivery, EMERGENCY, {})
    assert secret.destroyed == set()


def test_what_was_read_shows_nothing(old: SessionKey) -> None:
    kept = SecretVersion(1, FIELD, {FIELD: old.base64, "OTHER": "a password"})
    assert old.base64 not in repr(kept)
    assert "password" not in repr(kept)


@pytest.mark.parametrize("value", [None, "", "no key", "c2hvcnQ="])
def test_what_is_no_key_has_no_fingerprint(value: str | None, new: SessionKey) -> None:
    assert vault.fingerprint(value) is None
    assert vault.fingerprint(new.base64) == new.fingerprint
