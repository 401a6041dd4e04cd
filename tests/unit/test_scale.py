"""Large installations stay below half of the limits of Step Functions, whatever happens.

The real functions answer the real definition; the cluster, the secret and Redis are fakes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.rollout.pod_annotations import Stamp
from keyturn.rollout.status import Pod, Workload
from keyturn.run.run import Origin, Run
from keyturn.run.times import format_timestamp
from keyturn.validation.pod_logs import ContainerLog, Line, ServiceLogs
from local.execution_limits import HISTORY_EVENTS, PAYLOAD_BYTES
from tests import stage as stages
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeCluster
from tests.project import environment, snake_case, state_machine
from tests.simulated_execution import Clock, Execution, Failure
from tests.stage import MACHINE, Context, Stage, handler_of

SERVICES = [f"service-{number:02}-{'x' * 40}" for number in range(20)]
PODS = 500  # of each service: 10,000


class Fleet(FakeCluster):
    """Services whose rollouts all take as long as they may, and log what proves nothing."""

    def __init__(self, stage: Stage, pods: int, seconds: int) -> None:
        super().__init__()
        self.stage, self.number, self.seconds = stage, pods, timedelta(seconds=seconds)
        self.workloads = {
            name: Workload(name, 1, 1, False, pods, pods, pods, pods, key_version=OLD)
            for name in SERVICES
        }
        self.stamps: dict[str, list[tuple[str | None, str | None]]] = {
            name: [(OLD, None)] for name in SERVICES
        }
        self.began = dict.fromkeys(SERVICES, NOON - timedelta(days=1))
        self.known: dict[tuple[str, int], list[Pod]] = {}

    def restart(
        self, service: str, annotations: dict[str, str], resource_version: str, *, dry_run: bool
    ) -> Workload:
        patched = super().restart(service, annotations, resource_version, dry_run=dry_run)
        if not dry_run:
            self.stamps[service].append((patched.key_version, patched.key_delivery))
            self.began[service] = self.stage.now
        return patched

    def workload(self, service: str) -> Workload:
        seen, updated = super().workload(service), self.number
        if self.rolls(service):
            updated = self.number // 2
        return replace(seen, observed_generation=seen.generation, updated=updated)

    def rolls(self, service: str) -> bool:
        return self.stage.now - self.began[service] < self.seconds

    def pods(self, service: str) -> list[Pod]:
        generation = len(self.stamps[service]) - 1
        if not self.rolls(service):
            return self.made(service, generation)
        half = self.number // 2
        return self.made(service, generation)[:half] + self.made(service, generation - 1)[half:]

    def made(self, service: str, generation: int) -> list[Pod]:
        """The pods of one generation of a service's template."""
        if (service, generation) not in self.known:
            version, delivery = self.stamps[service][generation]
            names = [f"{service}-{generation}-{number}" for number in range(self.number)]
            self.known[service, generation] = [
                Pod(name, version, uid=name[-36:], key_delivery=delivery) for name in names
            ]
        return self.known[service, generation]

    def of_restart(
        self, service: str, stamp: Stamp, since: Any, *, crashed_only: bool = False
    ) -> ServiceLogs:
        pods = [pod.name for pod in self.pods(service)]
        told = [Line(self.stage.now, "cannot decrypt session; key must decode to 32 bytes")]
        running = [] if crashed_only else pods
        logs = [ContainerLog(pod, "app", told, gets_key=True, trouble="") for pod in running]
        return ServiceLogs(service, pods, pods, logs)


class Site:
    """The functions of a stack with that fleet, as the state machine calls them."""

    def __init__(
        self, patch: pytest.MonkeyPatch, *, pods: int, limit: int, late: int = 0, **given: Any
    ) -> None:
        own = {"SERVICES": ",".join(SERVICES), "ROLLOUT_SECONDS": str(limit)}

        def settings(function: str) -> dict[str, str]:
            return {name: own.get(name, value) for name, value in environment(function).items()}

        patch.setattr(stages, "environment", settings)
        self.stage = Stage(**given)
        self.stage.sessions.runs = [f"run-{number}" for number in range(15)]
        self.stage.cluster = Fleet(self.stage, pods, limit - 1 + late)
        self.stage.promote()
        self.stage.wire(patch)
        names = {snake_case(task) for task in TASKS}
        self.handlers = {name: handler_of(name, patch) for name in names}
        self.clock, self.asked = Clock(), 0.0
        self.broken: set[str] = set()
        self.unavailable_once: set[tuple[str, tuple[int, ...], int]] | None = None

    def call(self, function: str, state: str, place: tuple[int, ...], event: Any) -> Any:
        self.stage.now = NOON + timedelta(seconds=self.clock.seconds)
        self._sync(function)
        if self.unavailable_once is not None and not self._answers(state, place):
            raise Failure("ClusterUnavailable", "It is safe to try again.")
        if state in self.broken:
            self.broken.remove(state)
            raise told_by_lambda(errors.LoginBroken(f"{state} of {SERVICES}"))
        try:
            return json.loads(json.dumps(self.handlers[snake_case(function)](event, Context())))
        except errors.KeyturnError as error:
            raise told_by_lambda(error) from error

    def _answers(self, state: str, place: tuple[int, ...]) -> bool:
        """Every second call of a state fails in a way that passes."""
        assert self.unavailable_once is not None
        key = (state, place, 0)
        failed = key in self.unavailable_once
        self.unavailable_once ^= {key}
        return failed

    def _sync(self, function: str) -> None:
        """Have the operator take almost all the time that it has."""
        if self.stage.mode != "external-secrets" or function != "DeliverKey":
            return
        if not self.asked:
            self.asked = self.clock.seconds
        elif self.clock.seconds - self.asked > 299:
            current = next(v for v, held in self.stage.store.stages.items() if "AWSCURRENT" in held)
            document = json.loads(self.stage.store.documents[current])
            self.stage.operator.provides = document["SESSION_ENCRYPTION_KEY"]
            self.stage.operator.sync(self.stage.now)
            self.asked = 0.0

    def run(self, mode: str, shortest: int) -> Execution:
        run = Run(NEW, ARN, mode, OLD, Origin(at=format_timestamp(NOON)))  # type: ignore[arg-type]
        arn = f"{MACHINE.replace(':stateMachine:', ':execution:')}:rot-{NEW}"
        values = {"Services": ",".join(SERVICES), "PollSeconds": str(shortest)}
        context = {"Execution": {"Id": arn, "StartTime": format_timestamp(NOON)}}
        made = Execution(state_machine(), values, self.call, context, self.clock)
        try:
            made.run(run.as_ledger())
        except Failure as failed:
            self.error = failed.error
        return made

    @property
    def record(self) -> Mapping[str, Any]:
        (kept,) = self.stage.records.documents.values()
        found: Mapping[str, Any] = json.loads(kept)
        return found


TASKS = {
    "BeginRotation",
    "DeliverKey",
    "RestartService",
    "CheckRollout",
    "PurgeSessions",
    "ValidateRotation",
    "RestorePreviousKey",
    "FinishRotation",
}


def told_by_lambda(error: errors.KeyturnError) -> Failure:
    frames = [f'  File "/var/task/x.py", line {number}, in handler\n' for number in range(10)]
    told = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": frames}
    return Failure(type(error).__name__, json.dumps(told))


def below_half(execution: Execution) -> None:
    assert execution.events.total() < HISTORY_EVENTS / 2, execution.events
    assert execution.largest[0] < PAYLOAD_BYTES / 2, execution.largest


@pytest.mark.parametrize(
    ("limit", "shortest"), [(900, 5), pytest.param(3600, 1, marks=pytest.mark.exhaustive)]
)
def test_twenty_services_with_a_roll_back_stay_below_half_of_both_limits(
    limit: int, shortest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rollout and every sync of an operator takes as long as it may, there and back."""
    site = Site(monkeypatch, pods=PODS, limit=limit, mode="external-secrets")
    site.broken = {"ValidateRotation"}
    execution = site.run("scheduled", shortest)
    below_half(execution)
    assert site.record["outcome"] == "rolled-back"
    assert [service["podsAfter"] for service in site.record["services"]] == [PODS] * len(SERVICES)
    assert execution.entered["RestartService"] == 2 * len(SERVICES)
    assert execution.clock.seconds >= 2 * (limit + 298)


def test_an_emergency_without_any_rollout_stays_below_half_of_both_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, pods=PODS, limit=900, late=10)
    execution = site.run("emergency", 5)
    below_half(execution)
    assert site.record["failure"]["error"] == "RolloutOverdue"
    assert execution.entered["ServiceNotRestarted"] == len(SERVICES)


def test_the_history_has_room_for_a_retry_of_every_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, pods=3, limit=900, mode="external-secrets")
    site.broken, site.unavailable_once = {"ValidateRotation"}, set()
    execution = site.run("scheduled", 5)
    assert site.record["outcome"] == "rolled-back"
    assert execution.events["LambdaFunctionFailed"] > 500
    assert execution.events.total() < HISTORY_EVENTS * 3 / 4
