"""The functions ask for what they are permitted, and are permitted nothing else.

Judged by all that was asked since the stack was started, and every story that asks is told here:
nothing depends on what other tests have done, or on who comes first.
"""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.run.times import format_timestamp
from keyturn.secret.exposure import MARKS_KEPT, Mark
from keyturn.secret.finding_history import StartedRotation
from local.stack_parameters import cluster_groups
from tests import cluster_roles
from tests.e2e import findings
from tests.e2e.failures import FAILURES, fail
from tests.e2e.rights import MACHINE, called, given, role_arn
from tests.e2e.site import Site, running_site
from tests.policies import Call, allows, covers, denies, rights, speaks_of, statements
from tests.redis_rights import RIGHTS

ROLES = cluster_roles.roles()


@pytest.fixture(scope="module")
def rotated() -> Iterator[Site]:
    """A stack of its own that has seen every kind of story; Redis wants a login there."""
    with running_site(redis_rights=["resetkeys", "~session:*", "resetchannels", *RIGHTS]) as site:
        assert site.rotate_to_end().status == "SUCCEEDED"
        mark_what_was_replaced(site)
        fail(site, FAILURES["a Secret that is immutable"], turns=True)
        fail(site, FAILURES["pods that crash"], turns=True)
        fill_the_tags(site)
        findings.overtake(site)
        assert site.end(site.change_by_hand()).status == "SUCCEEDED"
        take_a_name_beforehand(site)
        look_into_a_lost_run(site)
        tell_of_an_old_key(site)
        announce_the_next_rotation(site)
        fail_on_events(site)
        yield site


def take_a_name_beforehand(site: Site) -> None:
    """An execution that is no run has the name of the next one."""
    token = str(uuid.uuid4())
    site.stack.cloud.client("stepfunctions").start_execution(
        stateMachineArn=site.stack.deployment.outputs["StateMachineArn"],
        name=f"rot-{token}",
        input="{}",
    )
    site.end(token)
    site.promoted(site.rotate(ClientRequestToken=token))
    assert site.end(token, suffix="_2").status == "SUCCEEDED"


def mark_what_was_replaced(site: Site) -> None:
    """A finding about the key that was just replaced."""
    found = findings.about_the_key_before(site)
    findings.put(site, found)
    (answer,) = findings.answered(site, found)
    assert answer["decision"] == "mark"


def fill_the_tags(site: Site) -> None:
    """As many marks as are kept, and what findings did the day before yesterday: it makes room."""
    ago = datetime.now(UTC) - timedelta(days=2)
    marks = [Mark(f"{number:036}", ago, "emergency") for number in range(MARKS_KEPT)]
    started = StartedRotation("emergency-gd-" + "0" * 32, ago, "Execution:Runtime/X", "0" * 32)
    every: list[Mark | StartedRotation] = [*marks, started]
    tags = [{"Key": one.tag_key, "Value": one.tag_value} for one in every]
    site.stack.cloud.client("secretsmanager").tag_resource(
        SecretId=site.stack.secret_arn, Tags=tags
    )


def look_into_a_lost_run(site: Site) -> None:
    """A look upon a run that was stopped: the watch reads how its history ends."""
    site.lose_a_run()
    assert "RUN_LOST" in concerns_at(site, datetime.now(UTC))


def tell_of_an_old_key(site: Site) -> None:
    """The daily look 30 days after the key was made: the watch tells people."""
    client = site.stack.cloud.client("secretsmanager")
    versions = client.list_secret_version_ids(SecretId=site.stack.secret_arn)["Versions"]
    (made,) = (one["CreatedDate"] for one in versions if one["VersionId"] == site.current())
    assert "OLD" in concerns_at(site, made + timedelta(days=30, hours=1))


def announce_the_next_rotation(site: Site) -> None:
    """The daily look 30 hours before the next rotation: the watch counts who will be logged out."""
    client = site.stack.cloud.client("secretsmanager")
    due = client.describe_secret(SecretId=site.stack.secret_arn)["NextRotationDate"]
    assert "SOON" in concerns_at(site, due - timedelta(hours=30))


def concerns_at(site: Site, at: datetime) -> set[str]:
    """What the daily look of a day finds."""
    event = {"detail-type": "Scheduled Event", "time": format_timestamp(at)}
    name = site.stack.function_name("WatchKeyFunction")
    answer = site.stack.functions.invoke(name, json.dumps(event).encode())
    return {one["concern"] for one in json.loads(answer.payload)["found"]}


def fail_on_events(site: Site) -> None:
    """Events that no function can read, until they are in the queue of what nobody took."""
    site.stack.functions._async_retry_seconds = (0.1, 0.1)
    for function in ("RespondToFindingFunction", "WatchKeyFunction"):
        site.stack.functions.invoke_async(site.stack.function_name(function), b'{"sense": "none"}')
    sqs, url = site.stack.cloud.client("sqs"), site.stack.deployment.outputs["UndeliveredEventsUrl"]

    def kept() -> bool:
        asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return bool(asked["ApproximateNumberOfMessages"] == "2")

    site.stack.wait(kept, "both events are kept")


def test_each_function_made_only_cluster_calls_that_its_role_grants(
    rotated: Site,
) -> None:
    assert rotated.interruptions.denied == []
    beyond = {
        (group, *asked)
        for group, calls in _asked_of_the_cluster(rotated).items()
        for asked in calls
        if not cluster_roles.covers(ROLES[group], *asked)
    }
    assert beyond == set()


def test_no_role_grants_what_its_function_does_not_use(rotated: Site) -> None:
    asked = _asked_of_the_cluster(rotated)
    unused = {
        (group, verb, resource, name)
        for group, role in ROLES.items()
        for verb, resource, names in cluster_roles.grants(role)
        for name in names or {""}
        if not any(
            (verb, resource) == (did, on) and name in {"", of} for did, on, of in asked[group]
        )
    }
    assert unused == set()


def test_each_function_that_calls_the_cluster_has_a_group_of_its_own(rotated: Site) -> None:
    groups = cluster_groups(rotated.stack.deployment)
    assert {*groups.values()} == ROLES.keys()
    for logical_id in rotated.stack.deployment.functions:
        group = groups.get(role_arn(rotated.stack, logical_id))
        words = logical_id.removesuffix("Function")
        hyphened = re.sub(r"(?<!^)(?=[A-Z])", "-", words).lower()
        assert group in {None, f"keyturn-{hyphened}"}


def test_every_call_is_allowed_by_the_policy_of_the_role_that_made_it(rotated: Site) -> None:
    made = called(rotated.stack)
    missing = {
        (maker, call.action, call.resource)
        for maker, calls in made.items()
        for call in calls
        if not allows(given(rotated.stack, maker), call)
    }
    assert missing == set()
    assert all(made.values()), "somebody called nothing at all"


def test_every_right_of_a_role_is_used_on_the_resource_that_it_is_for(rotated: Site) -> None:
    made = called(rotated.stack)
    spare = {
        (maker, *right)
        for maker, calls in made.items()
        for statement in given(rotated.stack, maker)
        for right in rights(statement)
        if not any(covers(right, statement, call) for call in calls)
    }
    assert spare == set()


def test_the_policy_of_the_secret_denies_no_call_and_would_deny_them_to_others(
    rotated: Site,
) -> None:
    policy = statements(_properties(rotated, "SessionKeySecretPolicy")["ResourcePolicy"])
    kept = {
        (maker, call)
        for maker, calls in called(rotated.stack).items()
        for call in calls
        if call.resource == rotated.stack.secret_arn
    }
    stranger = "arn:aws:iam::123456789012:role/stranger"
    for maker, call in kept:
        assert not denies(policy, _by(role_arn(rotated.stack, maker), call))
        guarded = not call.action.endswith(
            ("DescribeSecret", "ListSecretVersionIds", "RotateSecret")
        )
        assert denies(policy, _by(stranger, call)) == guarded


def test_the_policy_of_the_kms_key_lets_every_use_through(rotated: Site) -> None:
    policy = statements(_properties(rotated, "KmsKey")["KeyPolicy"])
    used = {
        call
        for calls in called(rotated.stack).values()
        for call in calls
        if call.action.startswith("kms:")
    }
    assert {call.action for call in used} == {"kms:Decrypt", "kms:GenerateDataKey"}
    for call in used:
        (letting,) = (one["Sid"] for one in policy if speaks_of(one, call))
        assert letting in {"TheSecretThroughSecretsManager", "MessagesThroughTheTopic"}


def test_a_call_of_another_kind_or_on_another_thing_would_be_noticed(rotated: Site) -> None:
    """The comparison itself is not blind: neither to what is missing nor to what is spare."""
    reading = Call("secretsmanager:GetSecretValue", rotated.stack.secret_arn)
    elsewhere = Call("secretsmanager:DescribeSecret", f"{rotated.stack.secret_arn}-of-others")
    assert not allows(given(rotated.stack, "WatchKeyFunction"), reading)
    assert not allows(given(rotated.stack, "WatchKeyFunction"), elsewhere)
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::records/*"}
    (right,) = rights(statement)
    finishing = called(rotated.stack)["FinishRotationFunction"]
    assert not any(covers(right, statement, call) for call in finishing)
    assert {call.action for call in called(rotated.stack)[MACHINE]} == {"lambda:InvokeFunction"}


def _properties(site: Site, logical_id: str) -> dict[str, Any]:
    return dict(site.stack.deployment.resources[logical_id].properties)


def _by(principal: str, call: Call) -> Call:
    known = {
        "aws:PrincipalArn": principal,
        "aws:PrincipalIsAWSService": "false",
        "aws:SecureTransport": "true",
    }
    return Call(call.action, call.resource, {**call.context, **known})


def _asked_of_the_cluster(site: Site) -> dict[str, set[tuple[str, str, str]]]:
    """What the function of each group has asked: verb, resource, name."""
    groups = cluster_groups(site.stack.deployment)
    asked: dict[str, set[tuple[str, str, str]]] = {group: set() for group in groups.values()}
    for user, verb, what, name in site.stack.cluster.audit:
        if user in groups:
            asked[groups[user]].add((verb, what, name))
    return asked
