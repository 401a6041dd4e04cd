"""Processes that never outlive those who started them, their own children included."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.processes import Child, Processes

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 20.0
SLEEP = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); {SLEEP}"
# Starts a child of its own and says its pid, as a shell does.
FAMILY = (
    "import subprocess, sys; "
    f"print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True); {SLEEP}"
)
# A stack that starts a family and is then ended from outside.
STACK = f"""
import os, sys, time
from local.processes import Processes
processes = Processes()
child = processes.start(
    "family", [sys.executable, "-c", {FAMILY!r}], env=dict(os.environ),
    on_output=lambda line: print(child.pid, line, processes.reaper.pid, flush=True),
)
time.sleep(600)
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what}"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process that is not our child has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal, by the mask in its status."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(mask, 16) & 1 << (number - 1))


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


def start(processes: Processes, code: str, lines: list[str] | None = None) -> Child:
    listen = None if lines is None else lines.append
    argv = [sys.executable, "-u", "-c", code]
    return processes.start("a child", argv, env=dict(os.environ), on_output=listen)


def test_a_child_gets_its_environment_and_nothing_else(processes: Processes) -> None:
    lines: list[str] = []
    code = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"
    argv = [sys.executable, "-c", code]
    child = processes.start("a child", argv, env={"ONLY": "1"}, on_output=lines.append)
    wait_for(lambda: lines, "a line")
    assert lines == ["['ONLY']"]
    assert child.describe_end() == "ended with exit code 0"


def test_stdout_and_stderr_come_line_by_line_before_the_end_is_told(processes: Processes) -> None:
    heard: list[str] = []
    ended = threading.Event()

    def on_exit(child: Child) -> None:
        heard.append(f"{child.name} {child.describe_end()}")
        ended.set()

    code = "import sys; print('out'); print('\\udcff', file=sys.stderr); sys.exit(3)"
    argv = [sys.executable, "-u", "-X", "utf8", "-c", code]
    processes.start("a", argv, env={}, on_output=heard.append, on_exit=on_exit)
    assert ended.wait(WAIT_SECONDS)
    assert heard == ["out", "\\udcff", "a ended with exit code 3"]


def test_an_ended_child_is_no_longer_listed_and_says_how_it_ended(processes: Processes) -> None:
    child = start(processes, SLEEP)
    assert processes.running() == [child]
    os.kill(child.pid, signal.SIGKILL)
    assert child.describe_end() == "ended with signal 9"
    assert not child.expected_to_end
    wait_for(lambda: processes.running() == [], "an empty list")


def test_stop_asks_first_and_ends_a_child_that_does_not_listen(processes: Processes) -> None:
    lines: list[str] = []
    polite, stubborn = start(processes, SLEEP), start(processes, STUBBORN, lines)
    wait_for(lambda: lines == ["up"], "the stubborn child is up")
    polite.stop(WAIT_SECONDS)
    stubborn.stop(0.05)
    assert polite.describe_end() == "ended with signal 15"
    assert stubborn.describe_end() == "ended with signal 9"
    assert polite.expected_to_end
    assert stubborn.expected_to_end


def test_closing_ends_the_children_of_children_and_the_reaper() -> None:
    lines: list[str] = []
    processes = Processes()
    start(processes, FAMILY, lines)
    wait_for(lambda: lines, "a grandchild")
    processes.close()
    processes.close()
    wait_for(lambda: gone(int(lines[0])), "the grandchild is gone")
    assert processes.running() == []
    assert not processes.reaper.running
    assert processes.reaper.expected_to_end


def test_ending_a_child_that_has_ended_does_nothing(processes: Processes) -> None:
    child = start(processes, "pass")
    child.process.wait(WAIT_SECONDS)
    child.terminate()
    child.kill()
    child.stop(0)
    assert child.describe_end() == "ended with exit code 0"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_reaper_ends_every_group_when_the_stack_is_killed(number: signal.Signals) -> None:
    with _stack() as (stack, pids):
        os.kill(stack.pid, number)
        stack.wait(WAIT_SECONDS)
        for pid in pids:
            wait_for(lambda pid=pid: gone(pid), f"{pid} is gone")  # type: ignore[misc]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_reaper_stays_while_the_stack_does(number: signal.Signals) -> None:
    with Processes() as processes:
        reaper = processes.reaper
        wait_for(lambda: ignores(reaper.pid, number), "the reaper is at work")
        os.kill(reaper.pid, number)
        child = start(processes, "pass")
        child.process.wait(WAIT_SECONDS)
        assert reaper.running


@contextlib.contextmanager
def _stack() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A stack in a process of its own, and the pids of its child, grandchild and reaper."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    stack = subprocess.Popen(
        [sys.executable, "-c", STACK], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert stack.stdout
    with stack, stack.stdout:
        try:
            yield stack, [int(pid) for pid in stack.stdout.readline().split()]
        finally:
            stack.kill()
