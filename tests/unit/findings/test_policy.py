"""Which rotate, which are told, which not."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.findings import policy as finding_policy
from keyturn.findings.event import FORMS, Finding, parse_finding
from keyturn.findings.policy import ROTATES, Decision, Scope, Where, decide, role_name, token_of
from keyturn.run.run import ROTATION_ID
from keyturn.secret.finding_history import StartedRotation, State
from keyturn.secret.staging_labels import Version
from keyturn.settings import loading
from tests.conftest import ARN, NEW, NOON, OLD
from tests.every_case import every_case
from tests.project import EVENTS, ROOT, document, environment, event, template

FIXTURES = sorted((EVENTS / "findings").glob("*.json"))
CURRENT, PENDING = frozenset({"AWSCURRENT"}), frozenset({"AWSPENDING"})
PREVIOUS = frozenset({"AWSPREVIOUS"})
NONE: frozenset[str] = frozenset()
LONG_AGO = NOON - timedelta(days=9)
KEY = Version(OLD, LONG_AGO, CURRENT)
MINUTE = timedelta(minutes=1)
Json = dict[str, Any]


@pytest.fixture
def scope() -> Scope:
    """What the template's settings make ours, the nodes' role included."""
    given = {**environment("respond_to_finding"), "FINDING_SCOPE_ROLES": "eks-node"}
    return finding_policy.scope_of(loading.load(loading.RespondToFindingSettings, given))


def load(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def of_type(name: str) -> Json:
    return next(found for found in map(load, FIXTURES) if found["detail"]["type"] == name)


def secrets_read() -> Finding:
    """A finding that rotates: its last activity was eight minutes before noon."""
    return parse_finding(event("respond_to_finding"))


def changed(found: Json, change: Mapping[str, Any]) -> Json:
    """A copy of an event with other values at dotted places below `detail`."""
    copied = copy.deepcopy(found)
    for place, value in change.items():
        *path, last = place.split(".")
        at = copied["detail"]
        for name in path:
            at = at.setdefault(name, {})
        at[last] = value
    return copied


# The types


def test_there_is_a_fixture_for_every_type_and_no_other() -> None:
    assert sorted(load(path)["detail"]["type"] for path in FIXTURES) == sorted(ROTATES)
    for path in FIXTURES:
        named = re.sub(r"[^a-z0-9]+", "-", load(path)["detail"]["type"].lower())
        assert path.stem == named


@every_case("path", FIXTURES)
def test_every_type_that_is_about_us_rotates(path: Path, scope: Scope) -> None:
    found = parse_finding(load(path))
    expected = "notify" if found.type == "Execution:Kubernetes/ExecInKubeSystemPod" else "rotate"
    assert decide(found, scope, State([KEY]), NOON).action == expected


ELSEWHERE = {
    "resource.eksClusterDetails": {"name": "other", "arn": "arn:aws:eks:x:1:cluster/other"},
    "resource.accessKeyDetails.userName": "other-role",
    "resource.lambdaDetails": {},
    "service.detection.sequence.actors": [],
    "service.detection.sequence.resources": [],
    "service.action.awsApiCallAction.affectedResources": {},
}


@every_case("path", FIXTURES)
def test_no_type_rotates_where_it_is_about_others(path: Path, scope: Scope) -> None:
    found = parse_finding(changed(load(path), ELSEWHERE))
    verdict = decide(found, scope, State([KEY]), NOON)
    assert (verdict.action, verdict.token) == ("notify", None)
    assert verdict.reason == f"The finding is not about {ROTATES[found.type].value}."


@every_case("path", FIXTURES)
def test_the_rule_of_the_template_passes_every_type(path: Path) -> None:
    rule = template()["Resources"]["GuardDutyRule"]["Properties"]["EventPattern"]
    prefixes = tuple(one["prefix"] for one in rule["detail"]["type"])
    assert load(path)["detail"]["type"].startswith(prefixes)


@pytest.mark.parametrize(
    "name", ["Discovery:Kubernetes/TorIPCaller", "UnauthorizedAccess:IAMUser/TorIPCaller"]
)
def test_a_type_that_shows_no_exposure_is_told_once(name: str, scope: Scope) -> None:
    found = replace(secrets_read(), type=name)
    assert decide(found, scope, State([KEY]), NOON).action == "notify"
    assert decide(replace(found, is_update=True), scope, State([KEY]), NOON).action == "ignore"


def test_operators_can_read_what_each_type_does() -> None:
    text = document(ROOT / "docs" / "operations.md")
    rows = re.findall(r"^\| (.+) \| (`[A-Z].+`) \|$", text, re.MULTILINE)
    told = {name: where for where, names in rows for name in re.findall(r"`([^`]+)`", names)}
    assert told == {name: where.value for name, where in ROTATES.items()}


# What is ours

K8S = "CredentialAccess:Kubernetes/TorIPCaller"
READ = "CredentialAccess:IAMUser/AnomalousBehavior"
NODE = "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS"
SHELL = "Execution:Runtime/ReverseShell"
CLUSTER = "AttackSequence:EKS/CompromisedCluster"
IDENTITY = "AttackSequence:IAM/CompromisedCredentials"
NAMESPACE = "service.action.kubernetesApiCallAction.namespace"
WORKLOAD = "resource.kubernetesDetails.kubernetesWorkloadDetails"
SEQUENCE = "service.detection.sequence"
API = "service.action.awsApiCallAction.api"
AFFECTED = "service.action.awsApiCallAction.affectedResources"
USER = "resource.accessKeyDetails.userName"
OTHER_SECRET = {"AWS::SecretsManager::Secret": ARN.replace("session-key", "other-key")}


@every_case(
    ("name", "change", "action"),
    [
        (K8S, {"resource.eksClusterDetails.arn": "x"}, "rotate"),
        (K8S, {"resource.eksClusterDetails.name": "x"}, "rotate"),
        (K8S, {NAMESPACE: ""}, "rotate"),
        (K8S, {NAMESPACE: "batch"}, "notify"),
        (K8S, {NAMESPACE: "batch", WORKLOAD: {"namespace": "web"}}, "rotate"),
        (SHELL, {WORKLOAD: {"namespace": "batch"}}, "notify"),
        (SHELL, {WORKLOAD: {}}, "notify"),
        (CLUSTER, {}, "rotate"),
        (READ, {AFFECTED: OTHER_SECRET}, "notify"),
        (READ, {AFFECTED: {"AWS::SecretsManager::Secret": "session-key"}, USER: "x"}, "rotate"),
        (READ, {AFFECTED: {}}, "rotate"),
        (READ, {AFFECTED: {}, USER: "x"}, "notify"),
        (READ, {API: "GetParameter"}, "rotate"),  # the read is among the anomalous calls
        (READ, {API: "GetParameter", "service.additionalInfo": {}}, "notify"),
        (READ, {API: "BatchGetSecretValue", "service.additionalInfo": {}}, "rotate"),
        (READ, {API: "GetSecretValues", "service.additionalInfo": {}}, "notify"),
        (NODE, {USER: "keyturn-DeliverKeyFunctionRole"}, "rotate"),
        (NODE, {USER: "eks-node2"}, "notify"),
        (NODE, {"accountId": "210987654321"}, "notify"),
        (NODE, {"region": "eu-west-1"}, "notify"),
        (IDENTITY, {"service.detection.sequence.resources": []}, "rotate"),
        (IDENTITY, {"service.detection.sequence.actors": []}, "rotate"),
        (IDENTITY, {SEQUENCE: {"actors": [{"session": {"issuer": "x/eks-node"}}]}}, "rotate"),
        (IDENTITY, {SEQUENCE: {"actors": [{"user": {"name": "somebody"}}, 1]}}, "notify"),
    ],
)
def test_a_finding_rotates_if_it_is_about_what_is_ours(
    name: str, change: Json, action: str, scope: Scope
) -> None:
    assert (
        decide(parse_finding(changed(of_type(name), change)), scope, State([KEY]), NOON).action
        == action
    )


@pytest.mark.parametrize(
    ("principal", "name"),
    [
        ("eks-node", "eks-node"),
        ("arn:aws:iam::123456789012:role/eks-node", "eks-node"),
        ("arn:aws:iam::123456789012:role/a/path/eks-node", "eks-node"),
        ("arn:aws:sts::123456789012:assumed-role/eks-node/i-0123", "eks-node"),
    ],
)
def test_a_role_is_compared_by_its_name(principal: str, name: str, scope: Scope) -> None:
    assert role_name(principal) == name
    found = parse_finding(changed(of_type(NODE), {USER: principal}))
    assert (
        decide(found, replace(scope, roles=frozenset({name})), State([KEY]), NOON).action
        == "rotate"
    )


def test_the_scope_is_the_secrets_own_account_and_region_and_the_named_cluster(
    scope: Scope,
) -> None:
    assert (scope.account, scope.region) == ("123456789012", "eu-central-1")
    arn = "arn:aws:eks:eu-central-1:123456789012:cluster/production"
    assert scope.clusters == {"production", arn}
    own = {f"keyturn-{name}FunctionRole" for name in ("RotateSecret", "DeliverKey")}
    assert scope.roles == {*own, "eks-node"}


# Samples, archived findings


@pytest.mark.parametrize(
    "change",
    [
        {"service.additionalInfo": {"sample": True}},
        {"service.additionalInfo": {"type": "default", "value": '{"sample": true}'}},
        {"title": "[SAMPLE] Something."},
    ],
)
def test_a_sample_is_ignored_unless_samples_are_allowed(change: Json, scope: Scope) -> None:
    elsewhere = {**change, "resource.eksClusterDetails.name": "Generated", NAMESPACE: "Generated"}
    found = parse_finding(changed(event("respond_to_finding"), elsewhere))
    assert decide(found, scope, State([KEY]), NOON).action == "ignore"
    allowed = replace(scope, samples=True)
    assert decide(found, allowed, State([KEY]), NOON).action == "rotate"
    assert (
        decide(replace(found, account="210987654321"), allowed, State([KEY]), NOON).action
        == "notify"
    )


@pytest.mark.parametrize("value", ["", "no JSON", "[]", '{"sample": "true"}', None, 1])
def test_what_is_not_marked_as_a_sample_is_none(value: Any, scope: Scope) -> None:
    info = {"service.additionalInfo": {"type": "default", "value": value}}
    assert parse_finding(changed(event("respond_to_finding"), info)).sample is False


def test_an_archived_finding_is_ignored(scope: Scope) -> None:
    found = parse_finding(changed(event("respond_to_finding"), {"service.archived": True}))
    assert decide(found, scope, State([KEY]), NOON).action == "ignore"


# Once, and again; limits


def rotated(made: datetime, number: str = "", labels: frozenset[str] = CURRENT) -> Version:
    return Version(token_of(secrets_read()) + number, made, labels)


def recorded(*versions: Version, at: datetime = NOON) -> State:
    """The secret after rotations of findings, which were recorded as such."""
    started = [StartedRotation(one.id, one.created or at, K8S, "0" * 32) for one in versions]
    return State(versions, started)


def test_the_token_is_made_of_account_region_and_id(scope: Scope) -> None:
    found = secrets_read()
    verdict = decide(found, scope, State([KEY]), NOON)
    assert verdict.token == token_of(found)
    assert re.fullmatch(r"emergency-gd-[0-9a-f]{32}", token_of(found))
    others = [
        replace(found, account="210987654321"),
        replace(found, region="eu-west-1"),
        replace(found, id="0" * 32),
    ]
    assert len({token_of(one) for one in [found, *others]}) == 4
    assert token_of(replace(found, severity=9.0, is_update=True)) == token_of(found)


def test_a_finding_that_has_rotated_does_not_rotate_again(scope: Scope) -> None:
    verdict = decide(secrets_read(), scope, State([rotated(NOON - MINUTE)]), NOON)
    assert verdict == Decision("ignore", "The key is newer than the last activity of the finding.")


def test_a_key_from_any_later_rotation_will_do(scope: Scope) -> None:
    scheduled = Version(NEW, NOON - MINUTE, CURRENT)
    assert decide(secrets_read(), scope, State([scheduled]), NOON).action == "ignore"


def test_activity_after_the_rotation_may_start_another_under_the_next_number(scope: Scope) -> None:
    again = replace(secrets_read(), last_seen=NOON)
    made = NOON - timedelta(hours=2)
    second = decide(again, scope, recorded(rotated(made)), NOON)
    assert second.token == f"{token_of(again)}-2"
    state = recorded(rotated(made - timedelta(days=2), labels=NONE), rotated(made, "-2"))
    third = decide(again, scope, state, NOON)
    assert third.token == f"{token_of(again)}-3"
    assert ROTATION_ID.fullmatch(third.token)


def test_a_number_is_used_once_whatever_is_left_of_those_before(scope: Scope) -> None:
    """A version that never got a value is not shown once its label is gone; it is recorded."""
    found, made = replace(secrets_read(), last_seen=NOON), NOON - timedelta(hours=2)
    pruned = decide(found, scope, State([rotated(made, "-7")]), NOON)
    assert pruned.token == f"{token_of(found)}-8"
    unseen = StartedRotation(f"{token_of(found)}-9", made, K8S, "0" * 32)
    assert decide(found, scope, State([KEY], [unseen]), NOON).token == f"{token_of(found)}-10"
    other = StartedRotation(f"{token_of(found)}x", made, K8S, "0" * 32)
    assert decide(found, scope, State([KEY], [other]), NOON).token == token_of(found)
    about_to_start = StartedRotation(token_of(found), NOON - MINUTE, K8S, "0" * 32)
    assert decide(found, scope, State([KEY], [about_to_start]), NOON).token == token_of(found)


def test_a_finding_within_the_cool_down_is_held_back_and_told(scope: Scope) -> None:
    other = recorded(Version("emergency-gd-" + "0" * 32, NOON - timedelta(minutes=59), CURRENT))
    found = replace(secrets_read(), last_seen=NOON)
    held = decide(found, scope, other, NOON)
    assert held.action == "notify"
    assert "FindingLimits" in held.reason
    later = decide(found, scope, other, NOON + MINUTE)
    assert later.action == "rotate"


@pytest.mark.parametrize("token", ["emergency-2026-11-24-alice-was-hacked", NEW, "planned-" + NEW])
def test_only_what_findings_have_rotated_counts_for_the_limits(token: str, scope: Scope) -> None:
    limited = replace(scope, daily_limit=1)
    found = replace(secrets_read(), last_seen=NOON)
    state = State([Version(token, NOON - MINUTE, CURRENT)])
    assert decide(found, limited, state, NOON).action == "rotate"


def three_of_a_day() -> list[Version]:
    made = [NOON - timedelta(hours=hours) for hours in (23, 12, 2)]
    return [
        Version(f"emergency-gd-{number:032x}", when, CURRENT if number == 2 else NONE)
        for number, when in enumerate(made)
    ]


def test_findings_rotate_no_more_often_than_allowed_in_a_day(scope: Scope) -> None:
    found, state = replace(secrets_read(), last_seen=NOON), recorded(*three_of_a_day())
    held = decide(found, scope, state, NOON)
    assert held.action == "notify"
    assert "FindingLimits" in held.reason
    assert decide(found, scope, state, NOON + timedelta(hours=1)).action == "rotate"
    assert decide(found, replace(scope, daily_limit=4), state, NOON).action == "rotate"


def test_rotations_by_hand_under_a_findings_token_hold_no_finding_back(scope: Scope) -> None:
    found = replace(secrets_read(), last_seen=NOON)
    assert decide(found, scope, State(three_of_a_day()), NOON).action == "rotate"


def test_what_was_recorded_and_never_rotated_holds_no_finding_back(scope: Scope) -> None:
    """A version that never got a value, one that is pending, one that is gone."""
    started = [
        StartedRotation(f"emergency-gd-{number:032x}", NOON - MINUTE, K8S, "0" * 32)
        for number in range(9)
    ]
    pending = Version(started[0].token, NOON - 3 * MINUTE, PENDING)
    found = replace(secrets_read(), last_seen=NOON)
    verdict = decide(found, scope, State([KEY, pending], started), NOON + 3 * MINUTE)
    assert verdict.action == "rotate"


def test_a_rotation_in_the_way_is_named(scope: Scope) -> None:
    found = secrets_read()
    scheduled = decide(found, scope, State([KEY, Version(NEW, NOON, PENDING)]), NOON)
    assert (scheduled.token, scheduled.blocked_by) == (token_of(found), NEW)


SENT = datetime.fromisoformat("2026-11-24T11:57:02Z")
OF_HAND, OF_FINDING = "emergency-" + NEW, "emergency-gd-" + "0" * 32


def pending(token: str, made: datetime | None, recorded_at: datetime | None = None) -> State:
    started = [StartedRotation(token, recorded_at, K8S, "0" * 32)] if recorded_at else []
    return State([KEY, Version(token, made, PENDING)], started)


@pytest.mark.parametrize(
    ("state", "since"),
    [
        (pending(OF_HAND, SENT), SENT),
        (pending(OF_FINDING, SENT), SENT),
        # Without a value a version tells no date: it is as old as this event has known it to be.
        (pending(OF_HAND, None), SENT),
        (pending(OF_FINDING, None), SENT),
        # When a finding's was started is recorded, also before it has a value.
        (pending(OF_FINDING, None, SENT + MINUTE), SENT + MINUTE),
        (pending(OF_FINDING, SENT + 2 * MINUTE, SENT), SENT),
    ],
)
def test_an_emergency_under_way_is_joined_for_two_minutes_and_then_overtaken(
    state: State, since: datetime, scope: Scope
) -> None:
    found, blocking = secrets_read(), state.versions[1].id
    just_before = since + 2 * MINUTE - timedelta(seconds=1)
    joined = decide(found, scope, state, just_before)
    assert (joined.action, joined.token, joined.joins) == ("rotate", blocking, True)
    overtaken = decide(found, scope, state, since + 2 * MINUTE)
    assert (overtaken.action, overtaken.joins) == ("rotate", False)
    assert (overtaken.token, overtaken.blocked_by) == (token_of(found), blocking)


# A finding about a key that was replaced


def replaced(labels: frozenset[str] = PREVIOUS, *, seen: datetime = LONG_AGO) -> State:
    return State([Version(NEW, NOON - MINUTE, CURRENT), Version(OLD, seen, labels)])


def test_a_finding_about_the_key_before_marks_it_and_rotates_nothing(scope: Scope) -> None:
    verdict = decide(secrets_read(), scope, replaced(), NOON)
    assert (verdict.action, verdict.exposed, verdict.token) == ("mark", OLD, None)
    assert "newer than the last activity" in verdict.reason


def test_no_limit_holds_a_mark_back(scope: Scope) -> None:
    limited = replace(scope, daily_limit=1, cooldown=timedelta(days=1))
    rotated_before = Version(token_of(secrets_read()), NOON - 3 * MINUTE, CURRENT)
    state = State(
        [rotated_before, Version(OLD, LONG_AGO, PREVIOUS)], recorded(rotated_before).started
    )
    assert decide(secrets_read(), limited, state, NOON).action == "mark"


def test_an_emergency_is_left_the_time_to_mark_what_it_has_replaced(scope: Scope) -> None:
    emergency = Version("emergency-" + NEW, NOON, CURRENT)
    state = State([emergency, Version(OLD, LONG_AGO, PREVIOUS)])
    assert decide(secrets_read(), scope, state, NOON + MINUTE).action == "ignore"
    assert decide(secrets_read(), scope, state, NOON + 2 * MINUTE).action == "mark"


@pytest.mark.parametrize(
    "state",
    [
        replaced(NONE),
        replaced(seen=NOON - 5 * MINUTE),
        State([Version(NEW, NOON - MINUTE, CURRENT), Version(OLD, None, PREVIOUS)]),
    ],
    ids=["it cannot come back", "it is newer too", "nobody knows when it was made"],
)
def test_where_no_older_key_can_come_back_there_is_nothing_to_mark(
    state: State, scope: Scope
) -> None:
    assert decide(secrets_read(), scope, state, NOON).action == "ignore"


def test_a_finding_that_is_not_about_us_marks_nothing(scope: Scope) -> None:
    other = replace(secrets_read(), clusters=frozenset({"other"}))
    assert decide(other, scope, replaced(), NOON).action == "notify"


def test_a_pending_label_on_the_current_version_is_in_nobodys_way(scope: Scope) -> None:
    state = State([Version(OLD, LONG_AGO, CURRENT | PENDING)])
    assert decide(secrets_read(), scope, state, NOON).blocked_by is None


def test_a_secret_without_a_current_version_can_be_judged(scope: Scope) -> None:
    assert decide(secrets_read(), scope, State([]), NOON).action == "rotate"


# The event


@every_case(
    "spoil",
    [
        {"id": "../../x"},
        {"id": "A" * 32},
        {"type": "CredentialAccess:Kubernetes/TorIPCaller\nforged line"},
        {"type": None},
        {"accountId": 123456789012},
        {"region": "eu-central-1 "},
        {"severity": "8"},
        {"severity": True},
        {"service.eventLastSeen": None, "updatedAt": "yesterday"},
        {"service": None},
    ],
)
def test_a_finding_without_sound_facts_is_refused_and_not_quoted(spoil: Json) -> None:
    if "service" in spoil:
        spoil = {**spoil, "updatedAt": None}
    with pytest.raises(errors.RequestRefused) as told:
        parse_finding(changed(event("respond_to_finding"), spoil))
    assert "forged" not in str(told.value)


@pytest.mark.parametrize("name", ["source", "detail-type", "detail"])
def test_an_event_that_is_no_finding_is_refused(name: str) -> None:
    found = event("respond_to_finding")
    with pytest.raises(errors.RequestRefused):
        parse_finding({**found, name: "aws.ec2"})
    del found[name]
    with pytest.raises(errors.RequestRefused):
        parse_finding(found)


def test_the_last_activity_of_a_finding_without_one_is_its_update() -> None:
    found = parse_finding(changed(event("respond_to_finding"), {"service.eventLastSeen": None}))
    assert found.last_seen == datetime.fromisoformat("2026-11-24T11:56:31.118Z")


def test_when_the_event_was_sent_is_known_and_else_when_the_finding_was_seen() -> None:
    assert secrets_read().sent == SENT
    for time in (None, "yesterday", 7):
        found = parse_finding({**event("respond_to_finding"), "time": time})
        assert found.sent == found.last_seen


def test_an_update_is_told_from_a_new_finding_by_its_times() -> None:
    assert secrets_read().is_update is False
    later = changed(event("respond_to_finding"), {"updatedAt": "2026-11-24T17:56:31.118Z"})
    assert parse_finding(later).is_update is True


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
EVERY_FINDING = [load(path) for path in FIXTURES]
PLACES = sorted(
    {name for found in EVERY_FINDING for name in found["detail"]}
    | {f"service.{name}" for found in EVERY_FINDING for name in found["detail"]["service"]}
    | {f"resource.{name}" for found in EVERY_FINDING for name in found["detail"]["resource"]}
)


@given(st.sampled_from(EVERY_FINDING), st.dictionaries(st.sampled_from(PLACES), JSON, max_size=4))
def test_whatever_a_finding_holds_it_is_read_or_refused(found: Json, change: Json) -> None:
    below = {place.partition(".")[0] for place in change if "." in place}
    change = {place: value for place, value in change.items() if place not in below}
    try:
        read = parse_finding(changed(found, change))
    except errors.RequestRefused:
        return
    for name, form in FORMS.items():
        shown = {"id": read.id, "type": read.type, "accountId": read.account, "region": read.region}
        assert re.fullmatch(form, shown[name])


def test_names_of_whatever_origin_are_not_shown() -> None:
    found = parse_finding(
        changed(event("respond_to_finding"), {NAMESPACE: "hunter2", USER: "hunter2"})
    )
    assert "hunter2" in found.namespaces & found.principals
    assert "hunter2" not in repr(found)


def test_every_place_is_asked_for_by_some_type() -> None:
    assert set(ROTATES.values()) == set(Where)
