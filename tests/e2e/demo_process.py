"""The demo as a user runs it: a process of its own, whose lines are read as they come."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import subreaper

ROOT = Path(__file__).parents[2]
SUBREAPER = Path(subreaper.__file__)
WISHES = ("CLUSTER", "FAULT", "MODE", "FAIL", "DELIVERY", "BUILT")
NO_WISH = {"SESSIONS": "50", **dict.fromkeys(WISHES, "")}
WAIT_SECONDS = 280.0  # less than a test may take
LEFT_SECONDS = 10.0


class Demo:
    """A running demo in an empty directory."""

    def __init__(self, folder: Path, wish: dict[str, str]) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._silent = False
        self._changed = threading.Condition()
        self._report = folder / "report.json"
        path = os.pathsep.join(map(str, (ROOT, ROOT / "layers" / "keyturn")))
        command = [sys.executable, str(SUBREAPER), str(self._report), sys.executable]
        self._process = subprocess.Popen(
            [*command, "-m", "local.demo"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **NO_WISH, **wish},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        """The demo's own process id."""
        return int(Path(f"{self._report}.pid").read_text())

    def until(self, text: str) -> "Demo":
        """Wait for a line that holds a text."""
        with self._changed:
            self._changed.wait_for(lambda: text in self.output or self._silent, WAIT_SECONDS)
        assert text in self.output, f"no {text!r} within {WAIT_SECONDS:g} s:\n{self.output}"
        return self

    def signal(self, number: signal.Signals) -> "Demo":
        """Send a signal to the demo itself."""
        os.kill(self.pid, number)
        return self

    def part(self, word: str) -> int:
        """Wait for one of its processes, by a word of its command line; returns the pid."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (
            found := [p for p in subreaper.children(self.pid) if word in subreaper.words(p)]
        ):
            assert time.monotonic() < deadline, f"no process {word!r}"
            time.sleep(0.01)
        return found[0]

    def kill_part(self, word: str) -> int:
        """End one of its processes, with signal 9."""
        os.kill(pid := self.part(word), signal.SIGKILL)
        return pid

    def variable(self, word: str, name: str) -> str:
        """A variable of one of its processes."""
        found = Path(f"/proc/{self.part(word)}/environ").read_bytes().split(b"\0")
        return next(one for one in found if one.startswith(f"{name}=".encode())).decode()[
            len(name) + 1 :
        ]

    def end(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (told := self._told()):
            assert time.monotonic() < deadline, f"it does not end:\n{self.output}"
            time.sleep(0.02)
        code = told["code"]
        assert isinstance(code, int)
        return code

    def left_at_its_end(self) -> list[str]:
        """The command lines of what still ran when it had ended."""
        left = self._told()["left"]
        assert isinstance(left, list)
        return left

    def assert_nothing_is_left(self) -> None:
        """See every process that it has started end, in a few seconds."""
        try:
            self._process.wait(LEFT_SECONDS)
        except subprocess.TimeoutExpired:
            left = [subreaper.words(pid) for pid in subreaper.children(self._process.pid)]
            raise AssertionError(f"still running: {left}") from None

    def close(self) -> None:
        """End whatever is left, however the test has ended."""
        while self._process.poll() is None:
            for pid in subreaper.children(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._reader.join()

    def _told(self) -> dict[str, object]:
        try:
            told: dict[str, object] = json.loads(self._report.read_text())
        except (OSError, ValueError):
            return {}
        return told

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()


@contextlib.contextmanager
def running_demo(folder: Path, **wish: str) -> Iterator[Demo]:
    """Start the demo with variables as `make demo` takes them; it is gone afterwards."""
    demo = Demo(folder, wish)
    try:
        yield demo
    finally:
        demo.close()


def names_asked_for(request: pytest.FixtureRequest) -> set[str]:
    """The demos that the tests of a module are about: the values of their parameter `name`."""
    return {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and hasattr(item, "callspec")
        and "name" in item.callspec.params
    }


def run_demos(
    factory: pytest.TempPathFactory, wishes: Mapping[str, dict[str, str]], *, at_once: int
) -> dict[str, Demo]:
    """Run demos to their ends, a few at once to save time; nothing is left of any.

    Each finds the record of an earlier run, as after another `make demo`.
    """
    folders = {name: factory.mktemp(name.replace(", ", "-")) for name in wishes}
    for folder in folders.values():
        (folder / "out" / "demo").mkdir(parents=True)
        (folder / "out" / "demo" / "record.json").write_text('{"of": "an earlier run"}')

    def run(name: str) -> Demo:
        with running_demo(folders[name], **wishes[name]) as demo:
            demo.end()
            demo.assert_nothing_is_left()
        return demo

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(wishes, pool.map(run, wishes), strict=True))
