"""Every process of the stack is started here, and none of them outlives the stack.

Each child leads its own process group, so that ending it ends what it started too. A reaper, one
more child, holds the read end of a pipe and the list of groups: when the pipe closes, because the
stack ended in whatever way (a `kill -9` included), it ends the groups that are left. Linux's
parent-death signal is not used: it fires when the *thread* that started the child ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from local.preloaded import PreloadedProcess

PYTHON_MODULE = [sys.executable, "-m"]

ExitListener = Callable[["Child"], None]
OutputListener = Callable[[str], None]


class Child:
    """A running process of the stack, with the name that messages call it by."""

    def __init__(self, name: str, process: subprocess.Popen[bytes] | PreloadedProcess) -> None:
        self.name = name
        self.process = process
        self.expected_to_end = False

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def describe_end(self) -> str:
        """How the process ended, in words: 'ended with signal 9' or 'ended with exit code 1'."""
        code = self.process.wait()
        return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"

    def terminate(self) -> None:
        """Ask the group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the group at once."""
        self._signal(signal.SIGKILL)

    def stop(self, grace_seconds: float) -> None:
        """Ask the group to end, wait, then end it; returns when the process is gone."""
        self.terminate()
        try:
            self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        self.expected_to_end = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Processes:
    """Starts the stack's processes and ends them all on leaving the `with` block.

    The Python modules in `preloaded` are forked from a process that has imported their libraries.
    """

    def __init__(self, *, preloaded: Collection[str] = ()) -> None:
        self._preloaded = preloaded
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}
        self._watchers: list[threading.Thread] = []
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "local.reaper"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd=Path(__file__).parent.parent,
        )
        self.reaper = Child("reaper", self._reaper)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        on_output: OutputListener | None = None,
        on_exit: ExitListener | None = None,
    ) -> Child:
        """Start a process in a group of its own.

        `env` is its whole environment. `on_output` gets each line of its stdout and stderr (they
        are dropped without it), `on_exit` the child once it has ended; both on a thread of theirs.
        """
        child = Child(name, self._start(list(argv), dict(env), cwd, output=on_output is not None))
        with self._lock:
            self._children[child.pid] = child
            self._tell_reaper(f"+{child.pid}")
        watcher = threading.Thread(
            target=self._watch, args=(child, on_output, on_exit), name=f"watch {name}", daemon=True
        )
        watcher.start()
        self._watchers.append(watcher)
        return child

    def running(self) -> list[Child]:
        """The children that are still there, in the order in which they were started."""
        with self._lock:
            return [child for child in self._children.values() if child.running]

    def close(self, grace_seconds: float = 2.0) -> None:
        """End every child, then the reaper. Safe to call twice."""
        for child in self.running():
            child.terminate()
        for child in self.running():
            child.stop(grace_seconds)
        for watcher in self._watchers:
            watcher.join(grace_seconds)
        self.reaper.expected_to_end = True
        if self._reaper.stdin and not self._reaper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.close()
        self._reaper.wait()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _start(
        self, argv: list[str], env: dict[str, str], cwd: Path | None, *, output: bool
    ) -> subprocess.Popen[bytes] | PreloadedProcess:
        if argv[:2] == PYTHON_MODULE and argv[2] in self._preloaded:
            return PreloadedProcess(argv[2:], env, cwd, output=output)
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if output else subprocess.DEVNULL,
            start_new_session=True,
        )

    def _watch(
        self, child: Child, on_output: OutputListener | None, on_exit: ExitListener | None
    ) -> None:
        if child.process.stdout and on_output:
            with child.process.stdout as lines:
                for line in lines:
                    on_output(line.decode("utf-8", "replace").rstrip("\n"))
        child.process.wait()
        with self._lock:
            self._children.pop(child.pid, None)
            self._tell_reaper(f"-{child.pid}")
        if on_exit:
            on_exit(child)

    def _tell_reaper(self, message: str) -> None:
        if self._reaper.stdin and not self._reaper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(f"{message}\n".encode())
                self._reaper.stdin.flush()
