"""Processes that never outlive those who started them, their own children included."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.processes import Child, Processes

Run = Callable[..., Child]

ROOT = Path(__file__).parents[2]
MODULE = "a_module_of_this_test"
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
WAIT_SECONDS = 20.0
SLEEP = "import time; time.sleep(600)"
UP = f"print('up'); {SLEEP}"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {UP}"
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


@pytest.fixture(params=[(), (MODULE,)], ids=["started", "preloaded"])
def processes(request: pytest.FixtureRequest) -> Iterator[Processes]:
    with Processes(preloaded=request.param) as processes:
        yield processes


@pytest.fixture
def run(processes: Processes, tmp_path: Path) -> Run:
    """Run code as a module."""

    def run(code: str, env: Mapping[str, str] = UNBUFFERED, **listeners: Any) -> Child:
        (tmp_path / f"{MODULE}.py").write_text(code)
        argv = [sys.executable, "-m", MODULE, "an argument"]
        return processes.start("a child", argv, env=env, cwd=tmp_path, **listeners)

    return run


def test_a_child_gets_its_environment_and_nothing_else(run: Run) -> None:
    lines: list[str] = []
    code = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"
    child = run(code, {"ONLY": "1"}, on_output=lines.append)
    wait_for(lambda: lines, "a line")
    assert lines == ["['ONLY']"]
    assert child.describe_end() == "ended with exit code 0"


def test_a_child_is_the_module_that_it_was_started_as(run: Run, tmp_path: Path) -> None:
    lines: list[str] = []
    code = """if True:
        import os, sys
        print(__name__, sys.argv == [__file__, "an argument"], os.path.dirname(__file__))
        print(os.getcwd(), sys.path[:2] == [os.getcwd(), "/somewhere"])
        print([name for name in sys.modules if name.split(".")[0] in ("keyturn", "local", "tests")])
        print(os.getpid() == os.getsid(0), os.read(0, 1))
    """
    run(code, {"PYTHONPATH": "/somewhere"}, on_output=lines.append)
    wait_for(lambda: len(lines) == 4, "four lines")
    assert lines == [f"__main__ True {tmp_path}", f"{tmp_path} True", "[]", "True b''"]


def test_stdout_and_stderr_come_line_by_line_before_the_end_is_told(run: Run) -> None:
    heard: list[str] = []
    ended = threading.Event()

    def on_exit(child: Child) -> None:
        heard.append(f"{child.name} {child.describe_end()}")
        ended.set()

    code = "import sys; print('out'); print('\\udcff', file=sys.stderr); sys.exit(3)"
    run(code, on_output=heard.append, on_exit=on_exit)
    assert ended.wait(WAIT_SECONDS)
    assert heard == ["out", "\\udcff", "a child ended with exit code 3"]


def test_an_ended_child_is_no_longer_listed_and_says_how_it_ended(
    processes: Processes, run: Run
) -> None:
    child = run(SLEEP)
    assert processes.running() == [child]
    os.kill(child.pid, signal.SIGKILL)
    assert child.describe_end() == "ended with signal 9"
    assert not child.expected_to_end
    wait_for(lambda: processes.running() == [], "an empty list")


def test_stop_asks_first_and_ends_a_child_that_does_not_listen(run: Run) -> None:
    lines: list[str] = []
    polite = run(UP, on_output=lines.append)
    wait_for(lambda: lines == ["up"], "the polite child is up")
    stubborn = run(STUBBORN, on_output=lines.append)
    wait_for(lambda: lines == ["up", "up"], "the stubborn child is up")
    polite.stop(WAIT_SECONDS)
    stubborn.stop(0.05)
    assert polite.describe_end() == "ended with signal 15"
    assert stubborn.describe_end() == "ended with signal 9"
    assert polite.expected_to_end
    assert stubborn.expected_to_end


def test_closing_ends_the_children_of_children_and_the_reaper(
    processes: Processes, run: Run
) -> None:
    lines: list[str] = []
    run(FAMILY, on_output=lines.append)
    wait_for(lambda: lines, "a grandchild")
    processes.close()
    processes.close()
    wait_for(lambda: gone(int(lines[0])), "the grandchild is gone")
    assert processes.running() == []
    assert not processes.reaper.running
    assert processes.reaper.expected_to_end


def test_ending_a_child_that_has_ended_does_nothing(run: Run) -> None:
    child = run("pass")
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
        child = processes.start("a child", [sys.executable, "-c", "pass"], env={})
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
