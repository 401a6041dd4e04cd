"""A run that is overtaken at any of its states does nothing more, and the one on top is whole.

Also the way back, which is open once, and only while nobody has ruled it out.
"""

import json
import uuid

import pytest

from keyturn.rollout.pod_annotations import KEY_VERSION
from keyturn.secret import key
from local import console
from tests.choice import cases
from tests.e2e.site import Ended, Site
from tests.e2e.stories import misroute, planned, route, states, tell

# A call of each state, before which an emergency is started and promoted.
PLACES = {
    "BeginRotation": ("BeginRotation", "DescribeSecret"),
    "DeliverKey": ("DeliverKey", "DescribeSecret"),
    "DeliverKey, label seen": ("DeliverKey", "get secrets"),
    "RestartService": ("RestartService", "DescribeSecret"),
    "RestartService, label seen": ("RestartService", "get deployments"),
    "CheckRollout": ("CheckRollout", "DescribeSecret"),
    "PurgeSessions": ("PurgeSessions", "DescribeSecret"),
    "ValidateRotation": ("ValidateRotation", "DescribeSecret"),
    "RestorePreviousKey": ("RestorePreviousKey", "DescribeSecret"),
    "RestorePreviousKey, label seen": ("RestorePreviousKey", "UpdateSecretVersionStage"),
}
# A run before its first pod, and one that turns back.
ALWAYS = {"RestartService, label seen", "RestorePreviousKey"}


def overtake(site: Site, place: tuple[str, str], token: str) -> None:
    """Have another rotation promoted before a call of the first run."""

    def act() -> None:
        route(site)  # whatever had failed does not fail the other
        site.rotate(ClientRequestToken=token)
        site.promoted(token)

    site.interruptions.before(*place, act)


def assert_on_top(site: Site, token: str, ended: Ended) -> None:
    assert ended.output["outcome"] == "succeeded", ended
    assert site.current() == token
    promoted = site.document(token)[key.FIELD]
    assert site.delivered() == promoted
    assert set(site.keys_in_use()) == {promoted}
    assert site.sessions() == frozenset()


@pytest.mark.parametrize("place", cases(PLACES, ALWAYS))
def test_an_emergency_overtakes_a_scheduled_run_at(site: Site, place: str) -> None:
    token = f"emergency-{uuid.uuid4()}"
    if place.startswith("Restore"):
        fails_at_its_end(site)
    overtake(site, PLACES[place], token)
    told = tell(site, planned)
    assert site.interruptions.clear() == []
    assert told.record["outcome"] == "superseded", told.record
    assert_on_top(site, token, site.end(token))
    assert site.stack.labels() == {token: ["AWSCURRENT"]}


def test_a_run_that_is_held_up_writes_no_key_over_the_one_that_came_since(site: Site) -> None:
    """It has seen its label, and reads the Secret only when the emergency has delivered its key."""
    token, seen = f"emergency-{uuid.uuid4()}", []

    def act() -> None:
        site.rotate(ClientRequestToken=token)
        site.stack.wait(lambda: token in site.stack.labels(), "the emergency has a version")
        site.promoted(token)
        promoted = site.document(token)[key.FIELD]
        site.stack.wait(lambda: site.delivered() == promoted, "the emergency delivers")
        seen.append(token)

    site.interruptions.before("DeliverKey", "get secrets", act)
    told = tell(site, planned)
    assert told.record["outcome"] == "superseded", told.record
    assert seen == [token]
    assert_on_top(site, token, site.end(token))


def test_a_delayed_run_does_not_overwrite_the_stamp_of_a_later_one(
    site: Site,
) -> None:
    """It has seen its label and the Deployment, and patches when the emergency has restarted both.

    Its other service finds it overtaken meanwhile, so the run may be over before that.
    """
    token, seen = f"emergency-{uuid.uuid4()}", []

    def stamped() -> bool:
        templates = (site.deployment(name)["spec"]["template"] for name in console.REPLICAS)
        return all(
            (one["metadata"].get("annotations") or {}).get(KEY_VERSION) == token
            for one in templates
        )

    def act() -> None:
        site.rotate(ClientRequestToken=token)
        site.stack.wait(stamped, "the emergency restarts")
        seen.append(token)

    site.interruptions.before("RestartService", "patch deployments", act)
    told = tell(site, planned)
    assert told.record["outcome"] == "superseded", told.record
    assert_on_top(site, token, site.end(token))
    assert seen == [token]


@pytest.mark.exhaustive
def test_an_emergency_overtakes_a_scheduled_run_during_the_delivery(
    site: Site,
) -> None:
    token = f"emergency-{uuid.uuid4()}"
    site.interruptions.before(
        "CheckRollout",
        "DescribeSecret",
        lambda: overtake(site, ("DeliverKey", "DescribeSecret"), token),
    )
    told = tell(site, planned)
    assert told.record["outcome"] == "superseded", told.record
    assert "ConfirmDelivery" in told.states
    assert "PurgeSessions" not in told.states
    assert_on_top(site, token, site.end(token))


@pytest.mark.exhaustive
def test_an_emergency_at_the_last_state_of_a_scheduled_run_comes_after_it(site: Site) -> None:
    token = f"emergency-{uuid.uuid4()}"
    overtake(site, ("FinishRotation", "PutObject"), token)
    told = tell(site, planned)
    assert told.record["outcome"] == "succeeded", told.record
    assert_on_top(site, token, site.end(token))


def test_a_second_planned_rotation_overtakes_the_first(site: Site) -> None:
    token = f"planned-{uuid.uuid4()}"
    overtake(site, ("CheckRollout", "DescribeSecret"), token)
    told = tell(site, planned)
    assert told.record["outcome"] == "superseded"
    assert_on_top(site, token, site.end(token))
    assert site.stack.labels()[told.rotation_id] == ["AWSPREVIOUS"]


def test_a_value_put_by_hand_overtakes_a_run_and_is_carried_by_the_watch(site: Site) -> None:
    put: list[str] = []

    def act() -> None:
        made = {**site.document(), key.FIELD: key.generate_key().base64}
        put.append(site.put_value(json.dumps(made)))

    site.interruptions.before("CheckRollout", "DescribeSecret", act)
    told = tell(site, planned)
    assert told.record["outcome"] == "superseded"
    (version,) = put
    site.stack.wait(lambda: f"rot-{version}" in site.executions(), "the watch starts a run")
    assert_on_top(site, version, site.end(version))


# The way back


def fails_at_its_end(site: Site) -> None:
    site.interruptions.before("ValidateRotation", "DescribeSecret", lambda: misroute(site))


@pytest.mark.exhaustive
def test_a_way_back_that_fails_has_no_way_back(site: Site) -> None:
    fails_at_its_end(site)
    told = tell(site, planned)
    route(site)
    assert (told.record["outcome"], told.states.count("RestorePreviousKey")) == ("failed", 1)
    assert told.record["rollbackFailure"]["step"] == "ValidateRotation"
    assert site.current() == told.previous
    assert set(site.keys_in_use()) == {told.old_key}


def test_there_is_no_way_back_to_a_version_that_was_ruled_out(site: Site) -> None:
    previous = site.current()
    client = site.stack.cloud.client("secretsmanager")

    def rule_out() -> None:
        route(site)
        client.update_secret_version_stage(
            SecretId=site.stack.secret_arn, VersionStage="AWSPREVIOUS", RemoveFromVersionId=previous
        )

    fails_at_its_end(site)
    site.interruptions.before("RestorePreviousKey", "DescribeSecret", rule_out)
    told = tell(site, planned)
    assert told.record["outcome"] == "failed"
    assert told.record["rollbackFailure"]["error"] == "RollbackRefused"
    assert site.current() == told.rotation_id
    assert states(site, told.rotation_id)[-1] == "RotationFailed"
    assert set(site.keys_in_use()) == {site.document(told.rotation_id)[key.FIELD]}


def test_a_restored_run_that_is_run_again_finds_itself_overtaken(site: Site) -> None:
    fails_at_its_end(site)
    site.interruptions.before("RestorePreviousKey", "DescribeSecret", lambda: route(site))
    told = tell(site, planned)
    before = site.snapshot()
    again = site.run_again(told.rotation_id)
    assert (told.record["outcome"], again.output["outcome"]) == ("rolled-back", "superseded")
    assert site.snapshot() == before
