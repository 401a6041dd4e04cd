"""Fits the picture into a terminal: the oldest lines fold, so that the newest are in sight."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from keyturn.reporting.wording import count_of

NARROWEST = 20  # columns for a text, however narrow the terminal


@dataclass(frozen=True)
class Block:
    """Lines that belong together, and whether they may fold when there is no room."""

    lines: Sequence[Text]
    folds: bool = True


def hanging(terminal: Console, start: Text, text: Text) -> list[Text]:
    """A text after its start, wrapped to the terminal, with further lines below the text."""
    wide = max(terminal.width - start.cell_len, NARROWEST)
    first, *others = text.wrap(terminal, wide) or [Text()]
    return [start + first, *(Text(" " * start.cell_len) + other for other in others)]


def fold(blocks: Sequence[Block], room: int | None) -> list[Text]:
    """The blocks' lines, no more than `room` of them, or all of them without a limit.

    As many as necessary of the oldest blocks that may fold become one line.
    """
    over = 0 if room is None else sum(len(block.lines) for block in blocks) - room
    if over <= 0:
        return [line for block in blocks for line in block.lines]
    kept: list[Text] = []
    folded, freed = 0, -1  # the line that stands for the folded ones takes a place too
    for block in blocks:
        if block.folds and freed < over:
            folded, freed = folded + _has_text(block), freed + len(block.lines)
        else:
            kept += block.lines
    stands_for = [Text(f"   … {count_of(folded, 'earlier line')}", style="dim")] if folded else []
    return [*stands_for, *kept][:room]


def _has_text(block: Block) -> bool:
    return any(line.plain for line in block.lines)
