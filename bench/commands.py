"""Runs one command to its end among the stack's processes, and keeps what it said."""

import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.processes import Child, Processes

OUTPUT_SECONDS = 10.0


class CommandFailed(Exception):
    """A command ended with an error or not in time; the message says how, and its last words."""


@dataclass(frozen=True)
class Command:
    """A command with its whole environment and the time that it may take."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    seconds: float
    cwd: Path | None = None


def run(processes: Processes, command: Command) -> list[str]:
    """Run a command and return its lines. Raises CommandFailed."""
    lines: list[str] = []
    heard = threading.Event()

    def on_exit(_child: Child) -> None:
        heard.set()

    child = processes.start(
        command.name,
        command.argv,
        env=command.env,
        cwd=command.cwd,
        on_output=lines.append,
        on_exit=on_exit,
    )
    try:
        code = child.process.wait(command.seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        raise CommandFailed(f"{command.name}: not done after {command.seconds:.0f} s") from None
    heard.wait(OUTPUT_SECONDS)
    if code:
        said = " | ".join(lines[-3:]) or "nothing"
        raise CommandFailed(f"{command.name} {child.describe_end()}; it said: {said}")
    return lines
