"""A GuardDuty finding on the bus: one emergency rotation, or none and a message."""

import random
from datetime import timedelta

import pytest

from local import async_invocation
from tests.e2e import findings
from tests.e2e.site import Site

DELIVERIES = 50


def test_a_finding_delivered_fifty_times_out_of_order_from_both_accounts_rotates_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_invocation, "THROTTLED_RETRY_SECONDS", 0.05)
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
    assert sum(bool(answer["announced"]) for answer in answers) == 1
    site.promoted(started)
    ended = site.end(started)
    assert ended.status == "SUCCEEDED"
    assert site.current() == started
    assert len(site.mailboxes.messages(started)) >= 1
    assert site.executions().count(f"rot-{started}") == 1


def test_a_finding_overtakes_a_rotation_that_is_stuck(site: Site) -> None:
    blocking, answer = findings.overtake(site)
    assert answer["unlabelled"] == [blocking]
    assert site.current() == answer["rotationId"]
    assert f"rot-{blocking}" not in site.executions()
    assert site.promotion(blocking).outcome == "abandoned"
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


def test_a_lost_answer_after_the_label_was_taken_off_and_a_second_delivery_end_in_one(
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
