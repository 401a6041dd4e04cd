"""The demo's screen: plain lines and the live picture say the same, and neither fails on input."""

import re

import pytest
from rich.console import Console

from local.claims import Claim
from local.gauges import PodCounts, Reading
from local.screen import Lines, Picture, Screen, StepRow, open_screen
from local.visitors import VisitorsReport

READING = Reading(
    {"web-console": PodCounts(3, 1, 1, 1)},
    1234,
    VisitorsReport(pages=5, logged_out=2, failed=1),
)


def picture() -> Picture:
    return Picture(Console(force_terminal=True, width=110, record=True, color_system="truecolor"))


def drawn(screen: Picture) -> str:
    """What the picture shows now."""
    screen._terminal.print(screen._draw())
    return screen._terminal.export_text()


def tell(screen: Screen) -> None:
    """The middle of a rotation."""
    screen.stage("Redis: valkey")
    screen.plan(["createSecret", "DeliverKey"])
    screen.step(StepRow("createSecret", "done", 1.234, "made [a] key"))
    screen.truth("Old and new keys are in use side by side.")
    screen.step(StepRow("DeliverKey", "working"))
    screen.reading(READING)


def test_plain_lines_tell_stages_truths_and_ended_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as screen:
        tell(screen)
        screen.step(StepRow("DeliverKey", "failed", None, "KeyInvalid"))
    said = [re.sub(r"^ *\d+\.\d s ", "", line) for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "  Redis: valkey",
        "✔ createSecret      1.23 s  made [a] key",
        "  → Old and new keys are in use side by side.",
        "✘ DeliverKey                KeyInvalid",
    ]


def test_plain_lines_tell_once_what_a_step_waits_for_but_what_the_gauges_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Lines()
    for name, note in (
        ("DeliverKey", ""),
        ("DeliverKey", "the operator is asked"),
        ("DeliverKey", "waiting for its sync"),
        ("DeliverKey", "waiting for its sync"),
        ("PurgeSessions", "1,000 deleted"),
    ):
        screen.step(StepRow(name, "working", None, note))
    assert [line.split(" s ")[1].strip() for line in capsys.readouterr().out.splitlines()] == [
        "DeliverKey: the operator is asked",
        "DeliverKey: waiting for its sync",
    ]


def test_plain_lines_tell_pods_when_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Lines()
    for new in (0, 0, 1, 1):
        screen.reading(Reading({"web": PodCounts(2, new, 2 - new, 0)}, 0, VisitorsReport()))
    assert [line.split(" s ")[1].strip() for line in capsys.readouterr().out.splitlines()] == [
        "web: 1 of 2 new, 1 old"
    ]


def test_plain_lines_tick_what_holds_and_cross_what_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lines().account([Claim("it works", holds=True), Claim("it is quick", holds=False)])
    assert capsys.readouterr().out == "\n  ✔ it works\n  ✘ it is quick\n"


def test_the_picture_shows_stages_steps_truth_pods_sessions_and_visitors() -> None:
    screen = picture()
    tell(screen)
    shown = drawn(screen)
    for text in (
        "Redis: valkey",
        "✔ createSecret 1.23 s made [a] key",
        "● DeliverKey",
        "Old and new keys are in use side by side.",
        "■ ■ □",
        "1 of 3 new, 1 old, 1 old terminating",
        "1,234",
        "5 pages, 2 times logged out, 1 failed",
    ):
        assert text in shown


def test_the_picture_can_be_drawn_before_anything_has_happened() -> None:
    assert "The stack is starting." in drawn(picture())


def test_the_picture_ignores_a_step_that_was_not_planned() -> None:
    screen = picture()
    screen.plan(["createSecret"])
    screen.step(StepRow("other", "done"))
    shown = drawn(screen)
    assert "· createSecret" in shown
    assert "other" not in shown


def test_the_pictures_account_stands_below_it() -> None:
    with picture() as screen:
        tell(screen)
        screen.account([Claim("it [works]", holds=True), Claim("it is quick", holds=False)])
        screen.say("The record: out/[record].json")
    shown = screen._terminal.export_text()
    assert "  ✔ it [works]\n  ✘ it is quick\n" in shown
    assert "The record: out/[record].json" in shown


def test_without_a_terminal_the_screen_is_plain_lines() -> None:
    assert isinstance(open_screen(), Lines)


def test_on_a_terminal_the_screen_is_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(open_screen(), Picture)
