"""`keyturn.secret`: the four steps, repeated, raced and interrupted."""

import itertools
import json

import pytest

from keyturn import errors, exposure, key, secret
from keyturn.checks import PATIENCE_SECONDS, Check, find_problems, run_checks
from keyturn.finding_history import StartedRotation
from keyturn.labels import confirm_current, labelled
from keyturn.run import Origin, Run
from keyturn.secret import Move
from keyturn.trigger import classify
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.fakes import FakeRuns, FakeSecretStore, FakeStopwatch

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def event(step: str, version: str = NEW, arn: str = ARN) -> dict[str, str]:
    return {"Step": step, "SecretId": arn, "ClientRequestToken": version}


class Bench:
    """A rotation on fakes."""

    def __init__(self, document: str) -> None:
        self.store = FakeSecretStore({OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}, {OLD: document})
        self.runs = FakeRuns()
        self.checks: list[Check] = []
        self.health: list[Check] = []

    def take(self, step: str, version: str = NEW) -> dict[str, object]:
        rotation = secret.Rotation(
            ARN, self.store, self.runs, self.checks, self.health, "emergency"
        )
        return secret.take_step(rotation, secret.parse(event(step, version), ARN))

    def rotate(self) -> None:
        for step in STEPS:
            self.take(step)

    @property
    def current(self) -> str | None:
        return labelled(self.store.stages, "AWSCURRENT")


def started(bench: Bench) -> Run:
    """The run of the new version, with the reason that the rotation gives."""
    asked = bench.store.created(NEW)
    why = classify(NEW, bench.store.schedule(), asked, "emergency")
    assert (why.kind, why.mode) == ("schedule", "scheduled")
    return Run(NEW, ARN, why.mode, OLD, Origin(why.kind, why.reason, ASKED))


@pytest.fixture
def bench(document: str) -> Bench:
    return Bench(document)


def test_a_rotation_promotes_a_new_key_and_starts_one_run(bench: Bench) -> None:
    bench.rotate()
    assert bench.store.stages == {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
    assert bench.runs.started == [started(bench)]
    old, new = (key.parse_document(bench.store.documents[v]).key for v in (OLD, NEW))
    assert old != new


def test_other_fields_of_the_document_are_kept(bench: Bench) -> None:
    fields = {
        **json.loads(bench.store.documents[OLD]),
        "client_id": "console",
        "n": [1, {"x": None}],
    }
    bench.store.documents[OLD] = json.dumps(fields)
    bench.rotate()
    kept = json.loads(bench.store.documents[NEW])
    assert {**kept, key.FIELD: fields[key.FIELD]} == fields


@pytest.mark.parametrize("again", STEPS)
def test_the_whole_rotation_may_be_repeated_after_any_step(bench: Bench, again: str) -> None:
    for step in STEPS[: STEPS.index(again) + 1]:
        bench.take(step)
    bench.rotate()
    first = bench.store.documents[NEW]
    bench.rotate()
    assert bench.store.documents[NEW] == first
    assert bench.store.writes == [NEW]
    assert bench.store.stages == {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
    assert len(bench.runs.started) == 1


def test_a_lost_answer_never_makes_a_second_key(bench: Bench) -> None:
    bench.store.lost_answers = 2
    with pytest.raises(errors.SecretsManagerUnavailable):
        bench.rotate()
    stored = bench.store.documents[NEW]
    with pytest.raises(errors.SecretsManagerUnavailable):
        bench.rotate()
    bench.rotate()
    assert bench.store.documents[NEW] == stored
    assert bench.current == NEW
    assert len(bench.runs.started) == 1


def test_a_racing_writer_wins_and_its_key_is_used(bench: Bench, document: str) -> None:
    raced = json.dumps({key.FIELD: key.generate().base64})
    bench.store.racing_document = raced
    facts = bench.take("createSecret")
    assert facts["created"] is False
    assert bench.store.documents[NEW] == raced


def test_a_run_that_could_not_be_started_is_started_by_the_retry(bench: Bench) -> None:
    bench.runs.down = True
    with pytest.raises(errors.StateMachineUnavailable):
        bench.rotate()
    assert bench.current == NEW
    bench.runs.down = False
    bench.rotate()
    assert bench.runs.started == [started(bench)]


def test_a_promotion_that_another_made_first_is_a_success_if_it_is_ours(bench: Bench) -> None:
    for step in STEPS[:3]:
        bench.take(step)
    seen = bench.store.labels()
    bench.store.move_current(NEW, OLD)
    bench.store.labels = iter([seen, bench.store.labels()]).__next__  # type: ignore[method-assign]
    bench.take("finishSecret")
    assert bench.runs.started == [started(bench)]


def test_a_label_that_moved_elsewhere_stops_the_promotion(bench: Bench, document: str) -> None:
    other = "22222222-2222-4222-8222-222222222222"
    for step in STEPS[:3]:
        bench.take(step)
    seen = bench.store.labels()
    bench.store.stages[other], bench.store.documents[other] = [], document
    bench.store.move_current(other, OLD)
    bench.store.labels = iter([seen, bench.store.labels()]).__next__  # type: ignore[method-assign]
    with pytest.raises(errors.LabelMoved):
        bench.take("finishSecret")
    assert bench.current == other
    assert bench.runs.started == []


@pytest.mark.parametrize("step", ["createSecret", "setSecret", "testSecret"])
def test_a_malformed_current_value_stops_the_rotation_with_nothing_promoted(
    bench: Bench, step: str
) -> None:
    bench.store.documents[OLD] = "not json"
    with pytest.raises(errors.SecretNotJson):
        bench.rotate()
    assert bench.current == OLD
    assert bench.store.documents == {OLD: "not json"}


def test_a_malformed_pending_value_is_not_promoted(bench: Bench) -> None:
    bench.store.documents[NEW] = json.dumps({key.FIELD: "c2hvcnQ="})
    for step in ("testSecret", "finishSecret"):
        with pytest.raises(errors.KeyNot32Bytes):
            bench.take(step)
    assert bench.current == OLD


def test_a_secret_without_a_first_value_is_refused(bench: Bench) -> None:
    bench.store.stages = {NEW: ["AWSPENDING"]}
    with pytest.raises(errors.RequestRefused, match="no current version"):
        bench.take("createSecret")


def test_the_dry_run_passes_with_the_current_value_under_a_new_version(bench: Bench) -> None:
    bench.store.documents[NEW] = bench.store.documents[OLD]
    facts = bench.take("testSecret")
    assert facts["fingerprint"] == key.parse_document(bench.store.documents[OLD]).key.fingerprint
    assert bench.current == OLD


@pytest.mark.parametrize("step", STEPS)
def test_a_token_that_is_no_version_is_refused(bench: Bench, step: str) -> None:
    with pytest.raises(errors.RequestRefused, match="not a version"):
        bench.take(step, "33333333-3333-4333-8333-333333333333")
    assert bench.store.writes == []


@pytest.mark.parametrize("step", STEPS)
def test_a_version_that_is_not_pending_is_refused(bench: Bench, step: str) -> None:
    bench.store.stages[NEW] = []
    with pytest.raises(errors.RequestRefused, match="not pending"):
        bench.take(step)
    assert bench.store.writes == []


@pytest.mark.parametrize(
    "bad",
    [
        event("createSecret", arn=ARN + "x"),
        event("create_secret"),
        event("deleteSecret"),
        event("createSecret", version="short"),
        event("createSecret", version="x" * 40 + "/"),
        event("createSecret", version="x" * 65),
        {},
    ],
)
def test_a_request_that_is_not_ours_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(errors.RequestRefused):
        secret.parse(bad, ARN)


def test_a_rotation_token_is_passed_on_and_not_shown() -> None:
    request = secret.parse({**event("createSecret"), "RotationToken": "a-very-secret-token"}, ARN)
    assert request.rotation_token == "a-very-secret-token"
    assert "a-very-secret-token" not in repr(request)


def failing(error: errors.KeyturnError) -> Check:
    def check() -> None:
        raise error

    return check


def test_a_failed_check_stops_the_rotation_before_the_promotion(bench: Bench) -> None:
    bench.checks = [lambda: None, failing(errors.ServicePaused("it is paused"))]
    bench.take("createSecret")
    with pytest.raises(errors.ServicePaused):
        bench.take("setSecret")
    assert bench.current == OLD


def test_an_unhealthy_service_stops_the_rotation_before_the_promotion(bench: Bench) -> None:
    bench.health = [failing(errors.ServiceUnhealthy("503"))]
    with pytest.raises(errors.ServiceUnhealthy):
        bench.rotate()
    assert bench.current == OLD
    assert bench.runs.started == []


URGENT = "emergency-00000000000000000000000000"


def test_an_emergency_hands_on_what_the_checks_had_against_it(bench: Bench) -> None:
    """Once, by the call that starts the run: the steps share nothing but the secret."""
    asked: list[str] = []
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.checks = [lambda: asked.append("consumers"), failing(errors.ServicePaused("paused"))]
    bench.health = [failing(errors.ServiceUnhealthy("503"))]
    for step in STEPS:
        facts = bench.take(step, URGENT)
    (run,) = bench.runs.started
    assert run.failed_checks == ("ServicePaused: paused", "ServiceUnhealthy: 503")
    assert facts["failedChecks"] == run.failed_checks
    assert asked == ["consumers"]
    assert bench.current == URGENT
    assert bench.store.stages[OLD] == []


BEFORE = "99999999-9999-4999-8999-999999999999"


def emergency(bench: Bench) -> dict[str, object]:
    """An emergency that overtakes a scheduled run, up to its promotion; returns the last facts."""
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.store.stages[BEFORE] = ["AWSPREVIOUS"]
    bench.store.documents[BEFORE] = json.dumps({key.FIELD: key.generate().base64})
    for step in STEPS[:-1]:
        bench.take(step, URGENT)
    return bench.take("finishSecret", URGENT)


def marked(bench: Bench) -> dict[str, str | None]:
    return {mark.version: mark.fingerprint for mark in bench.store.marks()}


def fingerprint(bench: Bench, version: str) -> str:
    return key.parse_document(bench.store.documents[version]).key.fingerprint


def test_an_emergency_marks_every_key_that_may_have_been_in_use_before_it(bench: Bench) -> None:
    facts = emergency(bench)
    assert marked(bench) == {version: fingerprint(bench, version) for version in (BEFORE, OLD)}
    assert {mark.reason for mark in bench.store.marks()} == {"emergency"}
    assert (facts["exposed"], "notMarked" in facts) == ([BEFORE, OLD], False)
    assert bench.store.stages == {OLD: [], BEFORE: [], URGENT: ["AWSCURRENT"]}


FOUND = f"CredentialAccess:Kubernetes/TorIPCaller {'0' * 32}"


def test_a_finding_s_rotation_names_its_finding_and_one_by_hand_does_not(document: str) -> None:
    token = "emergency-gd-" + "0" * 32
    recorded = StartedRotation(token, NOON, *FOUND.split())
    for tags, expected in (({recorded.tag_key: recorded.tag_value}, FOUND), ({}, "")):
        bench = Bench(document)
        bench.store.tags = tags
        bench.store.stages[token] = bench.store.stages.pop(NEW)
        for step in STEPS:
            bench.take(step, token)
        (run,) = bench.runs.started
        assert run.mode == "emergency"
        assert run.origin.finding == expected
        assert run.origin.kind == ("finding" if expected else "emergency")


def test_a_scheduled_rotation_marks_nothing(bench: Bench) -> None:
    bench.rotate()
    assert bench.store.marks() == []


def test_a_mark_that_fails_stops_no_emergency_and_is_told(bench: Bench) -> None:
    bench.store.tags_down = True
    facts = emergency(bench)
    assert facts["exposed"] == []
    assert facts["notMarked"] == [f"{v}: SecretsManagerUnavailable" for v in (BEFORE, OLD)]
    assert [run.rotation_id for run in bench.runs.started] == [URGENT]
    assert bench.store.stages == {OLD: [], BEFORE: [], URGENT: ["AWSCURRENT"]}


def test_the_run_of_an_emergency_is_started_before_anything_is_marked(bench: Bench) -> None:
    bench.runs.down = True
    with pytest.raises(errors.StateMachineUnavailable):
        emergency(bench)
    assert (bench.current, marked(bench)) == (URGENT, {})
    bench.runs.down = False
    bench.take("finishSecret", URGENT)
    assert marked(bench) == {OLD: fingerprint(bench, OLD)}


def test_an_answer_that_is_lost_while_marking_is_made_up_for(bench: Bench) -> None:
    failures = [errors.SecretsManagerUnavailable("throttled")]

    class Throttled(FakeSecretStore):
        def mark_exposed(self, mark: exposure.Mark) -> None:
            if failures:
                raise failures.pop()
            super().mark_exposed(mark)

    bench.store = Throttled(bench.store.stages, bench.store.documents)
    assert "notMarked" not in emergency(bench)
    assert set(marked(bench)) == {BEFORE, OLD}


def test_a_finding_s_mark_gets_its_fingerprint_from_the_emergency(bench: Bench) -> None:
    bench.store.mark_exposed(exposure.Mark(OLD, NOON, "finding"))
    emergency(bench)
    assert marked(bench)[OLD] == fingerprint(bench, OLD)


def test_a_version_without_a_key_is_marked_all_the_same(bench: Bench) -> None:
    bench.store.documents[OLD] = "not JSON"
    found = exposure.mark_versions(bench.store, [OLD, "8" * 36], "emergency", NOON)
    assert found == {"exposed": [OLD, "8" * 36]}
    assert marked(bench) == {OLD: None, "8" * 36: None}


def test_a_retry_of_an_emergency_whose_run_could_not_be_started_looks_again(bench: Bench) -> None:
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.checks, bench.runs.down = [failing(errors.ServicePaused("paused"))], True
    for step in STEPS[:3]:
        bench.take(step, URGENT)
    with pytest.raises(errors.StateMachineUnavailable):
        bench.take("finishSecret", URGENT)
    bench.checks, bench.runs.down = [failing(errors.ClusterUnavailable("silent"))], False
    bench.take("finishSecret", URGENT)
    (run,) = bench.runs.started
    assert run.failed_checks == ("ClusterUnavailable: silent",)


def test_a_scheduled_run_has_no_failed_check(bench: Bench) -> None:
    bench.rotate()
    assert bench.runs.started[0].failed_checks == ()


def test_an_emergency_does_not_wait_for_an_environment_that_is_slow() -> None:
    watch = FakeStopwatch()

    def slow() -> None:
        watch.seconds += PATIENCE_SECONDS * 0.6
        raise errors.ClusterUnavailable("silent")

    assert find_problems([slow, slow, slow, slow], watch) == (
        "ClusterUnavailable: silent",
        "ClusterUnavailable: silent",
        "2 of 4 checks were not made, since those before took too long.",
    )


def test_no_defect_of_a_check_stops_an_emergency_or_shows_a_value() -> None:
    def broken() -> None:
        raise ValueError("a value")

    said = find_problems([broken, failing(errors.ServicePaused("paused")), lambda: None])
    assert said == (
        "UnexpectedFault: a check met a defect, ValueError.",
        "ServicePaused: paused",
    )


def test_all_failed_checks_are_told_at_once() -> None:
    checks = [
        failing(errors.ServiceNotFound("no Deployment web-console")),
        lambda: None,
        failing(errors.SessionStoreUnavailable("Redis is down")),
    ]
    with pytest.raises(errors.ServiceNotFound, match="SessionStoreUnavailable: Redis is down"):
        run_checks(checks)


def test_a_run_whose_version_is_no_longer_current_is_superseded(bench: Bench, run: Run) -> None:
    with pytest.raises(errors.Superseded, match=OLD):
        confirm_current(bench.store, run.version)
    bench.rotate()
    confirm_current(bench.store, run.version)


@pytest.mark.parametrize(
    ("step", "labels"),
    list(
        itertools.product(STEPS, [[], ["AWSPENDING"], ["AWSCURRENT"], ["AWSCURRENT", "AWSPENDING"]])
    ),
)
def test_every_step_has_one_answer_for_every_state_of_the_labels(
    step: secret.Step, labels: list[str]
) -> None:
    stages = {OLD: [] if "AWSCURRENT" in labels else ["AWSCURRENT"], NEW: labels}
    if not labels:
        with pytest.raises(errors.RequestRefused):
            secret.next_move(step, NEW, stages)
        return
    move = secret.next_move(step, NEW, stages)
    if "AWSCURRENT" not in labels:
        assert move in {Move.CREATE, Move.CHECK_CONSUMERS, Move.TEST, Move.PROMOTE}
    else:
        assert move is (Move.ENSURE_STARTED if step == "finishSecret" else Move.NOTHING)
