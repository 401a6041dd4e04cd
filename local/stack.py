"""The whole local stack: processes, Redis, cluster, AWS, the console, and Keyturn deployed to it.

What is real and what is emulated is told in `local/README.md`. The stack is built bottom up and
taken down in reverse, whatever happens in between; `problem` tells when a part has died.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyturn.secret import key
from local import artefacts, console
from local.aws import REGION, Aws
from local.clock import Clock, LaggingClock, SystemClock
from local.cluster import AccessEntry, Cluster, RealCluster, RunningCluster
from local.cluster.resources import PODS
from local.deployment import deploy
from local.key_sources import PLACES, Ground
from local.processes import Processes
from local.redis_server import RedisServer
from local.running_console import RunningConsole
from local.stack_parameters import (
    access_entry,
    cluster_parameters,
    permissions,
    redis_login,
    redis_parameters,
    validation_parameters,
)

CLUSTER_NAME = "laptop"
RECORD_BUCKET = "keyturn-records"
READY_SECONDS = 120.0  # also on a machine that does other work
# A look takes its time from what is waited for: the longer a wait, the fewer the looks.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.15
SESSION_DATABASE = 1

Tell = Callable[[str], None]


class StackProblem(Exception):
    """A part of the stack has died or did not start; the message says which."""


def _silent(_text: str) -> None:
    """Say nothing."""


@dataclass
class Listeners:
    """Who hears what happens on the stack; all are called on the stack's threads."""

    on_stage: Tell = _silent  # a part is up
    on_function_log: Callable[[str, str], None] = lambda _name, _line: None
    on_begin: Tell = _silent  # a part is being started, which can take seconds


@dataclass
class LocalStack:
    """Starts on entering the `with` block; everything is gone on leaving it.

    `delivery` is the delivery mode: where the pods read their key from. With `redis_rights` Keyturn
    logs in to Redis as a user who has these alone. `template` is the source tree's, or what `sam
    build` made of it: then the artefacts beside it run. The Python modules in `preloaded` are
    forked from a process that has imported their libraries, which saves a test's time.
    """

    listeners: Listeners = field(default_factory=Listeners)
    parameters: Mapping[str, str] = field(default_factory=dict)
    delivery: str = "kubernetes-secret"
    redis_product: Any = None
    redis_rights: Sequence[str] = ()
    rotation_retry_seconds: float = 5.0
    rbac: Path = artefacts.ROOT / "kubernetes" / "rbac.yaml"
    images: set[str] = field(default_factory=lambda: set(console.IMAGES.values()))
    real_cluster: bool = False
    clock: Clock = field(default_factory=SystemClock)
    template: Path = artefacts.SOURCE
    preloaded: Collection[str] = ()

    def __enter__(self) -> "LocalStack":
        with contextlib.ExitStack() as parts:
            self._start(parts)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._parts.close()

    @property
    def secret_arn(self) -> str:
        """The session key's secret."""
        return self.deployment.outputs["SecretArn"]

    @property
    def problem(self) -> str | None:
        """What has died without being told to, if anything."""
        vital = (self.redis.child, self.provider, self.processes.reaper, *self.cluster.children)
        for child in vital:
            if not child.running and not child.expected_to_end:
                return f"{child.name} (pid {child.pid}) {child.describe_end()}"
        return None

    def check(self) -> None:
        """Raise StackProblem when a part of the stack has died."""
        if self.problem:
            raise StackProblem(f"{self.problem}. The stack cannot go on without it.")

    def function_name(self, logical_id: str) -> str:
        """The name under which a function of the template runs here."""
        return self.deployment.functions[logical_id]

    def labels(self) -> dict[str, list[str]]:
        """The secret's versions and their labels."""
        client = self.cloud.client("secretsmanager")
        described = client.describe_secret(SecretId=self.secret_arn)
        labels: dict[str, list[str]] = described["VersionIdsToStages"]
        return labels

    def pods(self, service: str) -> list[dict[str, Any]]:
        """A service's pods, those that are terminating included."""
        selector = f"app={service}"
        return self.cluster.admin.list(PODS, console.NAMESPACE, label_selector=selector)

    def delivered_fingerprint(self) -> str:
        """The fingerprint of the key that the pods would read now."""
        return key.parse_key(self.place.value()).fingerprint

    def record(self, rotation_id: str) -> dict[str, Any]:
        """The record of a run, from its bucket."""
        name = f"rotations/{rotation_id}.json"
        found = self.cloud.client("s3").get_object(Bucket=RECORD_BUCKET, Key=name)
        record: dict[str, Any] = json.loads(found["Body"].read())
        return record

    def rotate(self, **request: Any) -> str:
        """Rotate the secret as a user would; returns the rotation id.

        It is a planned rotation, unless the request has a token of its own.
        """
        client = self.cloud.client("secretsmanager")
        wanted = {"ClientRequestToken": f"planned-{uuid.uuid4()}", **request}
        rotation_id: str = client.rotate_secret(SecretId=self.secret_arn, **wanted)["VersionId"]
        return rotation_id

    def reach_window(self) -> str:
        """Let the secret's own clock reach its rotation window; returns the rotation id."""
        known = {*self.labels()}
        if isinstance(self.clock, LaggingClock):
            self.clock.catch_up()
        return self.wait_for_rotation(known)

    def wait_for_rotation(self, known: set[str]) -> str:
        """Wait for a version that is not known yet, and return it."""
        self.wait(lambda: bool({*self.labels()} - known), "a new rotation is started")
        (rotation_id,) = {*self.labels()} - known
        return rotation_id

    def execution_arn(self, rotation_id: str) -> str:
        """The execution of a run."""
        machine = self.deployment.outputs["StateMachineArn"]
        return f"{machine.replace(':stateMachine:', ':execution:')}:rot-{rotation_id}"

    def let_rule_come_due(self, logical_id: str) -> None:
        """Have a rule of the template with a schedule send its event, as EventBridge does."""
        name = self.deployment.physical_ids[logical_id]
        self.cloud.event_bus.come_due(name, datetime.now(UTC))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises StackProblem when it does not come or a part dies."""
        deadline = time.monotonic() + READY_SECONDS
        pause = SHORTEST_PAUSE_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise StackProblem(f"{what}: not after {READY_SECONDS:.0f} s.")
            time.sleep(pause)
            pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)

    def _start(self, parts: contextlib.ExitStack) -> None:
        tell, begin = self.listeners.on_stage, self.listeners.on_begin
        begin("Starting Redis.")
        self.processes = parts.enter_context(Processes(preloaded=self.preloaded))
        self.redis = parts.enter_context(RedisServer(self.processes, product=self.redis_product))
        tell(f"Redis: {self.redis.kind} on port {self.redis.port}")
        begin("Starting the local AWS.")
        self._start_aws(parts)
        tell(f"AWS: Secrets Manager, Lambda, Step Functions and more at {self.cloud.endpoint}")
        begin("Starting the Kubernetes API server.")
        kind = RealCluster if self.real_cluster else Cluster
        self.cluster: RunningCluster = parts.enter_context(
            kind(
                self.processes,
                name=CLUSTER_NAME,
                credentials_lookup=self._access_entry,
                rbac=permissions(self.rbac, PLACES[self.delivery], parts),
                images=self.images,
                namespace=console.NAMESPACE,
            )
        )
        tell(f"Kubernetes: {self.cluster.server} at {self.cluster.url}")
        begin("Starting the console and its pods.")
        self._start_console(parts)
        pods = ", ".join(f"{name} x{count}" for name, count in console.REPLICAS.items())
        tell(f"Console: {pods}, at {self.urls['web-console']}")
        what = artefacts.name_of(self.template)
        begin(f"Deploying Keyturn: {what}.")
        self.cloud.client("s3").create_bucket(
            Bucket=RECORD_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        wanted = self._parameters(parts)
        self.deployment = deploy(self.template, wanted, self.cloud, self.functions)
        tell(f"Keyturn: {what} deployed, {len(self.deployment.resources)} resources")
        begin("Secrets Manager tests the key that is there: a dry run of testSecret.")
        # Enabling the schedule without rotating runs testSecret on a temporary pending version.
        self.wait(lambda: not self._rotation_pending(), "the dry run of testSecret is over")
        self.place.take_over(self.secret_arn)

    def _start_aws(self, parts: contextlib.ExitStack) -> None:
        aws = Aws(
            self.processes,
            parts,
            clock=self.clock,
            rotation_retry_seconds=self.rotation_retry_seconds,
            on_function_log=self.listeners.on_function_log,
            variables=artefacts.variables(self.template),
        )
        self.functions, self.secrets_manager, self.cloud = (
            aws.functions,
            aws.secrets_manager,
            aws.cloud,
        )

    def _start_console(self, parts: contextlib.ExitStack) -> None:
        self.first_key = key.generate_key()
        tell = self.listeners.on_stage
        ground = Ground(self.processes, self.cluster, self.cloud, parts, tell, self.wait)
        self.place = PLACES[self.delivery](ground, self.first_key)
        redis = (self.redis.host, self.redis.port)
        running = RunningConsole(self.processes, self.cluster, redis, self.place.injection)
        parts.callback(running.close)
        self.urls, self.provider = running.urls, running.provider
        running.wait_until_available(self.wait)

    def _rotation_pending(self) -> bool:
        return any("AWSPENDING" in labels for labels in self.labels().values())

    def _access_entry(self, access_key: str) -> AccessEntry | None:
        return access_entry(access_key, self.deployment, self.cloud, self.functions)

    def _parameters(self, parts: contextlib.ExitStack) -> dict[str, str]:
        rights = self.redis_rights
        return {
            "InitialSessionKey": self.first_key.base64,
            **cluster_parameters(self.cluster),
            **self.place.parameters,
            **redis_parameters(self.redis.host, self.redis.port, SESSION_DATABASE),
            **(
                redis_login(self.redis, SESSION_DATABASE, parts, self.cloud, rights)
                if rights
                else {}
            ),
            **validation_parameters(self.urls),
            "RecordBucket": RECORD_BUCKET,
            **self.parameters,
        }
