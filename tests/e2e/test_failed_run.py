"""Runs that fail after the promotion: the message says what is so, and its command completes them.

Each thing breaks while the run is on its way, so that no check beforehand could have seen it.
"""

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from keyturn import key
from local import console
from local.state_machines import locate
from local.users import can_open_page, log_in_once
from tests.e2e import outages
from tests.e2e.interruptions import NOT_AWS
from tests.e2e.outages import AUTH, CONSOLE
from tests.e2e.site import Ended, Site


@contextlib.contextmanager
def image_that_cannot_be_pulled(site: Site) -> Iterator[None]:
    """A colleague deploys an image that does not exist."""
    site.patch_container(CONSOLE, {"image": "keyturn.local/web-console:missing"})
    try:
        yield
    finally:
        site.patch_container(CONSOLE, {"image": console.IMAGES[CONSOLE]})


@contextlib.contextmanager
def pods_that_crash(site: Site) -> Iterator[None]:
    """A colleague deploys a command that ends at once."""
    site.patch_container(AUTH, {"command": ["python", "-c", "raise SystemExit(1)"]})
    try:
        yield
    finally:
        site.patch_container(AUTH, {"command": ["python", "-m", console.MODULES[AUTH]]})


@contextlib.contextmanager
def somebody_else_restarts(site: Site) -> Iterator[None]:
    """An operator takes our stamp off the pod template."""
    stamp = {"keyturn/session-key-version": None}
    site.patch(AUTH, {"template": {"metadata": {"annotations": stamp}}})
    yield


@contextlib.contextmanager
def another_key_is_written(site: Site) -> Iterator[None]:
    """Another tool writes a key of its own over the delivered one, once."""
    site.write_over_key(key.generate().base64)
    yield


# What breaks, during which call of which function, the step that stops, and its error.
FAILURES: dict[str, tuple[outages.Outage, tuple[str, str], str, str]] = {
    "an image that cannot be pulled": (
        image_that_cannot_be_pulled,
        ("BeginRotation", "PutEvents"),
        "RestartServices",
        "RolloutFailed",
    ),
    "pods that crash": (
        pods_that_crash,
        ("BeginRotation", "PutEvents"),
        "RestartServices",
        "RolloutFailed",
    ),
    "a stamp that is taken off": (
        somebody_else_restarts,
        ("CheckRollout", "DescribeSecret"),
        "RestartServices",
        "RestartOverwritten",
    ),
    "a key that is written over": (
        another_key_is_written,
        ("RestartService", "DescribeSecret"),
        "ConfirmDelivery",
        "DeliveryOverwritten",
    ),
    "Redis down": (
        outages.redis_down,
        ("PurgeSessions", "DescribeSecret"),
        "PurgeSessions",
        "SessionStoreUnavailable",
    ),
    "Redis that refuses": (
        outages.redis_refuses_scripts,
        ("PurgeSessions", "DescribeSecret"),
        "PurgeSessions",
        "SessionStoreRefused",
    ),
    "a broken login": (
        outages.login_broken,
        ("ValidateRotation", "DescribeSecret"),
        "ValidateRotation",
        "LoginBroken",
    ),
}
STEPS = ["BeginRotation", "DeliverKey", "RestartServices", "ConfirmDelivery"]
STEPS += ["PurgeSessions", "ValidateRotation"]


@pytest.mark.parametrize("cause", FAILURES)
def test_a_run_fails_loudly_and_its_command_completes_it_after(site: Site, cause: str) -> None:
    outage, (function, call), step, error = FAILURES[cause]
    old_cookie = log_in_once(site.stack.urls[CONSOLE])
    with outages.during(site, function, call, outage):
        rotation_id = site.rotate()
        assert site.promotion(rotation_id).outcome == "succeeded"
        ended = site.end(rotation_id)
    assert site.interruptions.clear() == []
    assert_failed(site, rotation_id, ended, step, error)
    again = run_command_of_the_message(site, rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert site.delivered() == site.document(rotation_id)[key.FIELD]
    assert not can_open_page(site.stack.urls[CONSOLE], old_cookie)


def assert_failed(site: Site, rotation_id: str, ended: Ended, step: str, error: str) -> None:
    assert (ended.status, ended.error) == ("FAILED", error)
    record = site.record(rotation_id)
    assert record["outcome"] == "failed"
    assert (record["failure"]["step"], record["failure"]["error"]) == (step, error)
    assert record["failure"]["says"] in json.loads(ended.cause)["errorMessage"]
    done = [one["name"] for one in record["steps"]]
    assert done == STEPS[: STEPS.index(step)]
    message = message_of(site, rotation_id)
    assert message["Subject"] == "Session key rotation FAILED"
    for said in (
        f"The rotation stopped at {step}.",
        f"Error:    {error}: {record['failure']['says']}",
        f"Done:     {', '.join(done)}\n",
        f"AWSCURRENT is the new version, {rotation_id}.",
        f"The old one is {record['versions']['previous']}.",
    ):
        assert said in message["Message"]
    assert site.current() == rotation_id
    kinds = [event["detail-type"] for event in site.mailboxes.events(rotation_id)]
    assert kinds == ["Session Key Rotation Started", "Session Key Rotation Failed"]


def message_of(site: Site, rotation_id: str) -> dict[str, Any]:
    """The last message about a run."""
    return site.mailboxes.messages(rotation_id)[-1]


def run_command_of_the_message(site: Site, rotation_id: str) -> Ended:
    """Do what the message says: start the execution with its name and its input."""
    text = message_of(site, rotation_id)["Message"]
    found = re.search(r"aws stepfunctions start-execution .*", text)
    assert found
    words = shlex.split(found[0].replace("<StateMachineArn of the stack>", "STACK"))
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given["--name"] == f"rot-{rotation_id}-again"
    site.stack.cloud.client("stepfunctions").start_execution(
        stateMachineArn=site.stack.deployment.outputs["StateMachineArn"],
        name=given["--name"],
        input=given["--input"],
    )
    return site.end(rotation_id, suffix="-again")


@pytest.mark.parametrize("put_back", [False, True], ids=["stays", "put back by hand"])
def test_pods_that_started_with_another_key_do_not_outlive_the_command_of_the_message(
    site: Site, put_back: bool
) -> None:
    site.add_sessions(3)
    with outages.during(site, "RestartService", "DescribeSecret", another_key_is_written):
        rotation_id = site.rotate()
        assert site.promotion(rotation_id).outcome == "succeeded"
        ended = site.end(rotation_id)
    promoted, pods = site.document(rotation_id)[key.FIELD], sum(console.REPLICAS.values())
    assert ended.error == "DeliveryOverwritten"
    wrong = site.keys_in_use()
    assert wrong == [site.delivered()] * pods
    assert wrong[0] != promoted
    assert len(site.sessions()) == 3
    if put_back:
        site.write_over_key(promoted)
    again = run_command_of_the_message(site, rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert again.output["delivery"]["written"] is not put_back
    assert site.keys_in_use() == [promoted] * pods
    assert site.sessions() == frozenset()


def test_a_run_that_is_run_again_restarts_nothing_where_nobody_has_written_the_key(
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


def test_a_run_that_is_overtaken_ends_at_once_and_touches_nothing_more(site: Site) -> None:
    site.add_sessions(3)
    newer = json.dumps({**site.document(), key.FIELD: key.generate().base64})
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
    assert (ended.status, ended.error) == ("FAILED", "RecordNotStored")
    assert site.run_again(rotation_id).output["outcome"] == "succeeded"
    assert site.record(rotation_id)["outcome"] == "succeeded"


def test_people_who_cannot_be_told_do_not_stop_a_rotation(site: Site) -> None:
    for function, code in {"BeginRotation": "InternalError", "FinishRotation": NOT_AWS}.items():
        site.interruptions.refuse(function, "Publish", code=code, times=float("inf"))
    ended = site.rotate_to_end()
    assert ended.output["outcome"] == "succeeded"
    assert ended.output["announced"]["topic"].startswith("NotificationFailed: sns:Publish")
    assert ended.output["announced"]["bus"] == "told"
    kinds = [event["detail-type"] for event in site.mailboxes.events(ended.output["rotationId"])]
    assert kinds == ["Session Key Rotation Started", "Session Key Rotation Succeeded"]
