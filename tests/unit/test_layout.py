"""The picture in a terminal of any size: the oldest lines fold, the newest are in sight."""

import pytest
from rich.console import Console
from rich.text import Text

from local.layout import Block, fold, hanging


def blocks(*texts: str) -> list[Block]:
    """One block of a line for each text; those in capitals do not fold."""
    return [Block([Text(text)], folds=not text.isupper()) for text in texts]


def plain(lines: list[Text]) -> list[str]:
    return [line.plain.strip() for line in lines]


@pytest.mark.parametrize("room", [None, 3, 4])
def test_what_has_room_is_shown_whole(room: int | None) -> None:
    assert plain(fold(blocks("a", "b", "c"), room)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("texts", "room", "shown"),
    [
        (("a", "b", "c", "d"), 3, ["… 2 earlier lines", "c", "d"]),
        (("a", "b", "c", "d"), 2, ["… 3 earlier lines", "d"]),
        (("a", "FAILED", "b", "c"), 3, ["… 2 earlier lines", "FAILED", "c"]),
        (("a", "", "b", "c"), 3, ["… 1 earlier line", "b", "c"]),
        (("A", "B", "C", "D"), 3, ["A", "B", "C"]),
        (("a", "b"), 0, []),
    ],
)
def test_the_oldest_that_may_fold_make_one_line(
    texts: tuple[str, ...], room: int, shown: list[str]
) -> None:
    assert plain(fold(blocks(*texts), room)) == shown


def test_a_long_text_goes_on_below_itself() -> None:
    lines = hanging(Console(width=30), Text(" ✔ step "), Text("one two three four five six"))
    assert [line.plain.rstrip() for line in lines] == [
        " ✔ step one two three four",
        "        five six",
    ]


def test_an_empty_text_is_a_line_all_the_same() -> None:
    assert [line.plain for line in hanging(Console(width=30), Text(" · step "), Text(""))] == [
        " · step "
    ]
