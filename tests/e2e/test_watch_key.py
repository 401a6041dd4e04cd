"""What the watch does between two rotations, on the whole stack."""

import uuid
from datetime import timedelta

import pytest

from keyturn.secret import exposure, key
from tests.choice import cases
from tests.e2e.site import Site
from tests.e2e.watch_looks import daily_look, frequent_look


def planned() -> str:
    return f"planned-{uuid.uuid4()}"


def marks(site: Site) -> list[exposure.Mark]:
    client = site.stack.cloud.client("secretsmanager")
    described = client.describe_secret(SecretId=site.stack.secret_arn)
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    return exposure.exposed_versions(tags)


def test_a_key_that_a_hand_has_changed_is_carried_to_the_services_once(site: Site) -> None:
    """Outside the window and without a token, as a bare rotate-secret: an emergency."""
    before = site.current()
    version = site.change_by_hand()
    ended = site.end(version)
    assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "succeeded")
    assert (ended.output["trigger"]["kind"], ended.output["mode"]) == ("watch", "emergency")
    assert site.delivered() == site.document(version)[key.FIELD]
    site.stack.wait(lambda: before not in site.stack.labels(), "the way back is closed")
    assert exposure.find_mark(marks(site), before)
    runs = site.executions()
    assert daily_look(site) == []
    assert site.executions() == runs


def test_a_key_whose_id_says_planned_leaves_the_way_back_open(site: Site) -> None:
    before = site.current()
    version = site.change_by_hand(ClientRequestToken=planned())
    assert site.end(version).output["mode"] == "scheduled"
    assert site.stack.labels()[before] == ["AWSPREVIOUS"]
    assert exposure.find_mark(marks(site), before) is None


def test_an_unusable_value_is_rolled_back_before_any_pod_reads_it(site: Site) -> None:
    before, delivered = site.current(), site.delivered()
    version = site.spoil_by_hand(ClientRequestToken=planned())
    ended = site.end(version)
    assert (ended.status, ended.error) == ("FAILED", "KeyNot32Bytes")
    record = site.stack.record(version)
    assert (record["outcome"], record["failure"]["step"]) == ("rolled-back", "DeliverKey")
    assert (site.current(), site.delivered()) == (before, delivered)
    runs = site.executions()
    assert daily_look(site) == []
    assert site.executions() == runs


@pytest.mark.exhaustive
def test_a_rotation_starts_its_own_run_though_the_watch_sees_its_label_move(site: Site) -> None:
    ended = site.rotate_to_end()
    assert ended.output["trigger"]["kind"] != "watch"
    assert daily_look(site) == []


def test_a_bare_rotation_whose_run_did_not_start_becomes_an_emergency(
    site: Site,
) -> None:
    """Within minutes, and not by the rotation's own retry: of that there may be none."""
    site.interruptions.refuse(
        "finishSecret", "StartExecution", code="AccessDeniedException", times=float("inf")
    )
    before = site.current()
    with site.unwatched():  # the look upon the move would start it after some seconds
        rotation_id = site.rotate(ClientRequestToken=str(uuid.uuid4()))
        site.stack.wait(lambda: site.current() == rotation_id, "the key is promoted")
        assert f"rot-{rotation_id}" not in site.executions()
        assert frequent_look(site) == []  # it is about to start its run itself
        (found,) = frequent_look(site, timedelta(minutes=5))
    assert (found["started"], found["mode"]) == (f"rot-{rotation_id}", "emergency")
    site.interruptions.clear()
    ended = site.end(rotation_id)
    assert (ended.output["mode"], ended.output["outcome"]) == ("emergency", "succeeded")
    assert exposure.find_mark(marks(site), before)
    site.promotion(rotation_id)


def test_a_run_that_was_stopped_is_told_by_the_next_frequent_look(site: Site) -> None:
    version = site.lose_a_run()
    found = [(one["concern"], one["version"]) for one in frequent_look(site)]
    assert ("RUN_LOST", version) in found
    lost = f"rot-{version}"
    site.stack.wait(lambda: bool(site.mailboxes.messages(lost)), "people are told")
    assert "LOST" in site.mailboxes.messages(lost)[-1]["Subject"]
    assert site.carry(version).status == "SUCCEEDED"
    assert frequent_look(site) == []


def test_the_end_of_a_stopped_run_is_reported_without_a_scheduled_look(
    site: Site,
) -> None:
    version = site.lose_a_run()
    site.stack.wait(lambda: "LOST" in _last_subject(site, f"rot-{version}"), "people are told")
    assert site.carry(version).status == "SUCCEEDED"


def _last_subject(site: Site, about: str) -> str:
    return str([{"Subject": ""}, *site.mailboxes.messages(about)][-1]["Subject"])


def test_a_secret_that_is_marked_for_deletion_is_told_with_the_way_out(site: Site) -> None:
    client, arn = site.stack.cloud.client("secretsmanager"), site.stack.secret_arn
    client.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    try:
        site.stack.let_rule_come_due("FrequentWatchRule")
        command = f"aws secretsmanager restore-secret --secret-id {arn}"
        site.stack.wait(lambda: bool(site.mailboxes.messages(command)), "people are told")
        (mail, *_) = site.mailboxes.messages(command)
        assert mail["Subject"].startswith("CRITICAL: ")
    finally:
        client.restore_secret(SecretId=arn)
    assert frequent_look(site) == []


@pytest.mark.parametrize("mode", cases(["scheduled", "emergency"], {"emergency"}))
def test_a_run_on_a_secret_marked_for_deletion_is_retried_once_restored(
    site: Site, mode: str
) -> None:
    client, arn = site.stack.cloud.client("secretsmanager"), site.stack.secret_arn
    site.interruptions.before(
        "DeliverKey",
        "GetSecretValue",
        lambda: client.delete_secret(SecretId=arn, RecoveryWindowInDays=7),
    )
    token = planned() if mode == "scheduled" else f"emergency-{uuid.uuid4()}"
    rotation_id = site.rotate(ClientRequestToken=token)
    site.stack.wait(lambda: f"rot-{rotation_id}" in site.executions(), "the run is started")
    ended = site.end(rotation_id)
    client.restore_secret(SecretId=arn)
    assert (ended.status, ended.error) == ("FAILED", "SecretMarkedForDeletion")
    assert "restore-secret" in ended.cause
    again = site.run_again(rotation_id)
    assert again.output["outcome"] == "succeeded"
    assert site.delivered() == site.document(rotation_id)[key.FIELD]
