"""The demo's screen: plain lines and the live picture say the same, and neither fails on input."""

import re

import pytest
from rich.console import Console

from local.checks import Claim
from local.picture import Picture
from local.sampler import PodCounts, Reading
from local.screen import Lines, Screen, open_screen
from local.step_rows import StepRow, StepState, with_row
from local.traffic import VisitorsReport

READING = Reading(
    {"web-console": PodCounts(3, 1, 1, 1)},
    1234,
    VisitorsReport(pages=5, logged_out=2, failed=1),
)


def picture(width: int = 110, height: int = 40) -> Picture:
    terminal = Console(
        force_terminal=True, width=width, height=height, record=True, color_system="truecolor"
    )
    return Picture(terminal)


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


def test_plain_lines_count_sessions_down_in_a_purge_and_not_after_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("local.screen.time.monotonic", lambda: float(next(clock)))
    screen = Lines(begun=0.0)

    def read(sessions: int) -> None:
        screen.reading(Reading({}, sessions, VisitorsReport()))

    read(1000)
    screen.step(StepRow("PurgeSessions", "working"))
    for sessions in (1000, 500, 2):
        read(sessions)
    screen.step(StepRow("PurgeSessions", "done", 1.0, "1,000 deleted"))
    for sessions in (4, 3, 4):  # people log in again
        read(sessions)
    told = [line.split(" s ", 1)[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "sessions: 500, 500 a second fewer, about 1.0 s to go",
        "✔ PurgeSessions     1.00 s  1,000 deleted",
    ]


@pytest.mark.parametrize(("state", "mark"), [("done", "✔"), ("failed", "✘"), ("rolled back", "↩")])
def test_plain_lines_mark_how_a_step_has_ended(
    capsys: pytest.CaptureFixture[str], state: StepState, mark: str
) -> None:
    Lines().step(StepRow("FinishRotation", state, None, "as it was"))
    assert capsys.readouterr().out.split(" s ")[1].startswith(f"{mark} FinishRotation ")


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


STAGES = ("Redis", "AWS", "Kubernetes", "Console", "Keyturn", "Users", "The window", "Fault")
FORWARD = ("createSecret", "setSecret", "testSecret", "finishSecret", "BeginRotation", "DeliverKey")
BACK = ("DeliverKey", "RestartServices", "ConfirmDelivery", "PurgeSessions", "ValidateRotation")


def roll_back(screen: Picture) -> None:
    """A run that failed in RestartServices and is on its way back, with long notes."""
    for stage in STAGES:
        screen.stage(f"{stage}: is up")
    screen.plan([*FORWARD, *BACK[1:], "FinishRotation"])
    screen.reading(READING)
    screen.truth(
        "Pods are replaced once more, by pods with the previous key, and it takes its time."
    )
    for name in FORWARD:
        screen.step(StepRow(name, "done", 0.5, f"{name} has found something that takes many words"))
    screen.step(StepRow("RestartServices", "failed", None, "RolloutFailed"))
    for name in ("RestorePreviousKey", *BACK):
        screen.step(StepRow(name, "done", 1.5, f"{name} has gone back, which is told", back=True))


def test_a_roll_backs_rows_come_after_the_failed_step_which_stays_failed() -> None:
    screen = picture(width=120)
    roll_back(screen)
    screen.step(StepRow("FinishRotation", "rolled back", None, "restored"))
    marks = [line.split()[:2] for line in drawn(screen).splitlines() if line.startswith(" ")]
    assert [found for found in marks if found[0] in {"✔", "✘", "↩", "·"}] == [
        *(["✔", name] for name in FORWARD),
        ["✘", "RestartServices"],
        ["✔", "RestorePreviousKey"],
        *(["✔", name] for name in BACK),
        ["↩", "FinishRotation"],
    ]
    assert "RolloutFailed" in drawn(screen)


def test_the_steps_that_a_failed_run_did_not_reach_make_way_for_the_roll_back() -> None:
    rows = [StepRow("DeliverKey", "failed"), StepRow("PurgeSessions"), StepRow("FinishRotation")]
    back = StepRow("RestorePreviousKey", "working", back=True)
    assert with_row(rows, back) == [rows[0], back, rows[2]]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 15)])
def test_the_picture_fits_the_terminal_with_its_newest_rows(width: int, height: int) -> None:
    screen = picture(width, height)
    roll_back(screen)
    shown = drawn(screen)
    lines = shown.splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    for text in ("✘ RestartServices", "✔ ValidateRotation", "· FinishRotation", "Fault: is up"):
        assert text in shown
    assert "times logged out" in lines[-1]
    if (width, height) == (80, 24):
        assert re.search(r"^   … \d+ earlier lines$", shown, re.MULTILINE)
        assert "Redis" not in shown


def test_what_has_folded_is_there_once_the_picture_has_ended() -> None:
    with picture(80, 24) as screen:
        roll_back(screen)
        screen.say("RolloutFailed: a pod cannot start.")
    ended = screen._terminal.export_text().rpartition("Keyturn demo")[2]
    for text in ("Redis: is up", "✔ createSecret", "✘ RestartServices"):
        assert text in ended
    assert "earlier line" not in ended
    assert ended.rstrip().endswith("RolloutFailed: a pod cannot start.")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (VisitorsReport(pages=1, logged_out=1), "1 page, 1 time logged out, 0 failed"),
        (VisitorsReport(pages=2, logged_out=0), "2 pages, 0 times logged out, 0 failed"),
    ],
)
def test_the_picture_tells_visitors_in_their_number(seen: VisitorsReport, words: str) -> None:
    screen = picture()
    screen.reading(Reading({}, 0, seen))
    assert words in drawn(screen)


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
