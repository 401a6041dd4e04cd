"""Shows a rotation while it happens: a live picture on a terminal, plain lines elsewhere.

Both say the same: which stage or state is at work, what it found, what is true for users now. The
picture is drawn from the model alone, so it can be drawn at any moment.
"""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.claims import Claim
from local.gauges import Countdown, PodCounts, Reading

StepState = Literal["waiting", "working", "done", "failed"]
MARKS: dict[StepState, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "working": ("●", "yellow"),
    "done": ("✔", "green"),
    "failed": ("✘", "red"),
}
COUNTED = {"PurgeEarly", "PurgeSessions"}  # lines of the gauges tell how far these are


@dataclass
class StepRow:
    """One step of the rotation on the screen."""

    name: str
    state: StepState = "waiting"
    seconds: float | None = None
    note: str = ""


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
        waits = row.state == "working" and row.name not in COUNTED
        if waits and row.note not in {"", self._told_note}:
            self._line(f"    {row.name}: {row.note}")
        self._told_note = row.note
        if row.state in {"done", "failed"}:
            self._line(f"{MARKS[row.state][0]} {row.name:<16} {_seconds(row):>7}  {row.note}")

    def truth(self, text: str) -> None:
        """Print what is true."""
        self._line(f"  → {text}")

    def reading(self, reading: Reading) -> None:
        """Print the pods of a service when they have changed, and sessions when a tenth is gone."""
        for name, counts in reading.pods.items():
            before = self._pods.get(name, counts)
            self._pods[name] = counts
            if counts != before:
                self._line(f"    {name}: {counts}")
        told = self._countdown.tell(reading.sessions, time.monotonic())
        if 0 < reading.sessions < self._told_sessions - self._countdown.most / 10:
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


class Picture:
    """The whole rotation in one live picture."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._begun = time.monotonic()
        self._stages: list[str] = []
        self._rows: list[StepRow] = []
        self._truth = "The stack is starting."
        self._reading: Reading | None = None
        self._countdown = Countdown(most=1)
        self._sessions = ""
        self._live = Live(get_renderable=self._draw, console=terminal, refresh_per_second=8)

    def __enter__(self) -> "Picture":
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def stage(self, text: str) -> None:
        """Add the stage to the list."""
        self._stages.append(text)

    def plan(self, names: list[str]) -> None:
        """Show the steps that will come."""
        self._rows = [StepRow(name) for name in names]

    def step(self, row: StepRow) -> None:
        """Show the step's new state."""
        self._rows = [row if known.name == row.name else known for known in self._rows]

    def truth(self, text: str) -> None:
        """Show what is true."""
        self._truth = text

    def reading(self, reading: Reading) -> None:
        """Show what the gauges show."""
        self._sessions = self._countdown.tell(reading.sessions, time.monotonic())
        self._reading = reading

    def account(self, claims: list[Claim]) -> None:
        """Print the claims below the picture."""
        self._live.refresh()
        self._live.stop()
        for claim in claims:
            mark, colour = MARKS["done" if claim.holds else "failed"]
            self._terminal.print(Text.assemble((f"  {mark} ", colour), claim.says))

    def say(self, text: str) -> None:
        """Print a sentence above the picture."""
        self._terminal.print(text, highlight=False, markup=False)

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = [self._head()]
        parts += [Text(f"  {stage}", style="dim") for stage in self._stages]
        if self._rows:
            parts += [Text(), self._steps()]
        if self._reading:
            parts += [Text(), self._gauges(self._reading)]
        return Group(*parts, Text())

    def _head(self) -> Text:
        elapsed = time.monotonic() - self._begun
        return Text.assemble(
            ("Keyturn demo ", "bold"), (f"{elapsed:5.1f} s  ", "dim"), (self._truth, "bold cyan")
        )

    def _steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for row in self._rows:
            mark, colour = MARKS[row.state]
            table.add_row(f" [{colour}]{mark}[/]", row.name, _seconds(row), Text(row.note))
        return table

    def _gauges(self, reading: Reading) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, counts in reading.pods.items():
            table.add_row(f"   {name}", _pod_blocks(counts), Text(str(counts)))
        bar = ProgressBar(total=self._countdown.most, completed=reading.sessions, width=24)
        table.add_row("   sessions", bar, Text(self._sessions))
        seen = reading.visitors
        told = f"{seen.pages:,} pages, {seen.logged_out} times logged out, {seen.failed} failed"
        table.add_row("   visitors", "", Text(told))
        return table


def _pod_blocks(counts: PodCounts) -> Text:
    """One block for each pod: new, old, terminating."""
    return Text.assemble(
        ("■ " * counts.new, "green"),
        ("■ " * counts.old, "red"),
        ("□ " * counts.terminating, "red"),
    )


def _seconds(row: StepRow) -> str:
    return "" if row.seconds is None else f"{row.seconds:.2f} s"
