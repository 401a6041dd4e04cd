"""The key arrives where the pods read it, proven, and shows itself nowhere."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.delivery import strategy
from keyturn.delivery.kubernetes_secret import KubernetesSecretDelivery, SecretContent
from keyturn.delivery.strategy import NoDelivery, PromotedKey
from keyturn.run.ledger import Ledger
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from keyturn.secret import key
from keyturn.secret.exposure import Mark
from keyturn.secret.key import SessionKey
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeSecretStore, FakeTarget


def document_of(session_key: SessionKey) -> str:
    return json.dumps({key.FIELD: session_key.base64})


@pytest.fixture
def old() -> SessionKey:
    return key.generate_key()


@pytest.fixture
def new() -> SessionKey:
    return key.generate_key()


@pytest.fixture
def source(old: SessionKey, new: SessionKey) -> FakeSecretStore:
    return FakeSecretStore(
        {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
        {OLD: document_of(old), NEW: document_of(new)},
    )


@pytest.fixture
def target(old: SessionKey) -> FakeTarget:
    return FakeTarget(value=old.base64)


DELIVERED: Ledger = {"deliver_key": {}}
LEDGER = Run(NEW, ARN, "scheduled", OLD).as_ledger()


def deliver(source: FakeSecretStore, target: FakeTarget) -> Any:
    """What one call returns in mode `kubernetes-secret`."""
    return strategy.deliver(source, KubernetesSecretDelivery(target), NEW, LEDGER, NOON)


def test_the_promoted_key_is_written_and_both_keys_are_named(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey, new: SessionKey
) -> None:
    assert deliver(source, target) == {
        "state": "done",
        "target": "Kubernetes Secret web/session-key",
        "written": True,
        "delivery": "2",
        "fingerprint": new.fingerprint,
        "previousFingerprint": old.fingerprint,
        "startedAt": format_timestamp(NOON),
    }
    assert target.value == new.base64


@pytest.mark.parametrize("by", ["its version", "its key, under another version"])
def test_an_exposed_key_is_delivered_nowhere(
    by: str, source: FakeSecretStore, target: FakeTarget, new: SessionKey
) -> None:
    marked = {
        "its version": Mark(NEW, NOON, "finding"),
        "its key, under another version": Mark("9" * 36, NOON, "emergency", new.fingerprint),
    }
    source.mark_exposed(marked[by])
    with pytest.raises(errors.KeyExposed, match=f"{NEW} is marked as exposed") as told:
        deliver(source, target)
    with pytest.raises(errors.KeyExposed):
        strategy.confirm_delivery(source, KubernetesSecretDelivery(target), NEW, DELIVERED)
    assert (target.writes, new.base64 in str(told.value)) == (0, False)


def test_a_run_that_an_emergency_has_overtaken_is_superseded(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    source.mark_exposed(Mark(NEW, NOON, "emergency"))
    source.stages = {OLD: [], NEW: [], "emergency": ["AWSCURRENT"]}
    with pytest.raises(errors.Superseded):
        deliver(source, target)


def test_a_mark_of_the_key_before_stops_no_delivery(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey
) -> None:
    source.mark_exposed(Mark(OLD, NOON, "emergency", old.fingerprint))
    assert deliver(source, target)["written"] is True


def test_delivering_twice_writes_once(source: FakeSecretStore, target: FakeTarget) -> None:
    deliver(source, target)
    assert deliver(source, target)["written"] is False
    assert target.writes == 1


def test_the_name_of_a_delivery_changes_with_every_write(
    source: FakeSecretStore, target: FakeTarget, new: SessionKey
) -> None:
    first, again = (deliver(source, target)["delivery"] for _ in range(2))
    target.value, target.version = "another", target.version + 1
    target.value, target.version = new.base64, target.version + 1
    healed = deliver(source, target)
    assert first == again != healed["delivery"]
    assert healed["written"] is False


def confirm(source: FakeSecretStore, target: FakeTarget) -> Any:
    """Look again after the restarts."""
    ledger: Ledger = {"deliver_key": {"target": target.name}}
    return strategy.confirm_delivery(source, KubernetesSecretDelivery(target), NEW, ledger)


def test_a_key_that_is_still_there_after_the_restarts_is_confirmed(
    source: FakeSecretStore, target: FakeTarget, new: SessionKey
) -> None:
    deliver(source, target)
    target.version += 1  # the same value was written again
    told = {"target": target.name, "fingerprint": new.fingerprint}
    assert confirm(source, target) == told


@pytest.mark.parametrize("value", [None, "", "another"])
def test_a_key_that_was_written_over_meanwhile_is_named_and_left_as_it_is(
    source: FakeSecretStore, target: FakeTarget, value: str | None
) -> None:
    deliver(source, target)
    target.value = value
    with pytest.raises(
        errors.DeliveryOverwritten, match="web/session-key no longer holds the new key"
    ):
        confirm(source, target)
    assert (target.value, target.writes) == (value, 1)


def test_where_nothing_is_delivered_nothing_can_be_written_over(
    source: FakeSecretStore, new: SessionKey
) -> None:
    target = "Secrets Manager, read by the pods"
    ledger: Ledger = {"deliver_key": {"target": target}}
    confirmed = strategy.confirm_delivery(source, NoDelivery(), NEW, ledger)
    assert confirmed == {"target": target, "fingerprint": new.fingerprint}


@pytest.mark.parametrize("before", [None, "", "not a key", "schlüssel"])
def test_whatever_the_target_holds_is_replaced(
    source: FakeSecretStore, target: FakeTarget, new: SessionKey, before: str | None
) -> None:
    target.value = before
    deliver(source, target)
    assert target.value == new.base64


def test_a_target_that_someone_else_wrote_meanwhile_is_not_overwritten(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey
) -> None:
    target.conflict = True
    with pytest.raises(errors.DeliveryConflict):
        deliver(source, target)
    assert target.value == old.base64


def make_immutable(target: FakeTarget) -> None:
    target.immutable = True


def give_an_owner(target: FakeTarget) -> None:
    target.owner = "ExternalSecret session-key"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (make_immutable, "immutable"),
        (give_an_owner, "belongs to ExternalSecret session-key"),
        (give_an_owner, "Use DeliveryMode external-secrets"),
    ],
)
def test_a_target_that_is_not_ours_to_write_is_refused_untouched(
    source: FakeSecretStore, target: FakeTarget, spoil: Callable[[FakeTarget], None], words: str
) -> None:
    spoil(target)
    with pytest.raises(errors.DeliveryRefused, match=words):
        deliver(source, target)
    with pytest.raises(errors.DeliveryRefused, match=words):
        KubernetesSecretDelivery(target).check_ready()
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
    assert deliver(source, target)["written"] is False


def test_a_write_that_does_not_last_is_not_taken_for_a_delivery(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    target.swallows_writes = True
    with pytest.raises(errors.DeliveryNotProven, match="web/session-key"):
        deliver(source, target)


def test_a_delayed_run_does_not_overwrite_a_later_delivery(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    later = key.generate_key().base64
    source.move_current(OLD, NEW)
    target.value = later
    with pytest.raises(errors.Superseded):
        deliver(source, target)
    assert (target.value, target.writes) == (later, 0)


def test_a_malformed_promoted_document_is_not_delivered(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    source.documents[NEW] = "{}"
    with pytest.raises(errors.KeyFieldMissing):
        deliver(source, target)
    assert target.writes == 0


@pytest.mark.parametrize("previous", ["{}", "not json"])
def test_a_malformed_previous_document_only_costs_its_name(
    source: FakeSecretStore, target: FakeTarget, previous: str
) -> None:
    source.documents[OLD] = previous
    assert deliver(source, target)["previousFingerprint"] is None


def test_a_secret_without_a_previous_version_can_be_delivered(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    del source.documents[OLD]
    assert deliver(source, target)["previousFingerprint"] is None


def test_readiness_is_proved_by_a_dry_run_with_what_is_there(
    target: FakeTarget, old: SessionKey
) -> None:
    KubernetesSecretDelivery(target).check_ready()
    assert (target.value, target.writes) == (old.base64, 0)
    target.conflict = True
    with pytest.raises(errors.DeliveryConflict):
        KubernetesSecretDelivery(target).check_ready()


def test_no_key_is_in_a_result_or_a_repr(
    source: FakeSecretStore, target: FakeTarget, old: SessionKey, new: SessionKey
) -> None:
    found = target.read()
    shown = f"{deliver(source, target)} {found!r} {found} {target.read()!r}"
    for session_key in (old, new):
        assert session_key.base64 not in shown
        assert session_key.raw.hex() not in shown


@given(st.none() | st.text(max_size=60))
def test_only_the_promoted_key_is_taken_for_it(other: str | None) -> None:
    promoted = key.generate_key()
    assert SecretContent(promoted.base64, "1").contains(promoted)
    assert not SecretContent(other, "1").contains(promoted)
    for near in (promoted.base64[:-1], f"{promoted.base64}\n", promoted.base64.swapcase()):
        assert not SecretContent(near, "1").contains(promoted)


def test_where_the_pods_read_secrets_manager_nothing_is_delivered(
    source: FakeSecretStore, old: SessionKey, new: SessionKey
) -> None:
    delivery = NoDelivery()
    delivery.check_ready()
    assert strategy.deliver(source, delivery, NEW, LEDGER, NOON) == {
        "state": "done",
        "target": "Secrets Manager, read by the pods",
        "written": False,
        "delivery": NEW,
        "fingerprint": new.fingerprint,
        "previousFingerprint": old.fingerprint,
        "startedAt": format_timestamp(NOON),
    }


def test_also_where_nothing_is_delivered_a_malformed_document_is_refused(
    source: FakeSecretStore,
) -> None:
    source.documents[NEW] = "{}"
    with pytest.raises(errors.KeyFieldMissing):
        strategy.deliver(source, NoDelivery(), NEW, {}, NOON)


class SlowWay:
    """A way that is done when it is called for the third time, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Mapping[str, Any], datetime]] = []

    def check_ready(self) -> None:
        """Ready."""

    def deliver(self, promoted: PromotedKey, last: Any, at: datetime) -> Any:
        assert promoted.version == NEW
        self.told.append((last, at))
        return {"state": "done" if len(self.told) == 3 else "waiting", "calls": len(self.told)}

    def contains(self, promoted: PromotedKey) -> bool:
        raise NotImplementedError

    def locations(self) -> list[strategy.KeyLocation]:
        raise NotImplementedError


def test_a_delivery_that_waits_gets_its_own_progress_back(
    source: FakeSecretStore,
) -> None:
    delivery = SlowWay()
    ledger: Any = {**LEDGER}
    for second in (0, 5, 12):
        at = NOON + timedelta(seconds=second)
        ledger = {**LEDGER, "deliver_key": strategy.deliver(source, delivery, NEW, ledger, at)}
    calls = [last.get("calls") for last, _ in delivery.told]
    assert calls == [None, 1, 2]
    entry = ledger["deliver_key"]
    assert (entry["state"], entry["startedAt"]) == ("done", format_timestamp(NOON))
    assert entry["seconds"] == 12.0


def test_a_delivery_of_one_call_leaves_its_length_to_the_step(
    source: FakeSecretStore, target: FakeTarget
) -> None:
    assert "seconds" not in deliver(source, target)


def test_a_delivery_that_was_done_is_begun_anew_and_not_gone_on_with(
    source: FakeSecretStore,
) -> None:
    delivery = SlowWay()
    before: Any = {
        "deliver_key": {"state": "done", "startedAt": format_timestamp(NOON), "calls": 9}
    }
    later = NOON + timedelta(hours=1)
    entry = strategy.deliver(source, delivery, NEW, before, later)
    assert delivery.told == [({}, later)]
    assert entry["startedAt"] == format_timestamp(later)
