"""What a scheduled run and an emergency do differently, row by row of the table of modes.

Each row is told once in each mode: how it is started, what stops it, when sessions end, what comes
of a failure for good, and where the old version's label is afterwards.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from keyturn.secret import key
from local import console, triggers
from local.cluster.resources import SECRETS
from tests.choice import cases
from tests.e2e import outages
from tests.e2e.rotation_calls import invoke
from tests.e2e.site import Site, running_site
from tests.e2e.stories import (
    MODES,
    SESSIONS,
    bare,
    emergency,
    finding,
    misroute,
    planned,
    route,
    tell,
)

# How it is started


@pytest.mark.parametrize(
    ("start", "kind", "mode"),
    [
        (planned, "planned", "scheduled"),
        (emergency, "emergency", "emergency"),
        (finding, "finding", "emergency"),
        (bare, "manual", "emergency"),
    ],
)
def test_whoever_starts_it_chooses_the_mode(
    site: Site, start: Callable[[Site], str], kind: str, mode: str
) -> None:
    told = tell(site, start)
    assert told.ended.output["outcome"] == "succeeded"
    assert (told.record["trigger"]["kind"], told.record["mode"]) == (kind, mode)


@pytest.fixture
def before_the_window() -> Iterator[Site]:
    """A stack whose Secrets Manager is a minute before its window; bare calls are scheduled."""
    options = dict(triggers.options("scheduled", datetime.now(UTC)))
    parameters = {**options.pop("parameters"), "ManualRotationMode": "scheduled"}
    with running_site(**options, parameters=parameters) as site:
        yield site


def test_a_bare_call_is_scheduled_if_the_parameter_says_so(
    before_the_window: Site,
) -> None:
    site = before_the_window
    by_hand = tell(site, bare)
    assert by_hand.record["trigger"]["kind"] == "manual"
    by_clock = tell(site, lambda one: one.stack.reach_window())
    assert by_clock.record["trigger"]["kind"] == "schedule"
    for told in (by_hand, by_clock):
        assert told.ended.output["outcome"] == "succeeded"
        assert told.record["mode"] == "scheduled"
        assert site.stack.labels().get(told.previous) in (["AWSPREVIOUS"], None)
    assert site.stack.labels()[by_clock.previous] == ["AWSPREVIOUS"]


# What stops it


def test_a_scheduled_rotation_changes_nothing_if_a_check_fails(site: Site) -> None:
    site.add_sessions(SESSIONS)
    with outages.paused(site):
        before = site.snapshot()
        report = site.refuse_once()
        assert site.snapshot() == before
    assert {step.step for step in report.steps if step.error} == {"setSecret"}
    assert f"rot-{report.version_id}" not in site.executions()


def test_an_emergency_records_a_failed_check_and_goes_on(site: Site) -> None:
    with outages.cluster_silent(site):
        told = tell(site, emergency)
    assert told.ended.output["outcome"] == "succeeded"
    (said,) = told.record["failedChecks"]
    assert said.startswith("ClusterUnavailable: deliver_key: ")
    *_, last = site.mailboxes.messages(told.rotation_id)
    assert f"Checks:   failed, and did not stop the rotation: {said}" in last["Message"]


@pytest.mark.parametrize("mode", MODES)
def test_a_new_value_that_is_no_key_stops_either(site: Site, mode: str) -> None:
    """Somebody has put a value under the rotation's id: what is there is taken for the new key."""
    before = site.snapshot()
    token = f"{'emergency' if mode == 'emergency' else 'planned'}-{uuid.uuid4()}"
    site.stack.cloud.client("secretsmanager").put_secret_value(
        SecretId=site.stack.secret_arn,
        ClientRequestToken=token,
        SecretString=json.dumps({**site.document(), key.FIELD: "c2hvcnQ="}),
        VersionStages=["AWSPENDING"],
    )
    site.rotate(ClientRequestToken=token)
    site.stack.wait(lambda: bool(site.report(token).retry_at), "the first step fails")
    event = {"SecretId": site.stack.secret_arn, "ClientRequestToken": token}
    for step in ("createSecret", "testSecret", "finishSecret"):
        assert invoke(site, {**event, "Step": step})["errorType"] == "KeyNot32Bytes"
    site.abandon(token)
    assert site.snapshot() == before
    assert f"rot-{token}" not in site.executions()


# When sessions end, and the old version afterwards


def test_a_scheduled_run_purges_once_and_keeps_the_old_version(
    site: Site,
) -> None:
    told = tell(site, planned)
    assert told.states.index("PurgeSessions") > told.states.index("ConfirmDelivery")
    assert "PurgeBeforeRestart" not in told.states
    assert told.record["sessions"]["endedFirst"] is None
    assert told.record["sessions"]["deleted"] >= SESSIONS
    assert site.stack.labels()[told.previous] == ["AWSPREVIOUS"]


def test_an_emergency_purges_twice_and_rules_the_old_version_out(
    site: Site,
) -> None:
    later: list[int] = []

    def log_in_meanwhile() -> None:
        later.append(len(site.sessions()))
        site.add_sessions(SESSIONS)

    site.interruptions.before("RestartService", "DescribeSecret", log_in_meanwhile)
    told = tell(site, emergency)
    assert told.states.index("PurgeBeforeRestart") < told.states.index("MarkExposed")
    assert told.states.index("MarkExposed") < told.states.index("DeliverKey")
    assert told.states.index("PurgeSessions") > told.states.index("ConfirmDelivery")
    assert told.record["sessions"]["endedFirst"] >= SESSIONS
    assert later == [0]
    assert told.record["sessions"]["deleted"] >= SESSIONS
    assert site.sessions() == frozenset()
    assert told.previous not in site.stack.labels()
    timings = told.record["timings"]
    assert 0 < timings["secondsToLastOldPod"] <= timings["secondsToLastOldSession"]


# What fails for good


@dataclass(frozen=True)
class Break:
    """What breaks, during which call of which function, and how it is mended."""

    function: str
    happen: Callable[[Site], None]
    mend: Callable[[Site], None]
    step: str
    error: str


def freeze(site: Site) -> None:
    admin = site.stack.cluster.admin
    admin.patch(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET, {"immutable": True})


def thaw(site: Site) -> None:
    """An immutable Secret can only be made anew."""
    held = key.parse_key(site.delivered())
    admin = site.stack.cluster.admin
    admin.delete(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)
    site.stack.cluster.apply(console.secret(held))


BREAKS = {
    "delivery": Break("BeginRotation", freeze, thaw, "DeliverKey", "DeliveryRefused"),
    "rollout": Break(
        "BeginRotation",
        lambda site: site.stack.images.discard(console.IMAGES[outages.CONSOLE]),
        lambda site: site.stack.images.add(console.IMAGES[outages.CONSOLE]),
        "RestartServices",
        "RolloutFailed",
    ),
    "validation": Break("ValidateRotation", misroute, route, "ValidateRotation", "LoginBroken"),
}


@pytest.mark.parametrize("what", cases(BREAKS, {"validation"}))
def test_a_scheduled_run_that_fails_for_good_restores_the_previous_key_once(
    site: Site, what: str
) -> None:
    broken = BREAKS[what]
    site.interruptions.before(broken.function, "DescribeSecret", lambda: broken.happen(site))
    site.interruptions.before("RestorePreviousKey", "DescribeSecret", lambda: broken.mend(site))
    told = tell(site, planned)
    assert (told.ended.status, told.ended.error) == ("FAILED", broken.error)
    assert told.record["outcome"] == "rolled-back"
    assert told.record["failure"]["step"] == broken.step
    assert told.states.count("RestorePreviousKey") == 1
    labels = site.stack.labels()
    assert labels[told.previous] == ["AWSCURRENT"]
    assert labels[told.rotation_id] == ["AWSPREVIOUS"]
    assert site.delivered() == told.old_key
    assert set(site.keys_in_use()) == {told.old_key}
    assert (site.sessions() == frozenset()) is (what != "delivery")


@pytest.mark.parametrize("what", cases(BREAKS, {"rollout"}))
def test_an_emergency_that_fails_keeps_the_new_key_and_purges_sessions(
    site: Site, what: str
) -> None:
    broken = BREAKS[what]
    site.interruptions.before(broken.function, "DescribeSecret", lambda: broken.happen(site))
    told = tell(site, emergency)
    try:
        assert (told.ended.status, told.ended.error) == ("FAILED", broken.error)
        assert told.record["outcome"] == "failed"
        assert (told.record["failure"]["step"], told.record["rollback"]) == (broken.step, None)
        assert "RestorePreviousKey" not in told.states
        assert site.stack.labels() == {told.rotation_id: ["AWSCURRENT"]}
        assert site.sessions() == frozenset()
        assert told.record["sessions"]["endedFirst"] >= SESSIONS
        assert told.record["timings"]["secondsToLastOldSession"] > 0
        said = site.mailboxes.messages(told.rotation_id)[-1]
        assert "FAILED" in said["Subject"]
    finally:
        broken.mend(site)
    again = site.run_again(told.rotation_id)
    assert again.output["outcome"] == "succeeded", again
    assert set(site.keys_in_use()) == {site.document(told.rotation_id)[key.FIELD]}
