"""Runs that fail and do not turn back: the message says what is so, and its command completes them.

A scheduled run of which only the purge has failed, since every service runs the new key and users
log in; and every emergency.
"""

import contextlib
import json
from collections.abc import Iterator

import pytest

from keyturn.secret import key
from local import console
from local.state_machines import locate
from local.users import log_in_once
from tests.choice import cases
from tests.e2e import outages
from tests.e2e.failures import (
    FAILURES,
    PURGE_FAILURES,
    assert_failed,
    assert_whole,
    command_of_the_message,
    emergency_token,
    fail,
    kinds_of_events,
)
from tests.e2e.interruptions import NOT_AWS
from tests.e2e.outages import CONSOLE
from tests.e2e.site import Ended, Site

EMERGENCIES = ("an image that cannot be pulled", "a key that is written over", "a broken login")


@pytest.mark.parametrize("cause", cases(PURGE_FAILURES, {"Redis that refuses"}))
def test_a_failed_purge_leaves_the_new_key_and_its_command_completes_it(
    site: Site, cause: str
) -> None:
    failure, old_cookie = PURGE_FAILURES[cause], log_in_once(site.stack.urls[CONSOLE])
    rotation_id, ended = fail(site, failure, turns=False)
    assert_failed(site, rotation_id, ended, failure)
    record, message = site.record(rotation_id), site.mailboxes.messages(rotation_id)[-1]
    assert (record["outcome"], record["rollback"]) == ("failed", None)
    assert message["Subject"] == "Session key rotation FAILED"
    assert f"AWSCURRENT is the new version, {rotation_id}." in message["Message"]
    assert f"The old one is {record['versions']['previous']}." in message["Message"]
    assert kinds_of_events(site, rotation_id)[-1] == "Session Key Rotation Failed"
    assert_completed_by_its_command(site, rotation_id, old_cookie)


@pytest.mark.parametrize("cause", cases(EMERGENCIES, {"a broken login"}))
def test_a_failed_emergency_keeps_the_new_key_until_it_is_completed(site: Site, cause: str) -> None:
    failure, previous = FAILURES[cause], site.current()
    old_cookie = log_in_once(site.stack.urls[CONSOLE])
    rotation_id, ended = fail(site, failure, turns=False, **emergency_token())
    assert_failed(site, rotation_id, ended, failure)
    record, message = site.record(rotation_id), site.mailboxes.messages(rotation_id)[-1]
    assert (record["mode"], record["outcome"], record["rollback"]) == ("emergency", "failed", None)
    assert message["Subject"] == "Session key rotation FAILED IN AN EMERGENCY"
    assert "The new session key stays" in message["Message"]
    assert site.current() == rotation_id
    assert previous not in site.stack.labels()
    assert f"session:{old_cookie}".encode() not in site.sessions()
    assert_completed_by_its_command(site, rotation_id, old_cookie)


def assert_completed_by_its_command(site: Site, rotation_id: str, old_cookie: str) -> None:
    """Do what the message of a failed run says, and see the run through."""
    again = run_command_of_the_message(site, rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert again.output["mode"] == site.record(rotation_id)["mode"]
    assert site.current() == rotation_id
    assert_whole(site, old_cookie)


def run_command_of_the_message(site: Site, rotation_id: str) -> Ended:
    """Do what the message says: start the execution with its name and its input."""
    given = command_of_the_message(site, rotation_id, "stepfunctions start-execution")
    site.stack.cloud.client("stepfunctions").start_execution(
        stateMachineArn=given["--state-machine-arn"], name=given["--name"], input=given["--input"]
    )
    return site.end(rotation_id, suffix=given["--name"].removeprefix(f"rot-{rotation_id}"))


@pytest.mark.exhaustive
def test_the_command_of_the_message_may_be_given_until_the_cause_is_mended(site: Site) -> None:
    failure = FAILURES["pods that crash"]
    with failure.happening(site, turns=False):
        rotation_id = site.rotate(**emergency_token())
        assert site.promotion(rotation_id).outcome == "succeeded"
        assert site.end(rotation_id).error == failure.error
        too_early = run_command_of_the_message(site, rotation_id)
        assert (too_early.status, too_early.error) == ("FAILED", failure.error)
    mended = run_command_of_the_message(site, rotation_id)
    assert mended.output["outcome"] == "succeeded", mended
    assert len([name for name in site.executions() if rotation_id in name]) == 3


@pytest.mark.parametrize(
    "put_back", cases([False, True], {True}), ids=["stays", "put back by hand"]
)
def test_the_command_of_the_message_replaces_pods_with_another_key(
    site: Site, put_back: bool
) -> None:
    failure = FAILURES["a key that is written over"]
    rotation_id, ended = fail(site, failure, turns=False, **emergency_token())
    promoted, pods = site.document(rotation_id)[key.FIELD], sum(console.REPLICAS.values())
    assert ended.error == "DeliveryOverwritten"
    wrong = site.keys_in_use()
    assert wrong == [site.delivered()] * pods
    assert wrong[0] != promoted
    site.add_sessions(3)
    if put_back:
        site.write_over_key(promoted)
    again = run_command_of_the_message(site, rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert again.output["delivery"]["written"] is not put_back
    assert site.keys_in_use() == [promoted] * pods
    assert site.sessions() == frozenset()


@pytest.mark.exhaustive
def test_a_retried_run_restarts_nothing_if_the_key_was_not_overwritten(
    site: Site,
) -> None:
    rotation_id = site.rotate_to_end().output["rotationId"]
    before = site.snapshot()
    again = site.run_again(rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert again.output["delivery"]["written"] is False
    assert site.snapshot() == before


def someone_puts(value: str) -> outages.Outage:
    """A person stores another current value."""

    @contextlib.contextmanager
    def outage(site: Site) -> Iterator[None]:
        site.put_value(value)
        yield

    return outage


@pytest.mark.exhaustive
def test_a_run_that_is_overtaken_ends_at_once_and_touches_nothing_more(site: Site) -> None:
    site.add_sessions(3)
    newer = json.dumps({**site.document(), key.FIELD: key.generate_key().base64})
    with outages.during(site, "CheckRollout", "DescribeSecret", someone_puts(newer)):
        ended = site.rotate_to_end()
    rotation_id = ended.output["rotationId"]
    assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "superseded")
    assert ended.output["failure"]["error"] == "Superseded"
    assert len(site.sessions()) == 3
    assert "PurgeSessions" not in {event.state for event in locate(site.history(rotation_id))}
    subjects = [mail["Subject"] for mail in site.mailboxes.messages(rotation_id)]
    assert subjects[-1] == "Session key rotation was overtaken by another"
    assert site.rotate_to_end().output["outcome"] == "succeeded"


def test_a_record_that_cannot_be_kept_fails_the_run(site: Site) -> None:
    site.interruptions.refuse(
        "FinishRotation", "PutObject", code="NoSuchBucket", times=float("inf")
    )
    rotation_id = site.rotate()
    site.promotion(rotation_id)
    ended = site.end(rotation_id)
    site.interruptions.clear()
    assert (ended.status, ended.error) == ("FAILED", "AwsResourceNotFound")
    again = site.run_again(rotation_id)
    assert (again.output["outcome"], site.record_of(again)["outcome"]) == ("succeeded",) * 2


def test_people_who_cannot_be_told_do_not_stop_a_rotation(site: Site) -> None:
    for function, code in {"BeginRotation": "InternalError", "FinishRotation": NOT_AWS}.items():
        site.interruptions.refuse(function, "Publish", code=code, times=float("inf"))
    ended = site.rotate_to_end()
    assert ended.output["outcome"] == "succeeded"
    assert ended.output["announced"]["topic"].startswith("NotificationFailed: sns:Publish")
    assert ended.output["announced"]["bus"] == "told"
    kinds = [event["detail-type"] for event in site.mailboxes.events(ended.output["rotationId"])]
    assert kinds == ["Session Key Rotation Started", "Session Key Rotation Succeeded"]
