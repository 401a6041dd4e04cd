"""`keyturn.delivery`: the key arrives where the pods read it, proven, and shows itself nowhere."""

import json
from collections.abc import Callable

import pytest

from keyturn import delivery, errors, key
from keyturn.key import SessionKey
from tests.conftest import NEW, OLD
from tests.fakes import FakeSecretStore, FakeTarget


def document_of(session_key: SessionKey) -> str:
    return json.dumps({key.FIELD: session_key.base64})


@pytest.fixture
def old() -> SessionKey:
    return key.generate()


@pytest.fixture
def new() -> SessionKey:
    return key.generate()


@pytest.fixture
def source(old: SessionKey, new: SessionKey) -> FakeSecretStore:
    return FakeSecretStore(
        {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
        {OLD: document_of(old), NEW: document_of(new)},
    )


@pytest.fixture
def target(old: SessionKey) -> FakeTarget:
    return FakeTarget(value=old.base64)


def test_the_promoted_key_is_written_and_both_keys_are_named(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey, new: SessionKey
) -> None:
    assert delivery.deliver(source, target, NEW) == {
        "target": "Kubernetes Secret web/session-key",
        "written": True,
        "fingerprint": new.fingerprint,
        "previousFingerprint": old.fingerprint,
    }
    assert target.value == new.base64


def test_delivering_twice_writes_once(source: FakeSecretStore, target: FakeTarget) -> None:
    delivery.deliver(source, target, NEW)
    assert delivery.deliver(source, target, NEW)["written"] is False
    assert target.writes == 1


@pytest.mark.parametrize("before", [None, "", "not a key", "schlüssel"])
def test_whatever_the_target_holds_is_replaced(
    source: FakeSecretStore, target: FakeTarget, new: SessionKey, before: str | None
) -> None:
    target.value = before
    delivery.deliver(source, target, NEW)
    assert target.value == new.base64


def test_a_target_that_someone_else_wrote_meanwhile_is_not_overwritten(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey
) -> None:
    target.conflict = True
    with pytest.raises(errors.DeliveryConflict):
        delivery.deliver(source, target, NEW)
    assert target.value == old.base64


def make_immutable(target: FakeTarget) -> None:
    target.immutable = True


def give_an_owner(target: FakeTarget) -> None:
    target.owner = "ExternalSecret session-key"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(make_immutable, "immutable"), (give_an_owner, "belongs to ExternalSecret session-key")],
)
def test_a_target_that_is_not_ours_to_write_is_refused_untouched(
    source: FakeSecretStore, target: FakeTarget, spoil: Callable[[FakeTarget], None], words: str
) -> None:
    spoil(target)
    with pytest.raises(errors.DeliveryRefused, match=words):
        delivery.deliver(source, target, NEW)
    with pytest.raises(errors.DeliveryRefused, match=words):
        delivery.check_ready(target)
    assert target.writes == 0


@pytest.mark.parametrize("spoil", [make_immutable, give_an_owner])
def test_a_target_that_holds_the_key_already_may_be_anyones(
    source: FakeSecretStore,
    target: FakeTarget,
    new: SessionKey,
    spoil: Callable[[FakeTarget], None],
) -> None:
    spoil(target)
    target.value = new.base64
    assert delivery.deliver(source, target, NEW)["written"] is False


def test_a_write_that_does_not_last_is_not_taken_for_a_delivery(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    target.swallows_writes = True
    with pytest.raises(errors.DeliveryNotProven, match="web/session-key"):
        delivery.deliver(source, target, NEW)


def test_a_malformed_promoted_document_is_not_delivered(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    source.documents[NEW] = "{}"
    with pytest.raises(errors.KeyFieldMissing):
        delivery.deliver(source, target, NEW)
    assert target.writes == 0


@pytest.mark.parametrize("previous", ["{}", "not json"])
def test_a_malformed_previous_document_only_costs_its_name(
    source: FakeSecretStore, target: FakeTarget, previous: str
) -> None:
    source.documents[OLD] = previous
    assert delivery.deliver(source, target, NEW)["previousFingerprint"] is None


def test_a_secret_without_a_previous_version_can_be_delivered(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    del source.stages[OLD]
    assert delivery.deliver(source, target, NEW)["previousFingerprint"] is None


def test_readiness_is_proved_by_a_dry_run_with_what_is_there(
    target: FakeTarget, old: SessionKey
) -> None:
    delivery.check_ready(target)
    assert (target.value, target.writes) == (old.base64, 0)
    target.conflict = True
    with pytest.raises(errors.DeliveryConflict):
        delivery.check_ready(target)


def test_no_key_is_in_a_result_or_a_repr(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey, new: SessionKey
) -> None:
    found = target.read()
    shown = f"{delivery.deliver(source, target, NEW)} {found!r} {found} {target.read()!r}"
    for session_key in (old, new):
        assert session_key.base64 not in shown
        assert session_key.raw.hex() not in shown
