"""Shows a rotation while it happens: a live picture on a terminal, plain lines elsewhere.

Both say the same: which stage or state is at work, what it found, what is true for users now.
"""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console

from local.checks import Claim
from local.picture import Picture
from local.sampler import Countdown, PodCounts, Reading
from local.step_rows import ENDED, MARKS, StepRow


class Screen(Protocol):
    """Where the demo shows itself."""

    def stage(self, text: str) -> None:
        """A part of the stack is up, or something was prepared."""

    def plan(self, names: list[str]) -> None:
        """The steps that will come."""

    def step(self, row: StepRow) -> None:
        """A step has begun, gone on or ended."""

    def truth(self, text: str) -> None:
        """What is true for users now."""

    def reading(self, reading: Reading) -> None:
        """What the gauges show."""

    def account(self, claims: list[Claim]) -> None:
        """How it ended."""

    def say(self, text: str) -> None:
        """A sentence outside the picture."""

    def __enter__(self) -> "Screen": ...

    def __exit__(self, *_error: object) -> None: ...


def open_screen() -> Screen:
    """A live picture on a terminal, plain lines elsewhere."""
    terminal = Console()
    return Picture(terminal) if terminal.is_terminal else Lines()


@dataclass
class Lines:
    """One line for each thing that happens, with the seconds since the start."""

    begun: float = field(default_factory=time.monotonic)
    _pods: dict[str, PodCounts] = field(default_factory=dict)
    _countdown: Countdown = field(default_factory=Countdown)
    _told_sessions: int = 0
    _told_note: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def stage(self, text: str) -> None:
        """Print the stage."""
        self._line(f"  {text}")

    def plan(self, names: list[str]) -> None:
        """Say nothing: steps are told as they come."""

    def step(self, row: StepRow) -> None:
        """Print a step's end, and what it is waiting for; its beginning shows in what is true."""
        if row.is_purge:
            self._countdown.purge(working=row.state == "working")
        waits = row.state == "working" and not row.is_purge
        if waits and row.note not in {"", self._told_note}:
            self._line(f"    {row.name}: {row.note}")
        self._told_note = row.note
        if row.state in ENDED:
            self._line(f"{MARKS[row.state][0]} {row.name:<16} {row.took:>7}  {row.note}")

    def truth(self, text: str) -> None:
        """Print what is true."""
        self._line(f"  → {text}")

    def reading(self, reading: Reading) -> None:
        """Print the pods of a service when they have changed, and each tenth that a purge ends."""
        for name, counts in reading.pods.items():
            before = self._pods.get(name, counts)
            self._pods[name] = counts
            if counts != before:
                self._line(f"    {name}: {counts}")
        told = self._countdown.tell(reading.sessions, time.monotonic())
        fewer = reading.sessions < self._told_sessions - self._countdown.most / 10
        if self._countdown.counting and fewer:
            self._line(f"    sessions: {told}")
            self._told_sessions = reading.sessions
        self._told_sessions = max(self._told_sessions, reading.sessions)

    def account(self, claims: list[Claim]) -> None:
        """Print the claims."""
        self.say("")
        for claim in claims:
            self.say(f"  {MARKS['done' if claim.holds else 'failed'][0]} {claim.says}")

    def say(self, text: str) -> None:
        """Print a line without a time."""
        with self._lock:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def _line(self, text: str) -> None:
        self.say(f"{time.monotonic() - self.begun:6.1f} s {text}")
