"""`make bench`: speed and size of Keyturn, as ratios against named baselines of the same run.

`python -m bench` measures everything; `rotation`, `artefacts` (what they cost to start and to
run) or `purge` behind it only that. Prints
tables and writes the figures to out/bench/, and the chart of the purges to docs/ when it has their
default number of sessions. SESSIONS changes that number, ROUNDS the rounds of the purges. Exits
with 0 when everything was measured, with 1 when a rotation or a purge did not do its work, with 2
when the bench itself could not go on, with 130 when it was interrupted. Nothing is left running in
any case.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from redis.exceptions import RedisError

from bench import (
    artefacts,
    cost_report,
    documents,
    imports,
    layer,
    purge,
    purge_chart,
    purge_report,
    report,
    rotation,
)
from bench.commands import CommandFailed
from bench.purge_figures import Purges
from bench.purge_servers import Cluster, Standalone, Target
from local.browser import UnexpectedAnswerError
from local.processes import Processes
from local.redis_server import RedisServerError
from local.stack import Listeners, LocalStack, StackProblem

OUT = Path("out") / "bench"
CHART = Path("docs") / "purge.svg"
_started = time.monotonic()


def main() -> int:
    """Run the bench; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    OUT.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=OUT / "stack.log", filemode="w")  # what libraries have to say
    try:
        for measure, sessions in _chosen(sys.argv[1:]):
            measure(sessions)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is left running.\n")
        return 130
    except (rotation.RotationFailed, purge.PurgeFailed, CommandFailed) as problem:
        sys.stderr.write(f"\n{problem}\nNothing is left running.\n")
        return 1
    except Unusable as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    except STOPPED as problem:
        sys.stderr.write(f"\nThe bench stopped: {problem}\nNothing is left running.\n")
        return 2
    return 0


class Unusable(Exception):
    """What was asked for cannot be measured; the message says what can."""


def _chosen(names: list[str]) -> list[tuple[Callable[[int], None], int]]:
    """The benches to run, each with its number of sessions. Raises Unusable."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise Unusable(f"The benches are {' and '.join(BENCHES)}, not {unknown[0]!r}.")
    chosen = [BENCHES[name] for name in names or BENCHES]
    _number("ROUNDS", DEFAULT_ROUNDS, 1)
    return [(measure, _number("SESSIONS", default, least)) for measure, default, least in chosen]


def _measure_rotation(sessions: int) -> None:
    with LocalStack(Listeners(_tell)) as stack:
        bench = rotation.Bench(stack, sessions, _tell)
        ways = bench.measure()
    rotations = ways, sessions, bench.redis_client
    _say(report.rotation(*rotations))
    _write("rotation", documents.rotation(*rotations))
    _say([f"The figures: {OUT}/rotation.json"])


def _measure_artefacts(sessions: int) -> None:
    _tell("Artefacts: building them for this machine")
    artefacts.build()
    found = artefacts.measure(sessions, _tell)
    _tell("Layer: building it for python3.13 on arm64")
    built = layer.measure()
    subjects = found.costs, imports.BARE, imports.BASELINE
    _say(report.imports(*subjects))
    _say(report.vendors(*subjects))
    _say(cost_report.starts(found.costs, found.cold, found.memory_mb))
    _say(cost_report.processes(found.processes))
    _say(cost_report.rotation(found.usage))
    _say(cost_report.growth(found.usage, *artefacts.billed_resources()))
    _say(report.layer(built))
    _write("imports", documents.imports(*subjects, found.cold))
    _write("cost", documents.cost(found.usage))
    _write("layer", documents.layer(built))
    _say([f"The figures: {OUT}/imports.json, cost.json and layer.json"])


def _measure_purge(sessions: int) -> None:
    rounds = _number("ROUNDS", DEFAULT_ROUNDS, 1)
    found = []
    with Processes() as processes:
        for kind in (Standalone, Cluster):
            target = kind(processes)
            try:
                found.append(_purge(processes, target, sessions, rounds))
            finally:
                target.close()
    for purges in found:
        _say(purge_report.purge(purges, rounds))
    _say(purge_report.sizes(found[0]))
    chart = CHART if sessions == DEFAULT_PURGED else OUT / CHART.name
    chart.write_text(purge_chart.draw(found))
    _write("purge", {purges.target: purge_report.document(purges) for purges in found})
    _say([f"The figures: {OUT}/purge.json. The chart: {chart}"])


def _purge(processes: Processes, target: Target, sessions: int, rounds: int) -> Purges:
    bench = purge.Bench(processes, target, sessions, _tell)
    purges = bench.measure(rounds)
    if isinstance(target, Cluster):
        return purges
    numbers = purge.sizes_for(sessions, largest=sessions == DEFAULT_PURGED)
    return replace(purges, sizes=bench.sizes(numbers))


def _number(variable: str, default: int, least: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise Unusable(f"{variable} is a number from {least} on, not {text!r}.")
    return int(text)


def _tell(stage: str) -> None:
    sys.stdout.write(f"{time.monotonic() - _started:6.1f} s   {stage}\n")
    sys.stdout.flush()


def _say(lines: list[str]) -> None:
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def _write(name: str, document: dict[str, Any]) -> None:
    (OUT / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


DEFAULT_PURGED = 1_000_000
DEFAULT_ROUNDS = 5
# What measures it, and how many sessions by default and at least.
BENCHES = {
    "rotation": (_measure_rotation, 2_000, rotation.OVER_HTTP),
    "artefacts": (_measure_artefacts, 2_000, rotation.OVER_HTTP),
    "purge": (_measure_purge, DEFAULT_PURGED, 10_000),
}
STOPPED = (
    StackProblem,
    RedisServerError,
    RedisError,
    UnexpectedAnswerError,
    TimeoutError,
)

if __name__ == "__main__":
    sys.exit(main())
