"""`keyturn.response`: a finding starts one rotation, however often it comes, and is told."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors, finding, response, settings
from keyturn.finding import Scope, token_of
from keyturn.finding_event import Finding, parse
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeChannel, FakeSecretStore, telling
from tests.project import environment, event

MINUTE = timedelta(minutes=1)


@pytest.fixture
def scope() -> Scope:
    given = environment("respond_to_finding")
    return finding.scope_of(settings.load(settings.RespondToFindingSettings, given))


@pytest.fixture
def store() -> FakeSecretStore:
    return FakeSecretStore({OLD: ["AWSCURRENT"]}, {OLD: "{}"})


@pytest.fixture
def notifier() -> FakeChannel:
    return FakeChannel()


def found(**change: Any) -> Finding:
    return replace(parse(event("respond_to_finding")), **change)


def complete(store: FakeSecretStore, version: str) -> None:
    """Do what the rotation function does: give the pending version a value and promote it."""
    store.documents[version] = "{}"
    store.made[version] = NOON
    current = next(v for v, labels in store.stages.items() if "AWSCURRENT" in labels)
    store.move_current(version, current)
    store.drop_label("AWSPENDING", version)


def test_a_finding_starts_a_rotation_under_its_token_and_is_told(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert store.rotations == [token_of(found())]
    assert (facts["decision"], facts["rotationId"]) == ("rotate", token_of(found()))
    assert (facts["unlabelled"], facts["announced"]) == ([], {"topic": "told"})
    (told,) = notifier.told
    assert told.kind == "Session Key Finding Answered"
    assert len(told.subject) < 100
    assert told.subject.isascii()
    for said in (found().type, found().id, token_of(found()), "every session will end"):
        assert said in told.text
    assert "Overtaken" not in told.text


@pytest.mark.parametrize("seed", range(10))
def test_a_finding_delivered_fifty_times_out_of_order_starts_one_rotation(
    seed: int, store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    """Updates of one finding with older and newer activity, in each account's copy."""
    chance = random.Random(seed)
    deliveries = []
    for number in range(50):
        copied = event("respond_to_finding")
        copied["account"] = chance.choice(["123456789012", "210987654321"])
        copied["detail"]["service"]["count"] = number + 1
        seen = NOON - timedelta(minutes=60 - number)
        copied["detail"]["service"]["eventLastSeen"] = seen.isoformat()
        if number:
            copied["detail"]["updatedAt"] = seen.isoformat()
        deliveries.append(parse(copied))
    chance.shuffle(deliveries)
    promoted_after = chance.randrange(50)
    store.lost_answers = 1
    for number, delivery in enumerate(deliveries):
        if number == promoted_after and store.rotations:
            complete(store, store.rotations[0])
        try:
            response.respond(store, telling(notifier), delivery, scope, NOON)
        except errors.SecretsManagerUnavailable:
            response.respond(store, telling(notifier), delivery, scope, NOON)
    assert store.rotations == [token_of(deliveries[0])]


def test_a_pending_rotation_that_blocks_loses_its_label_and_the_token_stays(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    store.stages[NEW], store.documents[NEW] = ["AWSPENDING"], "{}"
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert store.stages[NEW] == []
    assert store.rotations == [token_of(found())]
    assert facts["unlabelled"] == [NEW]
    assert notifier.told[0].fields["Overtaken"] == f"{NEW}, which was pending"


def test_an_emergency_under_way_is_joined_and_not_told_again(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    token = "emergency-" + NEW
    store.stages[token] = ["AWSPENDING"]
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert (facts["joined"], facts["rotationId"], facts["announced"]) == (True, token, None)
    assert store.rotations == []
    assert store.stages[token] == ["AWSPENDING"]
    assert notifier.told == []


def test_an_emergency_under_way_that_cannot_be_started_again_is_left_to_itself(
    notifier: FakeChannel, scope: Scope
) -> None:
    """AWS does not say what it answers to the token of a rotation that is not over."""

    class Strict(FakeSecretStore):
        def start_rotation(self, token: str) -> bool:
            return False

    token = "emergency-" + NEW
    store = Strict({OLD: ["AWSCURRENT"], token: ["AWSPENDING"]}, {OLD: "{}"})
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert (facts["joined"], facts["rotationId"]) == (True, token)
    assert store.stages[token] == ["AWSPENDING"]


class Crowded(FakeSecretStore):
    """Somebody else starts a rotation whenever a label was taken off."""

    def drop_label(self, label: str, version: str) -> None:
        super().drop_label(label, version)
        number = len(self.stages)
        self.stages[f"{number:036}"] = ["AWSPENDING"]


def test_a_rotation_that_is_blocked_again_and_again_is_tried_later(
    notifier: FakeChannel, scope: Scope
) -> None:
    store = Crowded({OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}, {OLD: "{}"})
    with pytest.raises(errors.SecretsManagerUnavailable, match="refused 3 times"):
        response.respond(store, telling(notifier), found(), scope, NOON)
    assert (store.rotations, notifier.told) == ([], [])


def test_an_emergency_that_comes_first_after_the_label_was_taken_off_is_joined(
    notifier: FakeChannel, scope: Scope
) -> None:
    class Overtaken(FakeSecretStore):
        def drop_label(self, label: str, version: str) -> None:
            super().drop_label(label, version)
            self.stages["emergency-" + OLD] = ["AWSPENDING"]

    store = Overtaken({OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}, {OLD: "{}"})
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert (facts["joined"], facts["rotationId"]) == (True, "emergency-" + OLD)
    assert facts["unlabelled"] == [NEW]
    assert store.stages["emergency-" + OLD] == ["AWSPENDING"]


def test_a_finding_about_others_is_told_with_the_way_to_rotate_and_starts_nothing(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    before = repr(store)
    other = found(clusters=frozenset({"hunter2"}), namespaces=frozenset({"hunter2"}))
    facts = response.respond(store, telling(notifier), other, scope, NOON)
    assert repr(store) == before
    assert (facts["decision"], facts["announced"]) == ("notify", {"topic": "told"})
    (told,) = notifier.told
    assert told.kind == "Session Key Finding Noticed"
    assert f"rotate-secret --secret-id {ARN}" in told.text
    assert "--client-request-token" in told.text
    assert "hunter2" not in f"{told} {facts}"


def test_an_ignored_finding_is_told_to_nobody(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    facts = response.respond(store, telling(notifier), found(archived=True), scope, NOON)
    assert (facts["decision"], facts["announced"]) == ("ignore", None)
    assert (store.rotations, notifier.told) == ([], [])


def test_a_rotation_is_started_where_nobody_can_be_told(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    notifier.down = True
    told = response.respond(store, telling(notifier), found(), scope, NOON)["announced"]
    assert "NotificationFailed" in told["topic"]
    assert len(store.rotations) == 1


def test_a_finding_with_activity_after_its_rotation_starts_another_after_the_cool_down(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    response.respond(store, telling(notifier), found(), scope, NOON)
    complete(store, token_of(found()))
    again = found(last_seen=NOON + MINUTE, is_update=True)
    held = response.respond(store, telling(notifier), again, scope, NOON + 2 * MINUTE)
    assert held["decision"] == "notify"
    response.respond(store, telling(notifier), again, scope, NOON + timedelta(hours=1))
    assert store.rotations == [token_of(again), f"{token_of(again)}-2"]
