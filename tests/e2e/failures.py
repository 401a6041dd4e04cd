"""Runs that are made to fail after the promotion, and what every ending has in common.

Each thing breaks while the run is on its way, so that no check beforehand could have seen it.
"""

import contextlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keyturn.secret import key
from local import console
from local.cluster.resources import SECRETS
from local.users import can_open_page, log_in_once
from tests import shell
from tests.e2e import outages
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
    site.write_over_key(key.generate_key().base64)
    yield


@contextlib.contextmanager
def secret_is_immutable(site: Site) -> Iterator[None]:
    """Somebody makes the Kubernetes Secret immutable; it takes another one to write again."""
    admin, name = site.stack.cluster.admin, console.KUBERNETES_SECRET
    admin.patch(SECRETS, console.NAMESPACE, name, {"immutable": True})
    try:
        yield
    finally:
        held = key.parse_key(site.delivered())
        admin.delete(SECRETS, console.NAMESPACE, name)
        site.stack.cluster.apply(console.secret(held))


@dataclass(frozen=True)
class Failure:
    """What breaks, during which call of which function, the step that stops, and its error.

    `lasts` where it is not mended when the run turns back.
    """

    outage: outages.Outage
    during: tuple[str, str]
    step: str
    error: str
    lasts: bool = False

    @contextlib.contextmanager
    def happening(self, site: Site, *, turns: bool) -> Iterator[None]:
        """Have it happen at its moment; `turns` where the run will turn back."""
        until_the_turn = turns and not self.lasts
        with outages.during(site, *self.during, self.outage, until_the_turn=until_the_turn):
            yield


# What makes a scheduled run turn back.
FAILURES = {
    "a Secret that is immutable": Failure(
        secret_is_immutable, ("DeliverKey", "DescribeSecret"), "DeliverKey", "DeliveryRefused"
    ),
    "an image that cannot be pulled": Failure(
        image_that_cannot_be_pulled,
        ("DeliverKey", "DescribeSecret"),
        "RestartServices",
        "RolloutFailed",
    ),
    "pods that crash": Failure(
        pods_that_crash,
        ("DeliverKey", "DescribeSecret"),
        "RestartServices",
        "RolloutFailed",
    ),
    "a stamp that is taken off": Failure(
        somebody_else_restarts,
        ("CheckRollout", "DescribeSecret"),
        "RestartServices",
        "RestartOverwritten",
        lasts=True,
    ),
    "a key that is written over": Failure(
        another_key_is_written,
        ("RestartService", "DescribeSecret"),
        "ConfirmDelivery",
        "DeliveryOverwritten",
        lasts=True,
    ),
    "a broken login": Failure(
        outages.login_broken,
        ("ValidateRotation", "DescribeSecret"),
        "ValidateRotation",
        "LoginBroken",
    ),
}
# What leaves the new key where it is: every service runs it, and users log in.
PURGE_FAILURES = {
    "Redis down": Failure(
        outages.redis_down,
        ("PurgeSessions", "DescribeSecret"),
        "PurgeSessions",
        "SessionStoreUnavailable",
    ),
    "Redis that refuses": Failure(
        outages.redis_refuses_scans,
        ("PurgeSessions", "DescribeSecret"),
        "PurgeSessions",
        "SessionCommandRefused",
    ),
}
STEPS = ["BeginRotation", "DeliverKey", "RestartServices", "ConfirmDelivery"]
STEPS += ["PurgeSessions", "ValidateRotation"]


def fail(site: Site, failure: Failure, *, turns: bool, **request: Any) -> tuple[str, Ended]:
    """Rotate while something breaks; returns the rotation's id and how its run ended."""
    with failure.happening(site, turns=turns):
        rotation_id = site.rotate(**request)
        site.promoted(rotation_id)
        ended = site.end(rotation_id)
    assert site.interruptions.clear() == []
    return rotation_id, ended


def emergency_token() -> dict[str, str]:
    """What makes a rotation an emergency."""
    return {"ClientRequestToken": f"emergency-{uuid.uuid4()}"}


def assert_failed(site: Site, rotation_id: str, ended: Ended, failure: Failure) -> None:
    """See that the run, its record and its message name the first cause and what came before."""
    assert (ended.status, ended.error) == ("FAILED", failure.error)
    record = site.record(rotation_id)
    assert (record["failure"]["step"], record["failure"]["error"]) == (failure.step, failure.error)
    assert ended.cause == record["failure"]["says"] != ""
    done = STEPS[: STEPS.index(failure.step)]
    if record["mode"] == "emergency":
        done = [name for name in STEPS if name in {*done[1:], *gone_on(failure.step)}]
    assert [name for name in steps_of(record) if name != failure.step] == done
    message = site.mailboxes.messages(rotation_id)[-1]["Message"]
    assert f"otation stopped at {failure.step}" in message
    assert f"Error:    {failure.error}: {record['failure']['says']}" in message
    assert f"Done:     {', '.join(done)}\n" in message
    assert kinds_of_events(site, rotation_id)[0] == "Session Key Rotation Started"
    assert len(kinds_of_events(site, rotation_id)) == 2


def gone_on(step: str) -> set[str]:
    """What an emergency does after a step that failed, however its proof goes."""
    return {"PurgeSessions"} | ({"ConfirmDelivery"} if step == "RestartServices" else set())


def assert_whole(site: Site, old_cookie: str) -> None:
    """See that every pod runs the current key, and that no session of before is left."""
    current = site.document()[key.FIELD]
    assert site.delivered() == current
    assert site.keys_in_use() == [current] * sum(console.REPLICAS.values())
    assert not can_open_page(site.stack.urls[CONSOLE], old_cookie)
    assert can_open_page(site.stack.urls[CONSOLE], log_in_once(site.stack.urls[CONSOLE]))


def steps_of(record: dict[str, Any], *, way_back: bool = False) -> list[str]:
    """The steps of a record: those on the way, or those on the way back."""
    return [one["name"] for one in record["steps"] if one.get("rollback", False) is way_back]


def kinds_of_events(site: Site, rotation_id: str) -> list[str]:
    """What the bus has heard of a run."""
    events = site.mailboxes.events(rotation_id)
    return [one["detail-type"] for one in events if one["detail"]["rotationId"] == rotation_id]


def command_of_the_message(site: Site, rotation_id: str, call: str) -> dict[str, str]:
    """The options of the command in the last message about a run, as a shell gives them."""
    text = site.mailboxes.messages(rotation_id)[-1]["Message"]
    found = re.search(f"aws {call} .*", text)
    assert found, text
    return shell.options(found[0])
