"""What it costs to start each function, measured twice on the built artefacts.

By import: a fresh process imports the handler's module, with the environment that the template
gives the function, and so does one for the bare interpreter and one for boto3 with a client; once
as it is deployed, which is without bytecode and in folders that are read-only, and once with
bytecode in a cache elsewhere. By invocation: the local Lambda's REPORT lines of a rotation.
"""

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.commands import Command, run
from bench.figures import Import, Invocation, median_import, parse_report
from local.aws import REGION
from local.functions import FunctionSettings
from local.lambda_environment import platform_variables
from local.stack import LocalStack

ROUNDS = 5
IMPORT_SECONDS = 60.0
BARE, BASELINE = "", "boto3"
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
BYTES_AN_EVENT = 26
PROBE = Path(__file__).with_name("probe.py")


@dataclass
class Reports:
    """Collects the REPORT lines, and counts the bytes, of what the functions log."""

    seen: defaultdict[str, list[Invocation]] = field(default_factory=lambda: defaultdict(list))
    log_bytes: int = 0

    def hear(self, function_name: str, line: str) -> None:
        """Count a line, and keep it if it is a report."""
        self.log_bytes += len(line.encode()) + BYTES_AN_EVENT
        if report := parse_report(line):
            self.seen[function_name].append(report)

    def forget(self) -> None:
        """Begin anew, so that only the measured rotation counts."""
        self.seen.clear()
        self.log_bytes = 0

    def by_module(self, stack: LocalStack) -> dict[str, list[Invocation]]:
        """The invocations by the handler's module."""
        return {
            module_of(stack.functions.settings(name)): list(found)
            for name, found in self.seen.items()
        }


def module_of(settings: FunctionSettings) -> str:
    """The module of a function's handler, such as `rotate_secret`."""
    return settings.handler.partition(".")[0]


def measure(stack: LocalStack) -> dict[str, Import]:
    """Import each subject in ROUNDS fresh processes, taking turns; returns the medians."""
    subjects = _subjects(stack)
    found: dict[str, list[Import]] = {subject: [] for subject in subjects}
    with tempfile.TemporaryDirectory(prefix="keyturn-bytecode-") as cache:
        for number in range(ROUNDS + 1):
            for subject, environment in subjects.items():
                cost = _cost(stack, subject, environment, cache)
                if number:  # the round before the first one only compiles
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


def _cost(stack: LocalStack, subject: str, environment: Mapping[str, str], cache: str) -> Import:
    compiled = _probe(stack, subject, {**environment, "PYTHONPYCACHEPREFIX": cache})
    deployed = _probe(stack, subject, {**environment, "PYTHONDONTWRITEBYTECODE": "1"})
    vendors = tuple(deployed["vendors"])
    return Import(compiled["cpu_ms"], deployed["cpu_ms"], deployed["rss_mb"], vendors)


def _probe(stack: LocalStack, subject: str, environment: Mapping[str, str]) -> Any:
    argv = [sys.executable, "-P", str(PROBE), subject]  # -P: imports nothing from this folder
    said = run(stack.processes, Command(f"import {subject}", argv, environment, IMPORT_SECONDS))
    return json.loads(said[-1])
