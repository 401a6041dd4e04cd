"""The local stack as the end-to-end tests see it: what to do to it, and how to tell what is so."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError

from keyturn.secret import exposure, finding_history, key
from local import console
from local.cluster import StatusError
from local.secrets_manager import RotationReport
from local.stack import RECORD_BUCKET, SESSION_DATABASE, Listeners, LocalStack
from tests.e2e.interruptions import Interruptions
from tests.e2e.mailboxes import Mailboxes
from tests.e2e.workloads import Workloads

RETRY_SECONDS = 0.3
WAIT_SECONDS = 120.0
SETTLE_SECONDS = 8.0
OFTEN = {"FindingLimits": "0,15"}  # a stack serves many tests
FEW_REPLICAS = {"web-console": 2, "auth-service": 1}  # each is a process; a demo has 3 and 2
FUNCTIONS = {"awslambdaric"}  # pods are not preloaded: what they were given is read from /proc
RETRIES_SOONER, WAITS_SHORTER = 50.0, 4.0


@dataclass(frozen=True)
class Ended:
    """How an execution ended."""

    status: str
    output: dict[str, Any]
    error: str
    cause: str


@dataclass(frozen=True)
class Snapshot:
    """What a refused rotation must leave as it is."""

    current: str
    delivered: str
    generations: dict[str, int]
    pods: dict[str, str]
    sessions: frozenset[bytes]
    versions: frozenset[str]


class Site(Workloads):
    """A running stack, with a witness to everything that leaves the functions."""

    def __init__(self, stack: LocalStack, log: list[str], patches: pytest.MonkeyPatch) -> None:
        super().__init__(stack)
        self.log = log
        self.interruptions = Interruptions(stack, patches)
        self.mailboxes = Mailboxes(stack)
        self.rotations: list[str] = []

    # The secret

    def rotate(self, **request: Any) -> str:
        """Start a rotation as a user does; returns its id."""
        rotation_id = self.stack.rotate(**request)
        self.rotations.append(rotation_id)
        return rotation_id

    def promotion(self, rotation_id: str) -> RotationReport:
        """Wait for the end of Secrets Manager's part."""
        return self.stack.secrets_manager.wait_for_rotation(
            self.stack.secret_arn, rotation_id, WAIT_SECONDS
        )

    def promoted(self, rotation_id: str) -> RotationReport:
        """See Secrets Manager's part end well."""
        report = self.promotion(rotation_id)
        assert report.outcome == "succeeded", report.error
        return report

    def report(self, rotation_id: str) -> RotationReport:
        """What Secrets Manager has seen of a rotation so far."""
        found = self.stack.secrets_manager.rotation_report(self.stack.secret_arn, rotation_id)
        assert found
        return found

    def current(self) -> str:
        """The version that carries AWSCURRENT."""
        return next(v for v, held in self.stack.labels().items() if "AWSCURRENT" in held)

    def document(self, version: str = "") -> dict[str, Any]:
        """The secret document of a version, or of the current one."""
        client = self.stack.cloud.client("secretsmanager")
        given = {"VersionId": version} if version else {}
        found = client.get_secret_value(SecretId=self.stack.secret_arn, **given)
        document: dict[str, Any] = json.loads(found["SecretString"])
        return document

    def put_value(self, text: str, **request: Any) -> str:
        """Make a text the current value, as a person would; returns its version."""
        client = self.stack.cloud.client("secretsmanager")
        put = client.put_secret_value(SecretId=self.stack.secret_arn, SecretString=text, **request)
        return str(put["VersionId"])

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """While a test plays with the secret by hand, have nobody carry on what it puts there."""
        events = self.stack.cloud.client("events")
        rule = self.stack.deployment.physical_ids["KeyMovedRule"]
        events.disable_rule(Name=rule)
        try:
            yield
        finally:
            events.enable_rule(Name=rule)

    def change_by_hand(self, **request: Any) -> str:
        """Put another key, and wait until the watch has started its run; returns its version."""
        document = {**self.document(), key.FIELD: key.generate_key().base64}
        version = self.put_value(json.dumps(document), **request)
        self.stack.wait(lambda: f"rot-{version}" in self.executions(), "the watch starts a run")
        return version

    def spoil_by_hand(self, **request: Any) -> str:
        """Put what is no key, and wait until people are told of its run; returns its version."""
        spoiled = json.dumps({**self.document(), key.FIELD: "c2hvcnQ="})
        version = self.put_value(spoiled, **request)
        self.stack.wait(lambda: bool(self.mailboxes.messages(version)), "people are told of it")
        self.stack.wait(lambda: bool(self.mailboxes.events(version)), "the bus has it")
        return version

    def abandon(self, rotation_id: str) -> None:
        """Take AWSPENDING off a rotation that cannot go on, and see it end."""
        client = self.stack.cloud.client("secretsmanager")
        client.update_secret_version_stage(
            SecretId=self.stack.secret_arn,
            VersionStage="AWSPENDING",
            RemoveFromVersionId=rotation_id,
        )
        self.promotion(rotation_id)

    def refuse_once(self) -> RotationReport:
        """Start a rotation that cannot go on, see its first step fail, and give it up."""
        rotation_id = self.rotate()
        self.stack.wait(
            lambda: any(step.error for step in self.report(rotation_id).steps), "a step fails"
        )
        self.abandon(rotation_id)
        return self.report(rotation_id)

    # The run

    def end(self, rotation_id: str, *, suffix: str = "") -> Ended:
        """Wait for the end of a run."""
        client = self.stack.cloud.client("stepfunctions")
        arn = f"{self.stack.execution_arn(rotation_id)}{suffix}"
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(client.describe_execution(executionArn=arn))
            return bool(found["status"] != "RUNNING")

        self.stack.wait(over, f"{arn} has ended")
        return Ended(
            found["status"],
            json.loads(found.get("output") or "{}"),
            found.get("error", ""),
            found.get("cause", ""),
        )

    def rotate_to_end(self, **request: Any) -> Ended:
        """Rotate once and wait until everything is over."""
        rotation_id = self.rotate(**request)
        self.promoted(rotation_id)
        return self.end(rotation_id)

    def run_again(self, rotation_id: str) -> Ended:
        """Start a run once more under another name, with the input that it had; wait for its end.

        It is the command that the message of a failed run gives.
        """
        client = self.stack.cloud.client("stepfunctions")
        ran = client.describe_execution(executionArn=self.stack.execution_arn(rotation_id))
        suffix = self._again()
        client.start_execution(
            stateMachineArn=ran["stateMachineArn"], name=ran["name"] + suffix, input=ran["input"]
        )
        return self.end(rotation_id, suffix=suffix)

    def carry(self, version: str) -> Ended:
        """Carry the current version to the services once more, as docs/operations.md says."""
        rotation = {"rotationId": version, "secretArn": self.stack.secret_arn, "mode": "scheduled"}
        suffix = self._again()
        self.stack.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.stack.deployment.outputs["StateMachineArn"],
            name=f"rot-{version}{suffix}",
            input=json.dumps({"rotation": rotation}),
        )
        return self.end(version, suffix=suffix)

    def lose_a_run(self) -> str:
        """Start the run of the current version once more and stop it, as a person may."""
        version, client = self.current(), self.stack.cloud.client("stepfunctions")
        rotation = {"rotationId": version, "secretArn": self.stack.secret_arn, "mode": "scheduled"}
        suffix = self._again()
        started = client.start_execution(
            stateMachineArn=self.stack.deployment.outputs["StateMachineArn"],
            name=f"rot-{version}{suffix}",
            input=json.dumps({"rotation": rotation}),
        )
        self.stack.wait(
            lambda: len(self.history(version, suffix=suffix)) > 1, "the run is in its first states"
        )
        client.stop_execution(executionArn=started["executionArn"])
        assert self.end(version, suffix=suffix).status == "ABORTED"
        return version

    @staticmethod
    def _again() -> str:
        """What the shell puts at the end of the name of a run that is run again."""
        return f"-{uuid.uuid4().hex[:10]}"

    def history(self, rotation_id: str, *, suffix: str = "") -> list[dict[str, Any]]:
        """The events of a run.

        A Map iteration that a failed one has ended may still write into moto's history while it is
        read, which is answered with 500: it is read again, as AWS's own clients do.
        """
        pages = self.stack.cloud.client("stepfunctions").get_paginator("get_execution_history")
        arn = f"{self.stack.execution_arn(rotation_id)}{suffix}"
        found: list[dict[str, Any]] = []

        def whole() -> bool:
            try:
                read = pages.paginate(executionArn=arn)
                found[:] = [event for page in read for event in page["events"]]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 500:
                    raise
                return False
            return True

        self.stack.wait(whole, f"the history of {arn} is read")
        return found

    def logged_pods(self, rotation_id: str, when: str) -> dict[str, str]:
        """The pods that the functions have logged as those `before` or `after` a run's restarts."""
        pods: dict[str, str] = {}
        for line in self.log:
            if '"message":"pods"' in line and rotation_id in line:
                facts = json.loads(line[line.index("{") :])
                if facts["when"] == when:
                    pods |= facts["pods"]
        return pods

    def executions(self) -> list[str]:
        """The names of every run there was."""
        client = self.stack.cloud.client("stepfunctions")
        machine = self.stack.deployment.outputs["StateMachineArn"]
        pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
        return [run["name"] for page in pages for run in page["executions"]]

    def record(self, rotation_id: str) -> dict[str, Any]:
        """The record of a run as it is kept."""
        stored = self.stack.cloud.client("s3").get_object(
            Bucket=RECORD_BUCKET, Key=f"rotations/{rotation_id}.json"
        )
        record: dict[str, Any] = json.loads(stored["Body"].read())
        return record

    def record_of(self, ended: Ended) -> dict[str, Any]:
        """The record that an execution has kept, whichever of its run it was."""
        bucket, name = ended.output["keptAt"].removeprefix("s3://").split("/", 1)
        stored = self.stack.cloud.client("s3").get_object(Bucket=bucket, Key=name)
        record: dict[str, Any] = json.loads(stored["Body"].read())
        return record

    def snapshot(self, *, tolerant: bool = False) -> Snapshot:
        """What is so now; `tolerant` where the Kubernetes Secret or Redis may be out of reach."""
        unseen = (redis.ConnectionError, StatusError) if tolerant else ()
        delivered, sessions = "unseen", frozenset[bytes]()
        with contextlib.suppress(*unseen):
            metadata = self.kubernetes_secret()["metadata"]
            delivered = f"{metadata['resourceVersion']} {self.stack.delivered_fingerprint()}"
        with contextlib.suppress(*unseen):
            sessions = self.sessions()
        generations = {
            name: self.deployment(name)["metadata"]["generation"] for name in console.REPLICAS
        }
        versions = [v for v, held in self.stack.labels().items() if held and held != ["AWSPENDING"]]
        return Snapshot(
            current=self.current(),
            delivered=delivered,
            generations=generations,
            pods=self.pods(),
            sessions=sessions,
            versions=frozenset(versions),
        )

    # Whether the next test may have it

    def marks(self) -> list[exposure.Mark]:
        """The marks of exposure on the secret, the oldest first."""
        return exposure.exposed_versions(self.tags())

    def forget_findings(self) -> None:
        """Let findings have rotated nothing today: a stack serves more tests than a day has."""
        kept = [name for name in self.tags() if name.startswith(finding_history.PREFIX)]
        if kept:
            client = self.stack.cloud.client("secretsmanager")
            client.untag_resource(SecretId=self.stack.secret_arn, TagKeys=kept)

    def tags(self) -> dict[str, str]:
        """The tags of the secret."""
        client = self.stack.cloud.client("secretsmanager")
        found = client.describe_secret(SecretId=self.stack.secret_arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def settle(self) -> bool:
        """Wait a while for the stack to be as it should; whether it is."""
        self.interruptions.clear()
        deadline = time.monotonic() + SETTLE_SECONDS
        while not (sound := self._sound()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return sound

    def empty(self) -> None:
        """Let nobody be logged in, and nothing else be in Redis."""
        with self.stack.redis.client(SESSION_DATABASE) as client:
            client.flushall()

    def _sound(self) -> bool:
        pending = [v for v, held in self.stack.labels().items() if "AWSPENDING" in held]
        return (
            not self.stack.problem
            and not pending
            and self.document().get(key.FIELD) == self.delivered()
            and all(self.rolled_out(name) for name in console.REPLICAS)
            and len(self.pods()) == sum(console.REPLICAS.values())
        )


def _shorten_pauses(patches: pytest.MonkeyPatch) -> None:
    """Let the interpreter's own pauses, those of Retry and of Wait, be shorter.

    Nothing else is hurried: functions, pods, Redis and their time-outs keep theirs.
    """
    from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
    from moto.stepfunctions.parser.asl.component.state.wait.wait_function import wait_function

    def wait(_: object, env: Any, wait_seconds: float) -> None:
        env.program_state_event.wait(wait_seconds / WAITS_SHORTER)

    pause = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / RETRIES_SOONER))
    patches.setattr(retrier_decl, "time", pause)
    patches.setattr(wait_function.WaitFunction, "_wait_interval", wait)


class Loan:
    """Lends one stack after another; there is never more than one in a process."""

    def __init__(self) -> None:
        self._running: contextlib.ExitStack | None = None
        self._site: Site | None = None

    def take(self) -> Site:
        """The stack, started where there is none."""
        if self._site is None:
            running = contextlib.ExitStack()
            self._site = running.enter_context(running_site())
            self._running = running
        return self._site

    def give_back(self) -> None:
        """Keep the stack, with no sessions, for the next test if it is sound; else end it."""
        if self._site and self._site.settle():
            self._site.empty()
            self._site.forget_findings()
        else:
            self.end()

    def end(self) -> None:
        """End the stack."""
        if self._running:
            self._running.close()
        self._running = self._site = None


LOAN = Loan()


@contextlib.contextmanager
def running_site(**properties: Any) -> Iterator[Site]:
    """Start a stack of one's own, with properties of `LocalStack`; the one that is lent ends.

    Its functions are preloaded, unless they run from what `make build` has made.
    """
    LOAN.end()
    log: list[str] = []
    listeners = Listeners(on_function_log=lambda name, line: log.append(f"{name} {line}"))
    given = {**OFTEN, **properties.pop("parameters", {})}
    if "template" not in properties:
        properties["preloaded"] = FUNCTIONS
    stack = LocalStack(listeners, given, rotation_retry_seconds=RETRY_SECONDS, **properties)
    with pytest.MonkeyPatch.context() as patches:
        for service, count in FEW_REPLICAS.items():
            patches.setitem(console.REPLICAS, service, count)
        with stack:
            _shorten_pauses(patches)
            yield Site(stack, log, patches)
