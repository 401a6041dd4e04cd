"""The four steps, repeated, raced and interrupted."""

import itertools
import json
from dataclasses import replace

import pytest

from keyturn import errors
from keyturn.rotation import preflight, steps
from keyturn.rotation.steps import StepAction
from keyturn.run.run import Origin, Run
from keyturn.secret import exposure, key
from keyturn.secret.finding_history import StartedRotation
from keyturn.secret.staging_labels import confirm_current, labelled
from keyturn.secret.trigger import classify
from tests.conftest import ARN, ASKED, NEW, NOON, OLD
from tests.every_case import every_case
from tests.fakes import FakeQuestions, FakeRuns, FakeSecretStore

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def event(step: str, version: str = NEW, arn: str = ARN) -> dict[str, str]:
    return {"Step": step, "SecretId": arn, "ClientRequestToken": version}


class Bench:
    """A rotation on fakes."""

    def __init__(self, document: str) -> None:
        self.store = FakeSecretStore({OLD: ["AWSCURRENT"], NEW: ["AWSPENDING"]}, {OLD: document})
        self.runs = FakeRuns()
        self.functions = FakeQuestions()

    def take(self, step: str, version: str = NEW) -> dict[str, object]:
        rotation = steps.Rotation(ARN, self.store, self.runs, self.functions, "emergency")
        return steps.take_step(rotation, steps.parse_request(event(step, version), ARN))

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
    made = key.parse_document(bench.store.documents[NEW]).key
    return Run(NEW, ARN, why.mode, OLD, Origin(why.kind, ASKED), fingerprint=made.fingerprint)


@pytest.fixture
def bench(document: str) -> Bench:
    return Bench(document)


def test_a_rotation_promotes_a_new_key_and_starts_one_run(bench: Bench) -> None:
    bench.rotate()
    assert bench.store.stages == {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
    assert bench.runs.started == [started(bench)]
    old, new = (key.parse_document(bench.store.documents[v]).key for v in (OLD, NEW))
    assert old != new


def document_with(more: str) -> str:
    """A document of a new key with more fields, as they are written."""
    return key.new_document(key.generate_key()).text[:-1] + f", {more}}}"


def test_other_fields_of_the_document_are_kept_as_they_are_written(bench: Bench) -> None:
    bench.store.documents[OLD] = document_with('"limit":  12345678901234567890.25, "n": "\u00fc"')
    bench.rotate()
    old, new = (bench.store.documents[v] for v in (OLD, NEW))
    before, after = (key.parse_document(text).key.base64 for text in (old, new))
    assert new == old.replace(before, after)


def test_a_document_that_is_too_large_is_refused_before_it_is_stored(bench: Bench) -> None:
    bench.store.documents[OLD] = document_with(f'"note": "{"x" * key.DOCUMENT_BYTES}"')
    with pytest.raises(errors.SecretTooLarge):
        bench.take("createSecret")
    assert (bench.store.writes, bench.current) == ([], OLD)


def test_fields_that_changed_after_createsecret_are_not_overwritten(
    bench: Bench,
) -> None:
    """Somebody moved AWSCURRENT to a version with other fields, as runbooks do."""
    for step in STEPS[:3]:
        bench.take(step)
    other = "22222222-2222-4222-8222-222222222222"
    bench.store.stages[other], bench.store.documents[other] = [], document_with('"limit": 2')
    bench.store.move_current(other, OLD)
    with pytest.raises(errors.OtherFieldsChanged, match=f"remove-from-version-id {NEW}") as refused:
        bench.take("finishSecret")
    assert "limit" not in str(refused.value)
    assert (bench.current, bench.runs.started) == (other, [])


def test_fields_that_changed_hold_up_no_emergency(bench: Bench) -> None:
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    for step in STEPS[:3]:
        bench.take(step, URGENT)
    other = "22222222-2222-4222-8222-222222222222"
    bench.store.stages[other], bench.store.documents[other] = [], document_with('"limit": 2')
    bench.store.move_current(other, OLD)
    bench.take("finishSecret", URGENT)
    assert bench.current == URGENT
    (run,) = bench.runs.started
    assert exposure.mark_replaced(bench.store, run, NOON)["otherFieldsChanged"] is True


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
    raced = json.dumps({key.FIELD: key.generate_key().base64})
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
        steps.parse_request(bad, ARN)


def test_a_rotation_token_is_passed_on_and_not_shown() -> None:
    request = steps.parse_request(
        {**event("createSecret"), "RotationToken": "a-very-secret-token"}, ARN
    )
    assert request.rotation_token == "a-very-secret-token"
    assert "a-very-secret-token" not in repr(request)


def answered(**problems: str) -> list[preflight.FunctionAnswer]:
    """What the functions answer: those that have a problem, and one that has none."""
    found: list[preflight.FunctionAnswer] = [
        {"function": name, "problems": [{"error": error, "message": "it is so"}]}
        for name, error in problems.items()
    ]
    return [*found, {"function": "purge_sessions", "problems": [], "notes": []}]


def test_a_function_that_cannot_work_stops_the_rotation_in_setsecret(
    bench: Bench,
) -> None:
    bench.functions.answers = answered(restart_service="ServicePaused")
    bench.take("createSecret")
    with pytest.raises(errors.ServicePaused, match="restart_service: it is so"):
        bench.take("setSecret")
    assert (bench.current, bench.runs.started) == (OLD, [])


def test_every_problem_is_named_at_once(bench: Bench) -> None:
    bench.functions.answers = answered(deliver_key="AccessDenied", purge_sessions="FlushRefused")
    bench.take("createSecret")
    with pytest.raises(errors.AccessDenied, match="Also: FlushRefused: purge_sessions: it is so"):
        bench.take("setSecret")


@pytest.mark.parametrize("answers", [None, []], ids=["not in time", "ended without"])
def test_a_scheduled_rotation_without_answers_is_not_promoted(
    bench: Bench, answers: preflight.Answers | None
) -> None:
    bench.functions.answers = answers
    bench.take("createSecret")
    with pytest.raises(errors.PreflightUnanswered):
        bench.take("setSecret")


def test_the_dry_run_asks_what_a_scheduled_rotation_asks(bench: Bench) -> None:
    bench.store.documents[NEW] = bench.store.documents[OLD]
    assert bench.take("testSecret")["asked"] == 1
    bench.functions.answers = answered(validate_rotation="ServiceUnhealthy")
    with pytest.raises(errors.ServiceUnhealthy):
        bench.take("testSecret")
    assert bench.functions.asked == ["preflight", "preflight"]


URGENT = "emergency-00000000000000000000000000"


def test_an_emergency_is_promoted_and_started_before_anybody_is_asked(bench: Bench) -> None:
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.functions.answers = None  # nobody answers
    at_the_question: list[tuple[str | None, int]] = []
    start = bench.functions.start

    def asked(question: preflight.Question, name: str) -> None:
        at_the_question.append((bench.current, len(bench.runs.started)))
        start(question, name)

    bench.functions.start = asked  # type: ignore[method-assign]
    for step in STEPS:
        bench.take(step, URGENT)
    assert at_the_question == [(URGENT, 1)]
    assert bench.functions.asked == []
    assert bench.functions.started == [f"pre-{URGENT}"]


BEFORE = "99999999-9999-4999-8999-999999999999"


def emergency(bench: Bench) -> Run:
    """An emergency that overtakes a scheduled run, up to its promotion; returns its run."""
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.store.stages[BEFORE] = ["AWSPREVIOUS"]
    bench.store.documents[BEFORE] = key.new_document(key.generate_key()).text
    for step in STEPS:
        bench.take(step, URGENT)
    (run,) = bench.runs.started
    return run


def marked(bench: Bench) -> dict[str, str | None]:
    return {mark.version: mark.fingerprint for mark in bench.store.marks()}


def fingerprint(bench: Bench, version: str) -> str:
    return key.parse_document(bench.store.documents[version]).key.fingerprint


def test_finish_secret_changes_nothing_of_the_secret_but_the_current_label(bench: Bench) -> None:
    """AWSPENDING leaves with AWSCURRENT's move, and by no call of its own."""
    emergency(bench)
    assert bench.store.stages == {BEFORE: [], OLD: ["AWSPREVIOUS"], URGENT: ["AWSCURRENT"]}
    assert marked(bench) == {}


@pytest.mark.parametrize("keeps", [False, True])
def test_a_rotation_relies_on_no_pending_label_after_the_promotion(
    bench: Bench, keeps: bool
) -> None:
    bench.store.keeps_pending = keeps
    bench.rotate()
    bench.rotate()
    assert bench.store.stages[NEW] == (["AWSPENDING", "AWSCURRENT"] if keeps else ["AWSCURRENT"])
    assert (bench.store.writes, len(bench.runs.started)) == ([NEW], 1)


def test_an_emergencys_run_marks_every_key_that_may_have_been_in_use_before_it(
    bench: Bench,
) -> None:
    run = emergency(bench)
    assert (run.older, run.previous) == (BEFORE, OLD)
    for _ in range(2):
        facts = exposure.mark_replaced(bench.store, run, NOON)
        assert facts["exposed"] == [BEFORE, OLD]
        assert facts["otherFieldsChanged"] is False
        assert marked(bench) == {version: fingerprint(bench, version) for version in (BEFORE, OLD)}
        assert {mark.reason for mark in bench.store.marks()} == {"emergency"}
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


def test_a_rollback_is_ruled_out_even_if_no_mark_can_be_written(
    bench: Bench,
) -> None:
    run = emergency(bench)
    bench.store.tags_down = True
    for _ in range(2):
        with pytest.raises(errors.SecretsManagerUnavailable):
            exposure.mark_replaced(bench.store, run, NOON)
        assert bench.store.stages == {OLD: [], BEFORE: [], URGENT: ["AWSCURRENT"]}
    bench.store.tags_down = False
    exposure.mark_replaced(bench.store, run, NOON)
    assert set(marked(bench)) == {BEFORE, OLD}


def test_an_emergency_whose_run_could_not_be_started_is_started_by_the_retry(bench: Bench) -> None:
    bench.runs.down = True
    with pytest.raises(errors.StateMachineUnavailable):
        emergency(bench)
    assert bench.current == URGENT
    bench.runs.down = False
    bench.take("finishSecret", URGENT)
    (run,) = bench.runs.started
    exposure.mark_replaced(bench.store, run, NOON)
    assert marked(bench) == {OLD: fingerprint(bench, OLD)}


def test_a_finding_s_mark_gets_its_fingerprint_from_the_emergency(bench: Bench) -> None:
    bench.store.mark_exposed(exposure.Mark(OLD, NOON, "finding"))
    exposure.mark_replaced(bench.store, emergency(bench), NOON)
    assert marked(bench)[OLD] == fingerprint(bench, OLD)


def test_a_version_without_a_key_is_marked_all_the_same(bench: Bench) -> None:
    run = replace(emergency(bench), older="8" * 36)
    bench.store.documents[OLD] = bench.store.documents["8" * 36] = "not JSON"
    facts = exposure.mark_replaced(bench.store, run, NOON)
    assert (facts["exposed"], facts["otherFieldsChanged"]) == (["8" * 36, OLD], None)
    assert marked(bench) == {OLD: None, "8" * 36: None}


def test_a_version_that_does_not_exist_is_not_marked(bench: Bench) -> None:
    """Marks are few: those of versions that an input makes up would drop others."""
    run = replace(emergency(bench), older="8" * 36)
    assert exposure.mark_replaced(bench.store, run, NOON)["exposed"] == [OLD]
    assert set(marked(bench)) == {OLD}


def test_an_emergency_that_was_overtaken_marks_what_it_has_replaced(bench: Bench) -> None:
    run = emergency(bench)
    bench.store.stages[NEW] = []
    bench.store.move_current(NEW, URGENT)
    exposure.mark_replaced(bench.store, run, NOON)
    assert set(marked(bench)) == {BEFORE, OLD}
    assert bench.store.stages[URGENT] == ["AWSPREVIOUS"]


@pytest.mark.parametrize("carried", [["AWSCURRENT"], ["AWSPENDING"]])
def test_no_input_marks_the_key_in_use_or_one_to_come(carried: list[str]) -> None:
    """Whoever may start executions could else keep every key from being delivered."""
    current = {} if "AWSCURRENT" in carried else {URGENT: ["AWSCURRENT"]}
    labels = {OLD: carried, **(current or {URGENT: ["AWSPREVIOUS"]})}
    run = Run(URGENT, ARN, "emergency", OLD, older=OLD)
    assert exposure.replaced_versions(run, labels) == []
    assert exposure.replaced_versions(run, {URGENT: ["AWSPENDING"], OLD: ["AWSPREVIOUS"]}) == []


def test_a_run_that_is_started_again_marks_no_version_that_came_later() -> None:
    """Somebody made NEW current and went back to the emergency's: NEW is not what it replaced."""
    labels = {URGENT: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"], OLD: []}
    assert exposure.replaced_versions(Run(URGENT, ARN, "emergency", OLD), labels) == [OLD]
    assert exposure.replaced_versions(Run(URGENT, ARN, "emergency"), labels) == [NEW]


def test_no_run_of_another_mode_marks_anything(bench: Bench) -> None:
    bench.rotate()
    with pytest.raises(errors.RequestRefused):
        exposure.mark_replaced(bench.store, bench.runs.started[0], NOON)
    assert (marked(bench), bench.store.stages[OLD]) == ({}, ["AWSPREVIOUS"])


def test_an_emergency_goes_on_where_nobody_can_be_asked(bench: Bench) -> None:
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    bench.functions.down = True
    for step in STEPS:
        bench.take(step, URGENT)
    assert (bench.current, len(bench.runs.started)) == (URGENT, 1)


def test_a_retry_of_an_emergency_starts_the_same_run(
    bench: Bench,
) -> None:
    bench.store.stages[URGENT] = bench.store.stages.pop(NEW)
    for step in STEPS:
        bench.take(step, URGENT)
    bench.take("finishSecret", URGENT)
    (run,) = bench.runs.started
    assert run.previous == OLD
    exposure.mark_replaced(bench.store, run, NOON)
    bench.take("finishSecret", URGENT)
    assert bench.runs.started == [run]


def test_a_run_whose_version_is_no_longer_current_is_superseded(bench: Bench, run: Run) -> None:
    with pytest.raises(errors.Superseded, match=OLD):
        confirm_current(bench.store, run.version)
    bench.rotate()
    confirm_current(bench.store, run.version)


@every_case(
    ("step", "labels"),
    list(
        itertools.product(STEPS, [[], ["AWSPENDING"], ["AWSCURRENT"], ["AWSCURRENT", "AWSPENDING"]])
    ),
)
def test_every_step_has_one_answer_for_every_state_of_the_labels(
    step: steps.Step, labels: list[str]
) -> None:
    stages = {OLD: [] if "AWSCURRENT" in labels else ["AWSCURRENT"], NEW: labels}
    if not labels:
        with pytest.raises(errors.RequestRefused):
            steps.next_action(step, NEW, stages)
        return
    move = steps.next_action(step, NEW, stages)
    if "AWSCURRENT" not in labels:
        assert move in {
            StepAction.CREATE,
            StepAction.CHECK_CONSUMERS,
            StepAction.TEST,
            StepAction.PROMOTE,
        }
    else:
        assert move is (StepAction.ENSURE_STARTED if step == "finishSecret" else StepAction.NOTHING)
