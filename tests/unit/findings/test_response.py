"""A finding starts one rotation, however often it comes, and is told."""

import contextlib
import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.findings import policy as finding_policy
from keyturn.findings import response
from keyturn.findings.event import Finding, parse_finding
from keyturn.findings.policy import Scope, token_of
from keyturn.rotation import rollback
from keyturn.run.run import Run
from keyturn.secret.exposure import Mark
from keyturn.secret.finding_history import StartedRotation
from keyturn.settings import loading
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeChannel, FakeSecretStore, telling
from tests.ledgers import ledger_until
from tests.project import environment, event

MINUTE = timedelta(minutes=1)


@pytest.fixture
def scope() -> Scope:
    given = environment("respond_to_finding")
    return finding_policy.scope_of(loading.load(loading.RespondToFindingSettings, given))


@pytest.fixture
def store() -> FakeSecretStore:
    return FakeSecretStore({OLD: ["AWSCURRENT"]}, {OLD: "{}"})


@pytest.fixture
def notifier() -> FakeChannel:
    return FakeChannel()


def found(**change: Any) -> Finding:
    return replace(parse_finding(event("respond_to_finding")), **change)


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
        deliveries.append(parse_finding(copied))
    chance.shuffle(deliveries)
    promoted_after = chance.randrange(50)
    store.lost_answers = 1
    for number, delivery in enumerate(deliveries):
        if number == promoted_after and store.rotations:
            complete(store, store.rotations[0])
        for _ in range(2):
            with contextlib.suppress(errors.RetryMe):
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


def waiting(store: FakeSecretStore, notifier: FakeChannel, scope: Scope, at: datetime) -> None:
    """A call that finds an emergency under way: it ends in an error, so that Lambda repeats it."""
    with pytest.raises(errors.RotationPending, match="is pending"):
        response.respond(store, telling(notifier), just_sent(), scope, at)


def just_sent() -> Finding:
    return found(sent=NOON)


def test_an_emergency_under_way_is_joined_and_looked_at_again(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    token = "emergency-" + NEW
    store.stages[token] = ["AWSPENDING"]
    waiting(store, notifier, scope, NOON)
    waiting(store, notifier, scope, NOON + MINUTE)
    assert store.stages[token] == ["AWSPENDING"]
    complete(store, token)
    facts = response.respond(store, telling(notifier), just_sent(), scope, NOON + MINUTE)
    assert (facts["decision"], facts["rotationId"]) == ("ignore", None)
    assert (store.rotations, notifier.told) == ([], [])


def test_an_emergency_that_makes_no_progress_is_overtaken_and_told(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    """It has no value, so nothing tells how old it is but how long the finding has waited."""
    token = "emergency-" + NEW
    store.stages[token] = ["AWSPENDING"]
    waiting(store, notifier, scope, NOON + MINUTE)
    facts = response.respond(store, telling(notifier), just_sent(), scope, NOON + 3 * MINUTE)
    assert store.rotations == [token_of(found())]
    assert (store.stages[token], facts["unlabelled"]) == ([], [token])
    (told,) = notifier.told
    assert told.fields["Overtaken"] == f"{token}, which was pending"


def test_a_rotation_of_another_finding_is_overtaken_after_two_minutes(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    """Also where this event has been waiting for hours: a backlog overtakes nothing that is new."""
    first = found(id="0" * 32)
    response.respond(store, telling(notifier), first, scope, NOON)
    late = found(sent=NOON - timedelta(hours=5))
    with pytest.raises(errors.RotationPending):
        response.respond(store, telling(notifier), late, scope, NOON + MINUTE)
    facts = response.respond(store, telling(notifier), late, scope, NOON + 2 * MINUTE)
    assert facts["unlabelled"] == [token_of(first)]
    assert store.rotations == [token_of(first), token_of(late)]


def test_an_emergency_under_way_that_cannot_be_started_again_is_left_to_itself(
    notifier: FakeChannel, scope: Scope
) -> None:
    """AWS does not say what it answers to the token of a rotation that is not over."""

    class Strict(FakeSecretStore):
        def start_rotation(self, token: str) -> bool:
            return False

    token = "emergency-" + NEW
    store = Strict({OLD: ["AWSCURRENT"], token: ["AWSPENDING"]}, {OLD: "{}"})
    waiting(store, notifier, scope, NOON)
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
    with pytest.raises(errors.SecretsManagerUnavailable, match="refused 4 times"):
        response.respond(store, telling(notifier), found(), scope, NOON)
    assert (store.rotations, notifier.told) == ([], [])


def test_a_rotation_refused_for_good_is_reported_as_such(
    notifier: FakeChannel, scope: Scope
) -> None:
    class NotSetUp(FakeSecretStore):
        def start_rotation(self, token: str) -> bool:
            return False

    store = NotSetUp({OLD: ["AWSCURRENT"]}, {OLD: "{}"})
    with pytest.raises(errors.AwsRefused, match="no pending version is in its way"):
        response.respond(store, telling(notifier), found(), scope, NOON)


def test_an_emergency_that_comes_first_after_the_label_was_taken_off_is_joined(
    notifier: FakeChannel, scope: Scope
) -> None:
    class Overtaken(FakeSecretStore):
        def drop_label(self, label: str, version: str) -> None:
            super().drop_label(label, version)
            self.stages["emergency-" + OLD] = ["AWSPENDING"]

    store = Overtaken({OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}, {OLD: "{}"})
    waiting(store, notifier, scope, NOON)
    assert (store.stages["emergency-" + OLD], store.stages[NEW]) == (["AWSPENDING"], [])


def replaced() -> FakeSecretStore:
    """A scheduled rotation has replaced the key a minute ago, and its run goes on."""
    return FakeSecretStore(
        {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
        {OLD: "{}", NEW: "{}"},
        made={OLD: NOON - timedelta(days=14), NEW: NOON - MINUTE},
    )


def test_a_finding_about_the_key_before_closes_the_way_back_to_it(
    notifier: FakeChannel, scope: Scope
) -> None:
    store = replaced()
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert store.marks() == [Mark(OLD, NOON, "finding")]
    assert store.stages == {OLD: [], NEW: ["AWSCURRENT"]}
    assert (facts["decision"], facts["exposed"], facts["rotationId"]) == ("mark", OLD, None)
    (told,) = notifier.told
    assert told.kind == "Session Key Finding Marked"
    for said in (found().type, found().id, OLD, "no rollback restores it"):
        assert said in told.text
    scheduled = Run(NEW, ARN, "scheduled", OLD)
    with pytest.raises(errors.RollbackRefused, match="marked as exposed"):
        rollback.roll_back(store, scheduled, ledger_until("ValidateRotation"), NOON)
    again = response.respond(store, telling(notifier), found(is_update=True), scope, NOON + MINUTE)
    assert (again["decision"], len(notifier.told)) == ("ignore", 1)


def test_the_label_is_kept_until_the_mark_is_written(notifier: FakeChannel, scope: Scope) -> None:
    store = replaced()
    store.tags_down = True
    with pytest.raises(errors.SecretsManagerUnavailable):
        response.respond(store, telling(notifier), found(), scope, NOON)
    store.tags_down = False
    assert response.respond(store, telling(notifier), found(), scope, NOON)["exposed"] == OLD
    assert len(notifier.told) == 1


def test_a_rollback_during_the_response_is_followed_by_an_emergency(
    notifier: FakeChannel, scope: Scope
) -> None:
    """It had looked at the marks before there was one."""
    store = replaced()

    class Racing(FakeSecretStore):
        def mark_exposed(self, mark: Mark) -> None:
            super().mark_exposed(mark)
            self.move_current(OLD, NEW)

    racing = Racing(store.stages, store.documents, made=store.made)
    facts = response.respond(racing, telling(notifier), found(), scope, NOON)
    assert (facts["decision"], facts["rotationId"]) == ("rotate", token_of(found()))
    assert racing.rotations == [token_of(found())]
    assert [mark.version for mark in racing.marks()] == [OLD]


def test_a_rotation_is_recorded_before_it_is_started(notifier: FakeChannel, scope: Scope) -> None:
    class Watched(FakeSecretStore):
        def start_rotation(self, token: str) -> bool:
            assert token in {one.token for one in self.started_rotations()}
            return super().start_rotation(token)

    store = Watched({OLD: ["AWSCURRENT"]}, {OLD: "{}"})
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert facts["recorded"] is True
    (started,) = store.started_rotations()
    assert started == StartedRotation(token_of(found()), NOON, found().type, found().id)


def test_a_rotation_that_cannot_be_recorded_is_started_all_the_same(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    store.tags_down = True
    facts = response.respond(store, telling(notifier), found(), scope, NOON)
    assert (facts["decision"], facts["recorded"]) == ("rotate", False)
    assert store.rotations == [token_of(found())]


def test_a_message_has_what_people_need_and_a_command_that_pastes_as_it_stands(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    response.respond(store, telling(notifier), found(), scope, NOON)
    response.respond(replaced(), telling(notifier), found(), scope, NOON)
    other = found(clusters=frozenset({"other"}))
    response.respond(store, telling(notifier), other, scope, NOON)
    for told in notifier.told:
        for said in (found().type, found().id, "123456789012", "eu-central-1"):
            assert said in told.text
        assert "<" not in told.command
        assert "--region eu-central-1" in told.command
    rotates, marks, notifies = (told.command.split()[1:3] for told in notifier.told)
    assert rotates == marks == ["guardduty", "get-findings"]
    assert notifies == ["secretsmanager", "rotate-secret"]


def test_a_finding_about_others_is_only_reported(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    before = repr(store)
    other = found(clusters=frozenset({"hunter2"}), namespaces=frozenset({"hunter2"}))
    facts = response.respond(store, telling(notifier), other, scope, NOON)
    assert repr(store) == before
    assert (facts["decision"], facts["announced"]) == ("notify", {"topic": "told"})
    (told,) = notifier.told
    assert told.kind == "Session Key Finding Noticed"
    assert f"rotate-secret --secret-id {ARN} --region eu-central-1" in told.text
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


def test_later_activity_of_a_finding_rotates_again_after_the_cool_down(
    store: FakeSecretStore, notifier: FakeChannel, scope: Scope
) -> None:
    response.respond(store, telling(notifier), found(), scope, NOON)
    complete(store, token_of(found()))
    again = found(last_seen=NOON + MINUTE, is_update=True)
    held = response.respond(store, telling(notifier), again, scope, NOON + 2 * MINUTE)
    assert held["decision"] == "notify"
    response.respond(store, telling(notifier), again, scope, NOON + timedelta(hours=1))
    assert store.rotations == [token_of(again), f"{token_of(again)}-2"]
