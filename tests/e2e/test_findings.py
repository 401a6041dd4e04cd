"""A GuardDuty finding on the bus: one emergency rotation, or none and a message."""

import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.secret import key
from local import async_invocation
from tests.e2e import findings, outages
from tests.e2e.site import Site, running_site

ANSWERED_AT_ONCE = 5  # the function's reserved concurrency
DELIVERIES = 50
GIVEN_UP = {"abandoned", "failed"}  # a try that was under way ends as a failure


def test_a_finding_delivered_fifty_times_from_two_accounts_rotates_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_invocation, "THROTTLED_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(site.stack.functions, "_async_retry_seconds", (5.0, 20.0))
    before = set(findings.rotations(site))
    first = findings.finding(ago=timedelta(seconds=DELIVERIES))
    copies = []
    for number in range(DELIVERIES):
        copied = {**first, "detail": dict(first["detail"])}
        copied["account"] = ("123456789012", "210987654321")[number % 2]
        updated = findings.finding(ago=timedelta(seconds=DELIVERIES - number))["detail"]["service"]
        copied["detail"]["service"] = {**updated, "count": number + 1}
        copies.append(copied)
    random.Random(5).shuffle(copies)
    for copied in copies:
        site.stack.cloud.event_bus.send(copied)
    answers = findings.answered(site, first, DELIVERIES)
    (started,) = set(findings.rotations(site)) - before
    assert {answer["rotationId"] for answer in answers} <= {started, None}
    # Deliveries that are answered at the same moment start the same rotation, and each says so.
    assert 1 <= sum(bool(answer["announced"]) for answer in answers) <= ANSWERED_AT_ONCE
    site.promoted(started)
    ended = site.end(started)
    assert ended.status == "SUCCEEDED"
    assert site.current() == started
    assert len(site.mailboxes.messages(started)) >= 1
    assert site.executions().count(f"rot-{started}") == 1


def test_a_finding_about_the_replaced_key_leaves_a_run_that_fails_no_way_back(site: Site) -> None:
    previous, found = site.current(), findings.finding()

    def happen() -> None:
        found.update(findings.about_the_key_before(site))
        findings.put(site, found)

    def wait() -> None:
        findings.answered(site, found)

    site.interruptions.before("PurgeSessions", "DescribeSecret", happen)
    site.interruptions.before("RestorePreviousKey", "DescribeSecret", wait)
    with outages.during(site, "ValidateRotation", "DescribeSecret", outages.login_broken):
        rotation_id = site.rotate(ClientRequestToken=f"planned-{uuid.uuid4()}")
        site.promoted(rotation_id)
        ended = site.end(rotation_id)
    assert ended.status == "FAILED"
    record = site.record(rotation_id)
    assert record["failure"]["error"] == "LoginBroken"
    assert record["rollbackFailure"]["error"] == "RollbackRefused"
    assert site.current() == rotation_id
    assert site.delivered() == site.document(rotation_id)[key.FIELD]
    assert "AWSPREVIOUS" not in itertools.chain(*site.stack.labels().values())
    assert [(mark.version, mark.reason) for mark in site.marks()][-1] == (previous, "finding")
    (told,) = site.mailboxes.messages(found["detail"]["id"])
    assert told["Subject"] == "Session key: a GuardDuty finding about the key that was replaced"
    assert site.run_again(rotation_id).output["outcome"] == "succeeded"


def test_an_emergency_that_never_gets_a_value_is_waited_for_and_then_overtaken(site: Site) -> None:
    site.interruptions.refuse("createSecret", "PutSecretValue", times=float("inf"))
    stuck = site.rotate(ClientRequestToken=f"emergency-{uuid.uuid4()}")
    site.stack.wait(lambda: bool(site.report(stuck).retry_at), "an emergency is stuck")
    joins = findings.finding()
    findings.put(site, joins)
    site.stack.wait(lambda: waits_for(site, stuck), "a finding waits for the emergency")
    assert "AWSPENDING" in site.stack.labels()[stuck]
    found = findings.finding()
    findings.put(site, found, sent=datetime.now(UTC) - timedelta(minutes=2))
    (answer,) = findings.answered(site, found)
    assert (answer["decision"], answer["unlabelled"]) == ("rotate", [stuck])
    site.interruptions.clear()
    site.promoted(answer["rotationId"])
    assert site.end(answer["rotationId"]).status == "SUCCEEDED"
    assert site.promotion(stuck).outcome in GIVEN_UP
    assert site.mailboxes.messages(f"Overtaken: {stuck}, which was pending")


def waits_for(site: Site, rotation_id: str) -> bool:
    """Whether a finding has ended in the error that has it looked at again."""
    waiting = f"The emergency rotation {rotation_id} is pending"
    return any("RotationPending" in line and waiting in line for line in site.log)


@pytest.mark.exhaustive
def test_rotations_by_hand_under_findings_tokens_hold_no_finding_back() -> None:
    """With the limits as they are deployed: three a day, and an hour between two."""
    limits = {"FindingLimits": "60,3"}
    with running_site(parameters=limits) as site:
        by_hand = [f"{findings.FINDING_TOKEN}{uuid.uuid4().hex}" for _ in range(3)]
        for token in by_hand:
            site.promoted(site.rotate(ClientRequestToken=token))
        found, later = findings.finding(), findings.finding()
        findings.put(site, found)
        (answer,) = findings.answered(site, found)
        assert answer["decision"] == "rotate"
        site.promoted(answer["rotationId"])
        assert site.end(answer["rotationId"]).status == "SUCCEEDED"
        trigger = site.record(answer["rotationId"])["trigger"]
        detail = found["detail"]
        assert trigger["kind"] == "finding"
        assert trigger["finding"] == f"{detail['type']} {detail['id']}"
        assert findings.started(site) == {answer["rotationId"]}
        assert {mark.version for mark in site.marks()} >= {*by_hand}
        later["detail"]["service"]["eventLastSeen"] = datetime.now(UTC).isoformat()
        findings.put(site, later)
        (held,) = findings.answered(site, later)
        assert held["decision"] == "notify"
        assert "FindingLimits" in held["reason"]


def test_a_finding_overtakes_a_rotation_that_is_stuck(site: Site) -> None:
    blocking, answer = findings.overtake(site)
    assert answer["unlabelled"] == [blocking]
    assert site.current() == answer["rotationId"]
    assert f"rot-{blocking}" not in site.executions()
    assert site.promotion(blocking).outcome in GIVEN_UP
    (told,) = site.mailboxes.messages(f"Overtaken: {blocking}, which was pending")
    assert told["Subject"] == "Session key: emergency rotation after a GuardDuty finding"


def test_a_lost_answer_of_the_rotation_and_a_second_delivery_end_in_one(site: Site) -> None:
    before = set(findings.rotations(site))
    found = findings.finding()
    site.interruptions.kill("RespondToFinding", "RotateSecret")
    findings.put(site, found)
    site.stack.wait(lambda: set(findings.rotations(site)) > before, "the rotation is started")
    assert findings.answers(site, found) == []
    see_it_once(site, found, before)


@pytest.mark.exhaustive
def test_a_lost_answer_and_a_second_delivery_lead_to_one_rotation(
    site: Site,
) -> None:
    before = set(findings.rotations(site))
    found = findings.finding()
    site.interruptions.refuse("createSecret", "PutSecretValue", times=float("inf"))
    blocking = site.rotate()
    site.stack.wait(lambda: bool(site.report(blocking).retry_at), "a rotation is stuck")
    site.interruptions.kill("RespondToFinding", "UpdateSecretVersionStage")
    findings.put(site, found)
    site.stack.wait(lambda: blocking not in site.stack.labels(), "the label is taken off")
    assert findings.answers(site, found) == []
    site.interruptions.clear()
    see_it_once(site, found, before)


def see_it_once(site: Site, found: findings.Event, before: set[str]) -> None:
    """Deliver a finding again, and see the one rotation that it has started end well."""
    findings.put(site, found)
    findings.answered(site, found)
    (started,) = set(findings.rotations(site)) - before
    site.promoted(started)
    assert site.end(started).status == "SUCCEEDED"
    assert site.current() == started


def test_findings_about_others_samples_and_archived_ones_rotate_nothing(site: Site) -> None:
    before = site.snapshot()
    other = findings.finding(cluster="somebody-elses")
    archived, sample = findings.finding(), findings.finding()
    archived["detail"]["service"]["archived"] = True
    sample["detail"]["service"]["additionalInfo"] = {"sample": True}
    for found in (archived, sample, other):
        findings.put(site, found)
    (told,) = findings.answered(site, other)
    (ignored,) = findings.answered(site, sample)
    assert told["decision"] == "notify"
    assert set(told["announced"].values()) == {"told"}
    assert ignored["decision"] == "ignore"
    assert findings.answers(site, archived) == []
    assert len(site.mailboxes.messages(other["detail"]["id"])) == 1
    assert site.mailboxes.messages(sample["detail"]["id"]) == []
    assert [event["detail-type"] for event in site.mailboxes.events(other["detail"]["id"])] == [
        "Session Key Finding Noticed"
    ]
    assert site.snapshot() == before
