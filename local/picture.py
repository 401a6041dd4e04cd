"""The live picture of a rotation on a terminal.

It is drawn from the model alone, so it can be drawn at any moment.
"""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keyturn.reporting.wording import count_of
from local.checks import Claim
from local.layout import Block, fold, hanging
from local.sampler import Countdown, PodCounts, Reading
from local.step_rows import MARKS, StepRow, with_row


class Picture:
    """The whole rotation in one live picture, which is as high as the terminal at most."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._begun = time.monotonic()
        self._stages: list[str] = []
        self._rows: list[StepRow] = []
        self._truth = "The stack is starting."
        self._reading: Reading | None = None
        self._countdown = Countdown(most=1)
        self._sessions = ""
        self._ended = False
        self._live = Live(get_renderable=self._draw, console=terminal, refresh_per_second=8)

    def __enter__(self) -> "Picture":
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def stage(self, text: str) -> None:
        """Add the stage to the list."""
        self._stages = [*self._stages, text]

    def plan(self, names: list[str]) -> None:
        """Show the steps that will come."""
        self._rows = [StepRow(name) for name in names]

    def step(self, row: StepRow) -> None:
        """Show the step's new state."""
        self._rows = with_row(self._rows, row)
        if row.is_purge:
            self._countdown.purge(working=row.state == "working")

    def truth(self, text: str) -> None:
        """Show what is true."""
        self._truth = text

    def reading(self, reading: Reading) -> None:
        """Show what the gauges show."""
        self._sessions = self._countdown.tell(reading.sessions, time.monotonic())
        self._reading = reading

    def account(self, claims: list[Claim]) -> None:
        """Print the claims below the picture."""
        self.say("")
        for claim in claims:
            mark, colour = MARKS["done" if claim.holds else "failed"]
            self._terminal.print(Text.assemble((f"  {mark} ", colour), claim.says))

    def say(self, text: str) -> None:
        """Print a sentence below the picture, which does not change any more."""
        self._end()
        self._terminal.print(text, highlight=False, markup=False)

    def _end(self) -> None:
        """Leave the whole picture on the terminal, which can scroll now."""
        self._ended = True
        self._live.stop()

    def _draw(self) -> RenderableType:
        head = self._head().wrap(self._terminal, self._terminal.width)
        gauges = self._gauges(self._reading) if self._reading else None
        below: list[RenderableType] = [Text(), gauges] if gauges else []
        used = len(head) + (1 + gauges.row_count if gauges else 0)
        room = None if self._ended else max(self._terminal.height - used, 0)
        return Group(*head, *fold(self._blocks(), room), *below)

    def _head(self) -> Text:
        elapsed = time.monotonic() - self._begun
        return Text.assemble(
            ("Keyturn demo ", "bold"), (f"{elapsed:5.1f} s  ", "dim"), (self._truth, "bold cyan")
        )

    def _block(self, start: Text, text: str, *, style: str = "", folds: bool = True) -> Block:
        return Block(hanging(self._terminal, start, Text(text, style=style)), folds)

    def _blocks(self) -> list[Block]:
        """What has happened in its order, and what is to come; what matters most does not fold."""
        last = len(self._stages) - 1
        blocks = [
            self._block(Text("  "), stage, style="dim", folds=number < last)
            for number, stage in enumerate(self._stages)
        ]
        wide = max((len(row.name) for row in self._rows), default=0)
        long = max((len(row.took) for row in self._rows), default=0)
        for number, row in enumerate(self._rows):
            mark, colour = MARKS[row.state]
            told = f"{row.name:<{wide}} {row.took:<{long}} "
            start = Text.assemble((f" {mark} ", colour), told)
            blocks += [Block([Text()])] if number == 0 else []
            blocks.append(self._block(start, row.note, folds=row.state == "done"))
        return blocks

    def _gauges(self, reading: Reading) -> Table:
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for name, counts in reading.pods.items():
            table.add_row(f"   {name}", _pod_blocks(counts), Text(str(counts)))
        bar = ProgressBar(total=self._countdown.most, completed=reading.sessions, width=16)
        table.add_row("   sessions", bar, Text(self._sessions))
        seen = reading.visitors
        told = (
            f"{count_of(seen.pages, 'page')}, {count_of(seen.logged_out, 'time')} logged out,"
            f" {seen.failed:,} failed"
        )
        table.add_row("   visitors", "", Text(told))
        return table


def _pod_blocks(counts: PodCounts) -> Text:
    """One block for each pod: new, old, terminating."""
    return Text.assemble(
        ("■ " * counts.new, "green"),
        ("■ " * counts.old, "red"),
        ("□ " * counts.terminating, "red"),
    )
