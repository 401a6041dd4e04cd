"""What a rotation by the built artefacts uses, every function cold: processes, calls, states, logs.

The artefacts are those of `make build PLATFORM=here`: the recipe of what is deployed, for this
machine. What is billed in AWS is counted on the local stack: its Lambda's REPORT lines, its record
of API calls, and the history of the execution.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import imports
from bench.commands import Command, run
from bench.cost import Calls, Usage
from bench.figures import Import, Invocation, median
from bench.rotation import Bench
from local import artefacts
from local.cloud import access_key_of
from local.deployment.template import read_template
from local.processes import Child, Processes
from local.stack import Listeners, LocalStack
from tests import monitoring

BUILD_SECONDS = 300.0
ROUNDS = 3
# What has Secrets Manager ask KMS where the secret has a customer key.
WITH_KMS = {"GetSecretValue", "PutSecretValue"}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Start:
    """A function in the last rotation: its processes' CPU in ms, each, and its invocations."""

    cpu_ms: float
    invocations: Sequence[Invocation]


@dataclass(frozen=True)
class Measured:
    """The starts by module, the imports, all cold starts of every round, and what was used."""

    starts: Mapping[str, Start]
    costs: Mapping[str, Import]
    cold: Mapping[str, Sequence[Invocation]]
    memory_mb: Mapping[str, int]
    usage: Usage

    @property
    def processes(self) -> dict[str, tuple[float, int, int]]:
        """The CPU of each function's process, and how many cold and warm calls there were."""
        counted = {module: calls_of(start.invocations) for module, start in self.starts.items()}
        return {
            module: (self.starts[module].cpu_ms, calls.cold, calls.warm)
            for module, calls in counted.items()
        }


def build() -> None:
    """Build the artefacts for this machine. Raises CommandFailed."""
    with Processes() as processes:
        argv = ["make", "--no-print-directory", "build", "PLATFORM=here", f"VENV={sys.prefix}"]
        run(processes, Command("make build", argv, dict(os.environ), BUILD_SECONDS, artefacts.ROOT))


def measure(sessions: int, tell: Callable[[str], None]) -> Measured:
    """Rotate ROUNDS times from the artefacts, and import each handler."""
    reports = imports.Reports()
    listeners = Listeners(tell, reports.hear)
    cold: dict[str, list[Invocation]] = {}
    with LocalStack(listeners, template=artefacts.BUILT) as stack:
        bench = Bench(stack, sessions, tell)
        for number in range(1, ROUNDS + 1):
            reports.forget()
            called = len(stack.cloud.api_calls)
            rotation_id = bench.rotate_cold()
            for module, found in reports.by_module(stack).items():
                first = [one for one in found if one.init_ms is not None]
                cold.setdefault(module, []).extend(first)
            tell(f"Rotation {number} of {ROUNDS} by the artefacts, every function cold")
        starts = _starts(stack, reports)
        usage = _usage(stack, reports, called, rotation_id)
        tell("Imports: each function in fresh processes")
        costs = imports.measure(stack)
        settings = [stack.functions.settings(name) for name in stack.functions.names()]
    memory = {imports.module_of(one): one.memory_mb for one in settings}
    return Measured(starts, costs, cold, memory, usage)


def billed_resources() -> tuple[Counter[str], int]:
    """How many resources of each type the templates have, and how many metrics of our own."""
    templates = (artefacts.SOURCE, artefacts.ROOT / "monitoring.yaml")
    resources = [one for path in templates for one in read_template(path)["Resources"].values()]
    ours = {shown for shown in monitoring.shown_by(monitoring.dashboard()) if shown[0] == "Keyturn"}
    return Counter(one["Type"] for one in resources), len(ours)


def calls_of(found: Sequence[Invocation]) -> Calls:
    """A function's invocations as Lambda bills them: initialisation and handler."""
    cold = [one.duration_ms + one.init_ms for one in found if one.init_ms is not None]
    warm = [one.duration_ms for one in found if one.init_ms is None]
    # Where none was warm, the handler's part of the cold ones says what a warm one would take.
    handler = median(warm or [one.duration_ms for one in found])
    cold_ms = median(cold) if cold else 0.0
    return Calls(found[0].memory_size_mb, len(cold), len(warm), cold_ms, handler)


def _starts(stack: LocalStack, reports: imports.Reports) -> dict[str, Start]:
    starts = {}
    for name in stack.functions.names():
        running = [_cpu_ms(child) for child in stack.functions.environments(name)]
        if running and (found := reports.seen.get(name)):
            module = imports.module_of(stack.functions.settings(name))
            starts[module] = Start(median(running), found)
    return starts


def _usage(stack: LocalStack, reports: imports.Reports, called: int, rotation_id: str) -> Usage:
    keys = {access_key_of(name) for name in stack.functions.names()}
    api_calls = [one for one in stack.cloud.api_calls[called:] if one.access_key_id in keys]
    secret = [one.operation for one in api_calls if one.service == "secretsmanager"]
    client, arn = stack.cloud.client("stepfunctions"), stack.execution_arn(rotation_id)
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    events = [event["type"] for page in pages for event in page["events"]]
    return Usage(
        {module: calls_of(found) for module, found in reports.by_module(stack).items()},
        sum(kind.endswith("StateEntered") for kind in events),
        len(secret),
        sum(operation in WITH_KMS for operation in secret),
        reports.log_bytes,
    )


def _cpu_ms(child: Child) -> float:
    """The CPU time of a process so far, of its threads too: `man proc_pid_stat`."""
    fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / CLOCK_TICKS
