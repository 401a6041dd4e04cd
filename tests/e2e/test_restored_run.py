"""Scheduled runs that fail and turn back: every place has the key of before again."""

from dataclasses import replace

import pytest

from keyturn.secret import key
from local.users import can_open_page, log_in_once
from tests.choice import cases
from tests.e2e.failures import (
    FAILURES,
    STEPS,
    assert_failed,
    assert_whole,
    command_of_the_message,
    fail,
    kinds_of_events,
    steps_of,
)
from tests.e2e.outages import CONSOLE
from tests.e2e.site import Ended, Site, Snapshot

# Before any pod has met the key. Pods that cannot start are in a demo, and what comes after that in
# the mode table.
ALWAYS = {"a Secret that is immutable"}


@pytest.mark.parametrize("cause", cases(FAILURES, ALWAYS))
def test_a_scheduled_run_that_fails_is_undone_and_its_command_rotates_after(
    site: Site, cause: str
) -> None:
    failure, before = FAILURES[cause], site.snapshot()
    old_cookie = log_in_once(site.stack.urls[CONSOLE])
    rotation_id, ended = fail(site, failure, turns=True)
    restarted = failure.step != "DeliverKey"
    assert_failed(site, rotation_id, ended, failure)
    assert_restored(site, rotation_id, before, restarted=restarted)
    assert can_open_page(site.stack.urls[CONSOLE], old_cookie) is not restarted
    again = rotate_by_the_command_of_the_message(site, rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert site.current() == again.output["rotationId"]
    assert_whole(site, old_cookie)


def assert_restored(site: Site, rotation_id: str, before: Snapshot, *, restarted: bool) -> None:
    """See that every place has the key of before again."""
    record, previous = site.record(rotation_id), before.current
    assert record["outcome"] == "rolled-back"
    assert (record["failure"] is None, record["rollbackFailure"]) == (False, None)
    back = ["DeliverKey", *(STEPS[2:-1] if restarted else ()), "ValidateRotation"]
    assert steps_of(record, way_back=True) == ["RestorePreviousKey", *back]
    labels = site.stack.labels()
    assert labels[previous] == ["AWSCURRENT"]
    assert "AWSPENDING" not in labels.get(rotation_id, [])
    assert site.keys_in_use() == [site.document(previous)[key.FIELD]] * len(before.pods)
    assert site.delivered() == site.document(previous)[key.FIELD]
    assert (site.snapshot().pods == before.pods) is not restarted
    message = site.mailboxes.messages(rotation_id)[-1]
    assert message["Subject"] == "Session key rotation FAILED, previous key restored"
    stopped = f"The rotation stopped at {record['failure']['step']} and was rolled back"
    assert stopped in message["Message"]
    untouched = "no pod was restarted, and no session ended"
    assert (untouched in message["Message"]) is not restarted
    assert f"AWSCURRENT is the previous version again, {previous}." in message["Message"]
    assert kinds_of_events(site, rotation_id)[-1] == "Session Key Rotation Rolled Back"


def rotate_by_the_command_of_the_message(site: Site, rotation_id: str) -> Ended:
    """Do what the message of a run that was undone says: rotate once more."""
    given = command_of_the_message(site, rotation_id, "secretsmanager rotate-secret")
    assert given["--secret-id"] == site.stack.secret_arn
    token = given["--client-request-token"]
    site.promoted(site.rotate(ClientRequestToken=token))
    return site.end(token)


def test_a_rollback_that_fails_too_is_reported_and_can_be_completed(
    site: Site,
) -> None:
    failure = replace(FAILURES["an image that cannot be pulled"], lasts=True)
    before, old_cookie = site.snapshot(), log_in_once(site.stack.urls[CONSOLE])
    rotation_id, ended = fail(site, failure, turns=True)
    assert_failed(site, rotation_id, ended, failure)
    record = site.record(rotation_id)
    assert record["outcome"] == "failed"
    assert (record["rollbackFailure"]["step"], record["rollbackFailure"]["error"]) == (
        "RestartServices",
        "RolloutFailed",
    )
    assert steps_of(record, way_back=True) == ["RestorePreviousKey", "DeliverKey"]
    message = site.mailboxes.messages(rotation_id)[-1]
    assert message["Subject"] == "Session key rotation FAILED, and the rollback failed"
    assert f"Rollback: RolloutFailed: {record['rollbackFailure']['says']}" in message["Message"]
    assert f"describe-secret --secret-id {site.stack.secret_arn}" in message["Message"]
    assert site.current() == before.current
    assert site.carry(site.current()).output["outcome"] == "succeeded"
    assert_whole(site, old_cookie)
