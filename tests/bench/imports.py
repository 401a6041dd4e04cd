"""What it costs to start each function, measured twice.

By import: a fresh process imports the handler's module, with the environment that the template
gives the function, and so does one for the bare interpreter and one for boto3 with a client; once
with the bytecode that is there and once without the layer's, which is deployed without it. By
invocation: the local Lambda's REPORT of each cold start in the measured rotations.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.aws import REGION
from local.functions import FunctionSettings
from local.lambda_environment import platform_variables
from local.stack import LocalStack
from tests.bench.commands import Command, run
from tests.bench.figures import Import, Invocation, median_import, parse_report

ROUNDS = 5
IMPORT_SECONDS = 60.0
BARE, BASELINE = "", "boto3"
PROBE = Path(__file__).with_name("probe.py")


@dataclass
class Reports:
    """Collects the REPORT lines of cold starts, from what the functions log."""

    cold: defaultdict[str, list[Invocation]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, function_name: str, line: str) -> None:
        """Keep a line if it reports a cold start."""
        if (report := parse_report(line)) and report.init_ms is not None:
            self.cold[function_name].append(report)

    def forget(self) -> None:
        """Begin anew, so that only the measured rotations count."""
        self.cold.clear()

    def by_module(self, stack: LocalStack) -> dict[str, list[Invocation]]:
        """The cold starts by the handler's module."""
        return {
            module_of(stack.functions.settings(name)): found for name, found in self.cold.items()
        }


def module_of(settings: FunctionSettings) -> str:
    """The module of a function's handler, such as `rotate_secret`."""
    return settings.handler.partition(".")[0]


def measure(stack: LocalStack) -> dict[str, Import]:
    """Import each subject in ROUNDS fresh processes, taking turns; returns the medians."""
    subjects = _subjects(stack)
    found: dict[str, list[Import]] = {subject: [] for subject in subjects}
    for number in range(ROUNDS + 1):
        for subject, environment in subjects.items():
            cost = _cost(stack, subject, environment)
            if number:  # the round before the first one only compiles what has no bytecode yet
                found[subject].append(cost)
    return {subject: median_import(costs) for subject, costs in found.items()}


def _subjects(stack: LocalStack) -> dict[str, Mapping[str, str]]:
    """Each module to import with its environment; the two baselines have a function's too."""
    functions = [stack.functions.settings(name) for name in stack.functions.names()]
    environments = {module_of(one): _environment(stack, one) for one in functions}
    plain = next(iter(environments.values()))
    return {BARE: plain, BASELINE: plain, **environments}


def _environment(stack: LocalStack, settings: FunctionSettings) -> dict[str, str]:
    return {
        **platform_variables(settings, REGION, runtime_api="none: nothing is invoked"),
        **settings.environment,
        **stack.cloud.environment_of(settings),
    }


def _cost(stack: LocalStack, subject: str, environment: Mapping[str, str]) -> Import:
    cached = _probe(stack, subject, "cached", environment)
    in_layer = subject not in {BARE, BASELINE}
    source = _probe(stack, subject, "source" if in_layer else "cached", environment)
    vendors = tuple(cached["vendors"])
    return Import(cached["cpu_ms"], source["cpu_ms"], cached["rss_mb"], vendors)


def _probe(stack: LocalStack, subject: str, code: str, environment: Mapping[str, str]) -> Any:
    argv = [sys.executable, "-P", str(PROBE), subject, code]  # -P: imports nothing from this folder
    said = run(stack.processes, Command(f"import {subject}", argv, environment, IMPORT_SECONDS))
    return json.loads(said[-1])
