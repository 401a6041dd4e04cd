"""Purges a server and a cluster in every way, in turns, each time from the same full database.

The rounds that tell how fast a way is have nothing else going on. A probe asks in rounds of their
own: before the purge, while the server is idle, for about as long as the purge will take, and
during it. Afterwards it is checked that the sessions are gone and nothing else is.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.commands import Command, CommandFailed, run
from bench.figures import median
from bench.purge_figures import (
    FAST,
    FLUSH,
    LIMIT,
    LOOP,
    PROBED,
    RUNBOOK,
    WAYS,
    Answers,
    Latency,
    Probe,
    Purges,
    Work,
    latency,
)
from bench.purge_servers import (
    Target,
    keys_left,
    prepare,
    settings,
    wait_until_freed,
)
from local.processes import Child, Processes

ROOT = Path(__file__).parent.parent
OTHERS_EVERY = 10
LOOPED = 20_000  # more would take minutes and tell the same
IDLE_SECONDS = (2.0, 10.0)
FLUSH_SECONDS = 1.0  # at least: a flush is over before a probe has asked ten times
LONGEST_SECONDS = 900.0
PROBE_SECONDS = 30.0
SIZES = (10_000, 100_000, 1_000_000)
LARGEST = 10_000_000
LARGEST_NEEDS_BYTES = 16e9

Tell = Callable[[str], None]


class PurgeFailed(Exception):
    """A purge did not do its work, so its time says nothing; the message says what is wrong."""


class Bench:
    """Measures purges of one server or cluster."""

    def __init__(self, processes: Processes, target: Target, sessions: int, tell: Tell) -> None:
        self._processes, self._target = processes, target
        self._sessions, self._tell = sessions, tell

    def measure(self, rounds: int) -> Purges:
        """Purge in every way, in turns: first without a probe, then with one."""
        works: dict[str, list[Work]] = {way: [] for way in ways()}
        probes: dict[str, list[Probe]] = {way: [] for way in ways() if way in PROBED}
        for number in range(1, rounds + 1):
            for way, found in works.items():
                found.append(self._purge(way, self._sessions))
            self._say(number, rounds, {way: found[-1] for way, found in works.items()})
        for number in range(1, rounds + 1):
            for way, probed in probes.items():
                probed.append(self._probe(way, median(work.seconds for work in works[way])))
            p99 = ", ".join(f"{way} {one[-1].purge.p99:.1f}" for way, one in probes.items())
            self._tell(f"Probed {number} of {rounds}, {self._target.name}: p99 in ms: {p99}")
        return Purges(self._target.name, self._target.kind, self._sessions, works, probes)

    def sizes(self, numbers: Sequence[int]) -> dict[str, list[Work]]:
        """Purge ever more sessions, once each: what a purge costs, and its memory."""
        found: dict[str, list[Work]] = {FAST: [], LIMIT: [], FLUSH: []}
        for number in numbers:
            for way, works in found.items():
                works.append(self._purge(way, number))
            self._tell(f"{number:,} sessions, {self._target.name}: {found[FAST][-1].seconds:.1f} s")
        return found

    def _purge(self, way: str, sessions: int) -> Work:
        keys = min(sessions, LOOPED) if way == LOOP else sessions
        self._prepare(way, keys)
        others = keys_left(self._target) - keys
        said = self._work(way)
        left = keys_left(self._target) - others
        if left or said.get("deleted", keys) != keys:
            raise PurgeFailed(f"{way}: {left} of {keys} sessions are left; it said {said}.")
        return work_of(said, keys)

    def _prepare(self, way: str, sessions: int) -> None:
        prepare(self._target, sessions, 0 if way == FLUSH else OTHERS_EVERY)

    def _work(self, way: str) -> dict[str, Any]:
        """Purge in a fresh process; returns what it says of that."""
        argv = [sys.executable, "-m", "bench.purge_work", way]
        argv.append(json.dumps(settings(self._target)))
        command = Command(f"purge, {way}", argv, environment(), LONGEST_SECONDS, ROOT)
        said: dict[str, Any] = json.loads(run(self._processes, command)[-1])
        return said

    def _probe(self, way: str, seconds: float) -> Probe:
        self._prepare(way, self._sessions)
        least, most = IDLE_SECONDS
        with ProbeProcess(self._processes, self._target) as probe:
            idle = time.monotonic()
            time.sleep(min(max(seconds, least), most))
            idle_ended = time.monotonic()
            said = self._work(way)
            began, ended = said["began"], said["ended"]
            if way == FLUSH:  # what it leaves to the background is part of it
                with self._target.clients() as clients:
                    wait_until_freed(clients)
                ended = max(time.monotonic(), began + FLUSH_SECONDS)
                time.sleep(max(0.0, ended - time.monotonic()))
            answers = probe.end()
        return Probe(_latency(answers, idle, idle_ended), _latency(answers, began, ended))

    def _say(self, number: int, rounds: int, works: Mapping[str, Work]) -> None:
        said = ", ".join(f"{way} {work.keys_per_second / 1000:.0f}" for way, work in works.items())
        self._tell(f"Purges {number} of {rounds}, {self._target.name}: thousands a second: {said}")


class ProbeProcess:
    """A client that asks at a steady rate (`bench.latency`), from the start to `end`."""

    def __init__(self, processes: Processes, target: Target) -> None:
        self._lines: list[str] = []
        self._ready, self._ended = threading.Event(), threading.Event()
        argv = [sys.executable, "-m", "bench.latency", *map(str, target.probe)]
        self._child = processes.start(
            "probe",
            argv,
            env=environment(),
            cwd=ROOT,
            on_output=self._hear,
            on_exit=self._end,
        )
        if not self._ready.wait(PROBE_SECONDS) or self._ended.is_set():
            self._child.kill()
            raise CommandFailed(f"The probe did not begin; it said: {self._said()}")

    def end(self) -> Answers:
        """All answers: when each was due, and the milliseconds that it took."""
        self._child.terminate()
        if not self._ended.wait(PROBE_SECONDS) or self._child.process.wait():
            raise CommandFailed(f"The probe {self._child.describe_end()}; it said: {self._said()}")
        return [(due, taken) for due, taken in json.loads(self._lines[-1])]

    def __enter__(self) -> "ProbeProcess":
        return self

    def __exit__(self, *_error: object) -> None:
        self._child.kill()

    def _hear(self, line: str) -> None:
        self._lines.append(line)
        self._ready.set()

    def _end(self, _child: Child) -> None:
        self._ended.set()
        self._ready.set()

    def _said(self) -> str:
        return " | ".join(line[:200] for line in self._lines[-3:]) or "nothing"


def ways() -> tuple[str, ...]:
    """The ways that can be measured here: the runbook's needs redis-cli."""
    return tuple(way for way in WAYS if way != RUNBOOK or shutil.which("redis-cli"))


def sizes_for(sessions: int, *, largest: bool) -> list[int]:
    """The numbers of sessions at which memory and cost are compared."""
    numbers = [number for number in SIZES if number <= sessions]
    return [*numbers, LARGEST] if largest and _available_bytes() >= LARGEST_NEEDS_BYTES else numbers


def work_of(said: Mapping[str, Any], sessions: int) -> Work:
    """What a purging process said of its work. Pure."""
    return Work(
        keys=sessions,
        seconds=said["seconds"],
        cpu_seconds=said["cpu_seconds"],
        peak_mb=said["peak_mb"],
        memory_growth_mb=said["peak_mb"] - said["start_mb"],
        flush_seconds=said.get("flush_seconds", 0.0),
        counting_cpu_seconds=said.get("counting_cpu_seconds", 0.0),
    )


def environment() -> dict[str, str]:
    """The environment of the processes that purge and probe."""
    folders = os.pathsep.join(str(folder) for folder in (ROOT / "layers" / "keyturn", ROOT))
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": folders, "LC_ALL": "C"}


def _latency(answers: Answers, begin: float, end: float) -> Latency:
    try:
        return latency(answers, begin, end)
    except ValueError as nothing:
        raise PurgeFailed(str(nothing)) from None


def _available_bytes() -> int:
    """What the system would give without swapping; nothing where it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
