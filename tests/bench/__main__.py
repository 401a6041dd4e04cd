"""`make bench`: speed and size of Keyturn, as ratios against named baselines of the same run.

Prints tables and writes the figures to out/bench/. Exits with 0 when everything was measured, with
1 when a rotation did not do its work, with 2 when the bench itself could not go on, with 130 when
it was interrupted. Nothing is left running in any case.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from local.browser import UnexpectedAnswerError
from local.redis_server import RedisServerError
from local.stack import Listeners, LocalStack, StackProblem
from tests.bench import documents, imports, layer, report
from tests.bench.commands import CommandFailed
from tests.bench.rotation import OVER_HTTP, Bench, RotationFailed

OUT = Path("out") / "bench"
DEFAULT_SESSIONS = 2_000
_started = time.monotonic()


def main() -> int:
    """Run the bench; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    text = os.environ.get("SESSIONS") or str(DEFAULT_SESSIONS)
    if not text.isdecimal() or int(text) < OVER_HTTP:
        sys.stderr.write(f"SESSIONS is a number from {OVER_HTTP} on, not {text!r}.\n")
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        _measure(int(text))
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is left running.\n")
        return 130
    except (RotationFailed, CommandFailed) as problem:
        sys.stderr.write(f"\n{problem}\nNothing is left running.\n")
        return 1
    except (StackProblem, RedisServerError, UnexpectedAnswerError, TimeoutError) as problem:
        sys.stderr.write(f"\nThe bench stopped: {problem}\nNothing is left running.\n")
        return 2
    return 0


def _measure(sessions: int) -> None:
    reports = imports.Reports()
    with LocalStack(Listeners(_tell, reports.hear)) as stack:
        reports.forget()
        bench = Bench(stack, sessions, _tell)
        ways = bench.measure()
        cold = reports.by_module(stack)
        _tell("Imports: each function in fresh processes")
        costs = imports.measure(stack)
    _tell("Layer: building it for python3.13 on arm64")
    built = layer.measure()
    rotations = ways, sessions, bench.redis_client
    subjects = costs, imports.BARE, imports.BASELINE
    _say(report.rotation(*rotations))
    _say(report.imports(*subjects))
    _say(report.vendors(*subjects))
    _say(report.first_invokes(cold))
    _say(report.layer(built))
    _write("rotation", documents.rotation(*rotations))
    _write("imports", documents.imports(*subjects, cold))
    _write("layer", documents.layer(built))
    _say([f"The figures: {OUT}/rotation.json, imports.json and layer.json"])


def _tell(stage: str) -> None:
    sys.stdout.write(f"{time.monotonic() - _started:6.1f} s   {stage}\n")
    sys.stdout.flush()


def _say(lines: list[str]) -> None:
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def _write(name: str, document: dict[str, Any]) -> None:
    (OUT / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
