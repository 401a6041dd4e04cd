"""The secret store: the same cases on the fake and, over HTTP, on the adapter and the local AWS."""

import base64
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import boto3
import pytest
from botocore.config import Config

from keyturn import errors
from keyturn.adapters.aws import client, secret_description, secrets_manager
from keyturn.adapters.aws.secrets_manager import SecretsManager
from keyturn.delivery import strategy
from keyturn.findings import response
from keyturn.rotation import steps
from keyturn.secret import exposure, key
from keyturn.secret.exposure import MARKS_KEPT, Mark
from keyturn.secret.finding_history import StartedRotation
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING
from keyturn.secret.trigger import Schedule
from local.processes import Processes
from local.secrets_manager import AwsError
from tests.choice import cases
from tests.conftest import NOON
from tests.contract.secrets_manager_account import REGION, Account, open_account, until
from tests.contract.secrets_manager_endpoint import Front, open_endpoint
from tests.fakes import FakeQuestions, FakeRuns, FakeSecretStore

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


class Store(steps.SecretStore, strategy.KeySource, response.Secret, exposure.MarkStore, Protocol):
    """All that is asked of the secret."""


class Bench(Protocol):
    """A secret with a current version, and a pending one that has no value yet."""

    store: Store
    arn: str
    current: str
    pending: str
    document: str


class FakeBench:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf"

    def __init__(self, document: str) -> None:
        self.current, self.pending, self.document = str(uuid.uuid4()), str(uuid.uuid4()), document
        self.store: Store = FakeSecretStore(
            {self.current: [AWSCURRENT], self.pending: [AWSPENDING]},
            {self.current: document},
        )


class RealBench:
    """The function of the rotation fails once, and is not tried again: the clock stands still."""

    def __init__(self, account: Account, document: str) -> None:
        self.account, self.arn, self.document = account, account.arn, document
        self.current = account.put(document)
        account.function.failures["createSecret"] = 1
        self.pending = account.rotate()
        until(lambda: account.waits_to_retry(self.pending), "the failed first step")
        self.store: Store = SecretsManager(account.arn)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[Front, str]]:
    with Processes() as processes, open_endpoint(processes) as endpoint:
        yield endpoint


@pytest.fixture
def front(endpoint: tuple[Front, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """The endpoint with an account of its own, tried once and waited for briefly."""
    front, url = endpoint
    front.fault, front.faulty, front.requests = None, "", []
    once = client.CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
    monkeypatch.setattr(client, "CONFIG", once)
    monkeypatch.setattr(secrets_manager, "CONSISTENCY_SECONDS", 0.3)
    monkeypatch.setattr(secrets_manager, "FIRST_DELAY_SECONDS", 0.01)
    # The default session keeps the credentials with which it was made.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with open_account() as account:
        front.account = account
        yield front


@pytest.fixture
def real(front: Front, document: str) -> RealBench:
    assert front.account
    return RealBench(front.account, document)


@pytest.fixture(params=["fake", "real"])
def bench(request: pytest.FixtureRequest, document: str) -> Bench:
    if request.param == "fake":
        return FakeBench(document)
    found: RealBench = request.getfixturevalue("real")
    return found


def labels(bench: Bench) -> dict[str, set[str]]:
    """The labels of the two versions; others come and go."""
    found = bench.store.labels()
    return {version: set(found.get(version, ())) for version in (bench.current, bench.pending)}


def another() -> str:
    return json.dumps({key.FIELD: key.generate_key().base64})


# The same for both


def test_the_labels_show_a_version_that_has_no_value_too(bench: Bench) -> None:
    assert labels(bench) == {bench.current: {"AWSCURRENT"}, bench.pending: {"AWSPENDING"}}


def test_a_version_without_a_value_is_found_to_have_none(bench: Bench) -> None:
    assert bench.store.find(bench.pending) is None
    assert bench.store.find(str(uuid.uuid4())) is None
    with pytest.raises(errors.SecretsManagerUnavailable):
        bench.store.read(bench.pending)


def test_a_document_comes_back_as_it_was_stored(bench: Bench) -> None:
    assert bench.store.find(bench.current) == bench.store.read(bench.current) == bench.document


def test_a_pending_value_is_stored_and_no_label_moves(bench: Bench) -> None:
    before, document = labels(bench), another()
    assert bench.store.write_pending(bench.pending, document, None) is True
    assert bench.store.read(bench.pending) == document
    assert labels(bench) == before


def test_the_same_value_may_be_stored_again_and_another_may_not(bench: Bench) -> None:
    document = another()
    assert bench.store.write_pending(bench.pending, document, None) is True
    assert bench.store.write_pending(bench.pending, document, None) is True
    assert bench.store.write_pending(bench.pending, another(), None) is False
    assert bench.store.read(bench.pending) == document


def test_promotion_moves_two_labels_at_once(bench: Bench) -> None:
    bench.store.write_pending(bench.pending, another(), None)
    bench.store.move_current(bench.pending, bench.current)
    assert labels(bench) == {
        bench.current: {"AWSPREVIOUS"},
        bench.pending: {"AWSCURRENT"},
    }


def test_a_promotion_from_a_version_that_is_not_current_moves_nothing(bench: Bench) -> None:
    bench.store.write_pending(bench.pending, another(), None)
    for elsewhere in (bench.pending, str(uuid.uuid4())):
        before = labels(bench)
        with pytest.raises(errors.KeyturnError):
            bench.store.move_current(bench.pending, elsewhere)
        assert labels(bench) == before


def test_a_promotion_that_is_repeated_finds_the_label_moved(bench: Bench) -> None:
    bench.store.write_pending(bench.pending, another(), None)
    bench.store.move_current(bench.pending, bench.current)
    before = labels(bench)
    with pytest.raises(errors.LabelMoved):
        bench.store.move_current(bench.pending, bench.current)
    assert labels(bench) == before


def test_the_pending_label_can_be_taken_off_more_than_once(bench: Bench) -> None:
    for _ in range(2):
        bench.store.drop_label("AWSPENDING", bench.pending)
        assert labels(bench)[bench.pending] == set()
    bench.store.drop_label("AWSPENDING", bench.current)
    assert labels(bench)[bench.current] == {"AWSCURRENT"}


def test_a_whole_rotation_ends_with_a_new_key_also_when_it_is_repeated(bench: Bench) -> None:
    runs = FakeRuns()
    rotation = steps.Rotation(bench.arn, bench.store, runs, FakeQuestions(), "scheduled")
    for step in STEPS * 2:
        event = {"Step": step, "SecretId": bench.arn, "ClientRequestToken": bench.pending}
        steps.take_step(rotation, steps.parse_request(event, bench.arn))
    assert labels(bench) == {bench.current: {"AWSPREVIOUS"}, bench.pending: {"AWSCURRENT"}}
    new = key.parse_document(bench.store.read(bench.pending))
    assert new.key != key.parse_document(bench.document).key
    assert [run.rotation_id for run in runs.started] == [bench.pending]


def test_every_version_is_told_and_when_it_was_made_if_it_has_a_value(bench: Bench) -> None:
    found = {one.id: one for one in bench.store.versions()}
    assert (found[bench.current].created is None, found[bench.pending].created) == (False, None)
    assert found[bench.current].labels == {"AWSCURRENT"}
    assert found[bench.pending].labels == {"AWSPENDING"}
    bench.store.write_pending(bench.pending, another(), None)
    bench.store.drop_label("AWSPENDING", bench.pending)
    abandoned = next(one for one in bench.store.versions() if one.id == bench.pending)
    assert abandoned.created is not None
    assert abandoned.labels == frozenset()


def test_a_mark_is_read_as_it_was_written_and_writing_it_again_changes_nothing(
    bench: Bench,
) -> None:
    first = Mark(bench.current, NOON, "emergency", "0123456789abcdef")
    second = Mark(bench.pending, NOON + timedelta(hours=1), "finding")
    assert bench.store.marks() == []
    for mark in (second, first, first):
        bench.store.mark_exposed(mark)
    assert bench.store.marks() == [first, second]


def test_what_was_started_for_a_finding_is_read_as_it_was_recorded(bench: Bench) -> None:
    name = "Persistence:Kubernetes/AnomalousBehavior.WorkloadDeployed!ContainerWithSensitiveMount"
    first = StartedRotation("emergency-gd-" + "1" * 32, NOON, name, "1" * 32)
    second = replace(first, token=first.token + "-2", at=NOON + timedelta(hours=1))
    bench.store.mark_exposed(Mark(bench.current, NOON, "emergency"))
    for started in (second, first, first):
        bench.store.record_rotation(started)
    assert bench.store.started_rotations() == [first, second]
    tomorrow = replace(first, token=first.token + "-3", at=NOON + timedelta(hours=24.5))
    bench.store.record_rotation(tomorrow)
    assert bench.store.started_rotations() == [second, tomorrow]
    assert len(bench.store.marks()) == 1


def test_marks_make_room_for_marks_but_not_those_of_versions_with_a_label(bench: Bench) -> None:
    ages = [bench.current, *(str(uuid.uuid4()) for _ in range(MARKS_KEPT - 1))]
    marks = [Mark(v, NOON + timedelta(days=day), "emergency") for day, v in enumerate(ages)]
    for mark in marks:
        bench.store.mark_exposed(mark)
    newest = Mark(bench.pending, NOON + timedelta(days=99), "finding")
    bench.store.mark_exposed(newest)
    assert bench.store.marks() == [marks[0], *marks[2:], newest]


def test_a_rotation_is_refused_while_another_version_is_pending(
    bench: Bench,
) -> None:
    before = labels(bench)
    token = f"emergency-{uuid.uuid4()}"
    assert bench.store.start_rotation(token) is False
    assert labels(bench) == before
    assert token not in bench.store.labels()
    bench.store.drop_label("AWSPENDING", bench.pending)
    assert bench.store.start_rotation(token) is True
    assert token in {one.id for one in bench.store.versions()}


def test_a_rotation_that_is_started_again_is_the_same(bench: Bench) -> None:
    before = {one.id for one in bench.store.versions()}
    for _ in range(2):
        assert bench.store.start_rotation(bench.pending) is True
    assert {one.id for one in bench.store.versions()} == before
    assert bench.pending in before


# Of the adapter alone


def test_the_schedule_is_read(real: RealBench) -> None:
    rules = {"ScheduleExpression": "cron(0 3 1 * ? *)", "Duration": "2h"}
    store = SecretsManager(real.arn)
    assert store.schedule() == Schedule(None, None, True, None)
    store.drop_label("AWSPENDING", real.pending)
    token = str(uuid.uuid4())
    real.account.call(
        "RotateSecret", SecretId=real.arn, ClientRequestToken=token, RotationRules=rules
    )
    found = store.schedule()
    assert (found.expression, found.duration) == ("cron(0 3 1 * ? *)", "2h")
    assert found.enabled is True
    assert found.next_rotation is not None
    assert found.next_rotation > real.account.clock.now()
    real.account.call("CancelRotateSecret", SecretId=real.arn)
    assert store.schedule().enabled is False


def test_a_number_of_days_is_read_as_a_rate() -> None:
    described = {"RotationRules": {"AutomaticallyAfterDays": 10}}
    assert secret_description.schedule(described).expression == "rate(10 days)"


def test_a_new_value_that_cannot_be_seen_at_once_is_waited_for(real: RealBench) -> None:
    real.account.manager.hide_new_values(2)
    document = another()
    real.store.write_pending(real.pending, document, None)
    assert real.store.find(real.pending) is None
    assert real.store.read(real.pending) == document


def test_a_binary_value_is_no_document(real: RealBench) -> None:
    version = str(uuid.uuid4())
    binary = {"SecretBinary": base64.b64encode(b"a key").decode()}
    real.account.call("PutSecretValue", SecretId="app", ClientRequestToken=version, **binary)
    with pytest.raises(errors.SecretNotJson, match="binary"):
        real.store.find(version)


def test_a_rotation_token_goes_with_the_value_if_there_is_one(
    real: RealBench, front: Front
) -> None:
    token, document = str(uuid.uuid4()), another()
    real.store.write_pending(real.pending, document, token)
    real.store.write_pending(real.pending, document, None)
    writes = [request for operation, request in front.requests if operation == "PutSecretValue"]
    assert [write.get("RotationToken") for write in writes] == [token, None]
    for write in writes:
        assert write["VersionStages"] == ["AWSPENDING"]
        assert write["ClientRequestToken"] == real.pending


def test_every_request_names_the_secret_and_every_read_a_version(
    real: RealBench, front: Front
) -> None:
    front.requests.clear()
    real.store.labels()
    real.store.read(real.current)
    real.store.drop_label("AWSPENDING", real.pending)
    assert {request["SecretId"] for _, request in front.requests} == {real.arn}
    reads = [request for operation, request in front.requests if operation == "GetSecretValue"]
    assert [set(read) for read in reads] == [{"SecretId", "VersionId"}]


CALLS = {
    "DescribeSecret": lambda bench: bench.store.labels(),
    "GetSecretValue": lambda bench: bench.store.find(bench.current),
    "PutSecretValue": lambda bench: bench.store.write_pending(bench.pending, "{}", None),
    "ListSecretVersionIds": lambda bench: bench.store.versions(),
    "RotateSecret": lambda bench: bench.store.start_rotation(bench.pending),
    "UpdateSecretVersionStage": lambda bench: bench.store.move_current(
        bench.pending, bench.current
    ),
    "TagResource": lambda bench: bench.store._write_tag("team", "web", []),
    "UntagResource": lambda bench: bench.store._write_tag("team", "web", ["stage"]),
}


REFUSALS: dict[str, type[errors.KeyturnError]] = {
    "AccessDeniedException": errors.AccessDenied,
    "ThrottlingException": errors.SecretsManagerUnavailable,
    "InternalServiceError": errors.SecretsManagerUnavailable,
    "ARefusalThatNobodyKnows": errors.AwsRefused,
    "ValidationException": errors.AwsRefused,
    "LimitExceededException": errors.AwsRefused,
    "DecryptionFailure": errors.KmsKeyUnusable,
    "EncryptionFailure": errors.KmsKeyUnusable,
}
REFUSED = list(itertools.product(CALLS, REFUSALS))
# Each call with one code; there are more calls than codes, so each code is met too.
ALWAYS = {*zip(CALLS, itertools.cycle(REFUSALS), strict=False)}


@pytest.mark.parametrize("refused", cases(REFUSED, ALWAYS), ids=["-".join(one) for one in REFUSED])
def test_an_error_of_aws_names_the_action_and_is_not_quoted(
    refused: tuple[str, str], real: RealBench, front: Front
) -> None:
    action, code = refused
    front.fault = AwsError(code, "hunter2 is the value")
    with pytest.raises(REFUSALS[code], match=f"secretsmanager:{action} on {real.arn}") as told:
        CALLS[action](real)
    assert "hunter2" not in str(told.value)


def test_an_unlisted_error_of_the_service_itself_passes(real: RealBench, front: Front) -> None:
    front.fault = AwsError("SomethingNew", "down", 503)
    with pytest.raises(errors.SecretsManagerUnavailable):
        real.store.labels()


def test_a_secret_that_does_not_exist_is_a_stop(real: RealBench) -> None:
    with pytest.raises(errors.AwsResourceNotFound, match="DescribeSecret"):
        SecretsManager(real.arn[:-1] + "0").labels()


def test_a_request_that_is_invalid_now_is_a_stop(real: RealBench, front: Front) -> None:
    """The secret is not marked for deletion, so that the error says something else."""
    front.fault, front.faulty = AwsError("InvalidRequestException", "hunter2"), "GetSecretValue"
    with pytest.raises(errors.AwsRefused, match="InvalidRequestException"):
        real.store.find(real.current)


def test_a_call_that_cannot_be_made_is_a_stop(real: RealBench) -> None:
    with pytest.raises(errors.AwsRefused, match="ParamValidationError"):
        real.store.write_pending(real.pending, 7, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["planned-" + "0" * 36, "emergency-" + "0" * 36])
def test_a_whole_rotation_changes_the_secret_with_two_calls(
    real: RealBench, front: Front, token: str
) -> None:
    """User guide: avoid mutating calls during a rotation; AWSPENDING leaves with the promotion."""
    real.store.drop_label("AWSPENDING", real.pending)
    real.account.function.failures["createSecret"] = 1
    real.account.rotate(ClientRequestToken=token)
    until(lambda: real.account.waits_to_retry(token), "the failed first step")
    front.requests.clear()
    runs = FakeRuns()
    rotation = steps.Rotation(
        real.arn, SecretsManager(real.arn), runs, FakeQuestions(), "emergency"
    )
    for step in STEPS * 2:
        event = {"Step": step, "SecretId": real.arn, "ClientRequestToken": token}
        steps.take_step(rotation, steps.parse_request(event, real.arn))
    reads = {"DescribeSecret", "GetSecretValue", "ListSecretVersionIds"}
    changes = [(name, asked) for name, asked in front.requests if name not in reads]
    assert [name for name, _ in changes] == ["PutSecretValue", "UpdateSecretVersionStage"]
    assert changes[1][1]["VersionStage"] == "AWSCURRENT"
    assert real.store.labels() == {real.current: ["AWSPREVIOUS"], token: ["AWSCURRENT"]}
    (run,) = runs.started
    if run.mode == "emergency":
        for _ in range(2):
            exposure.mark_replaced(SecretsManager(real.arn), run, NOON)
        assert {mark.version for mark in real.store.marks()} == {run.older, real.current}
        assert real.store.labels() == {token: ["AWSCURRENT"]}


def test_an_endpoint_that_does_not_answer_is_unavailable(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert front.account
    with pytest.raises(errors.SecretsManagerUnavailable, match="EndpointConnectionError"):
        SecretsManager(front.account.arn).labels()
