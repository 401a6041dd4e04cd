"""The movable clock, and the rules of rotation schedules as pure functions of times."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from local.clock import MovableClock, SystemClock
from local.secrets_manager.schedule import Schedule, parse_rules
from tests.every_case import every_case

START = datetime(2026, 11, 24, 10, 20, tzinfo=UTC)  # a Tuesday
PATIENCE_SECONDS = 10.0


def waiter(clock: MovableClock, moment: datetime | None, wake: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=clock.wait_until, args=(moment, wake), daemon=True)
    thread.start()
    return thread


def schedule(expression: str, duration: str | None = None) -> Schedule:
    rules = {"ScheduleExpression": expression}
    return parse_rules(rules if duration is None else rules | {"Duration": duration})


def openings(expression: str, count: int = 3) -> list[str]:
    moment, found = START, []
    for _ in range(count):
        moment = schedule(expression).window_after(moment).opens
        found.append(moment.strftime("%Y-%m-%d %H"))
    return found


def test_a_movable_clock_stands_still_until_it_is_moved() -> None:
    clock = MovableClock(START)
    assert clock.now() == clock.now() == START
    clock.advance(90)
    assert clock.now() == START + timedelta(seconds=90)
    assert clock.now().tzinfo is UTC


def test_a_wait_for_a_moment_that_has_passed_is_over_at_once() -> None:
    clock = MovableClock(START)
    clock.advance(60)
    clock.wait_until(START + timedelta(seconds=60), threading.Event())


def test_moving_the_clock_wakes_only_those_whose_moment_has_come() -> None:
    clock = MovableClock(START)
    near, far = threading.Event(), threading.Event()
    first = waiter(clock, START + timedelta(seconds=10), near)
    second = waiter(clock, START + timedelta(seconds=20), far)
    clock.advance(10)
    first.join(PATIENCE_SECONDS)
    assert not first.is_alive()
    assert not far.is_set()
    clock.advance(10)
    second.join(PATIENCE_SECONDS)
    assert not second.is_alive()


@pytest.mark.parametrize("moment", [None, START + timedelta(days=1)])
def test_a_wait_ends_early_when_it_is_woken(moment: datetime | None) -> None:
    wake = threading.Event()
    thread = waiter(MovableClock(START), moment, wake)
    wake.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_the_system_clock_tells_utc_and_ends_waits() -> None:
    clock, woken = SystemClock(), threading.Event()
    assert clock.now().utcoffset() == timedelta(0)
    clock.wait_until(clock.now() - timedelta(seconds=1), threading.Event())
    woken.set()
    clock.wait_until(None, woken)
    clock.wait_until(datetime.max.replace(tzinfo=UTC), woken)


@every_case(
    ("expression", "expected"),
    [
        # The examples of the user guide, "Rotation schedules".
        ("cron(0 /8 * * ? *)", ["2026-11-24 16", "2026-11-25 00", "2026-11-25 08"]),
        ("cron(0 8/8 * * ? *)", ["2026-11-24 16", "2026-11-25 08", "2026-11-25 16"]),
        ("cron(0 2/10 * * ? *)", ["2026-11-24 12", "2026-11-24 22", "2026-11-25 02"]),
        ("cron(0 10 * * ? *)", ["2026-11-25 10", "2026-11-26 10", "2026-11-27 10"]),
        ("cron(0 18 ? * SAT *)", ["2026-11-28 18", "2026-12-05 18", "2026-12-12 18"]),
        ("cron(0 8 1 * ? *)", ["2026-12-01 08", "2027-01-01 08", "2027-02-01 08"]),
        ("cron(0 1 ? 1/3 SUN#1 *)", ["2027-01-03 01", "2027-04-04 01", "2027-07-04 01"]),
        ("cron(0 17 L * ? *)", ["2026-11-30 17", "2026-12-31 17", "2027-01-31 17"]),
        ("cron(0 8 ? * MON-FRI *)", ["2026-11-25 08", "2026-11-26 08", "2026-11-27 08"]),
        ("cron(0 16 1,15 * ? *)", ["2026-12-01 16", "2026-12-15 16", "2027-01-01 16"]),
        ("cron(0 0 ? * SUN#1 *)", ["2026-12-06 00", "2027-01-03 00", "2027-02-07 00"]),
        ("cron(0 0 ? 1/11 2#1 *)", ["2026-12-07 00", "2027-01-04 00", "2027-12-06 00"]),
        ("cron(0 8 SUNL * ? *)", ["2026-11-29 08", "2026-12-27 08", "2027-01-31 08"]),
        ("cron(0 3 ? JAN,JUL L *)", ["2027-01-02 03", "2027-01-09 03", "2027-01-16 03"]),
        ("cron(0 3 1/10 DEC ? *)", ["2026-12-01 03", "2026-12-11 03", "2026-12-21 03"]),
        ("cron(0 3 29 2 ? *)", ["2028-02-29 03", "2032-02-29 03", "2036-02-29 03"]),
    ],
)
def test_windows_open_as_the_user_guide_says(expression: str, expected: list[str]) -> None:
    assert openings(expression) == expected


@pytest.mark.parametrize(
    ("expression", "duration", "hours"),
    [
        # User guide: one hour for a schedule in hours, to the end of the day for one in days.
        ("cron(0 8/8 * * ? *)", None, 1),
        ("cron(0 18 * * ? *)", None, 6),
        ("cron(0 18 * * ? *)", "6h", 6),
    ],
)
def test_windows_close_as_the_user_guide_says(
    expression: str, duration: str | None, hours: int
) -> None:
    window = schedule(expression, duration).window_after(START)
    assert window.closes - window.opens == timedelta(hours=hours)


def test_the_window_that_is_due_is_open_or_ahead() -> None:
    daily = schedule("cron(0 3 * * ? *)", "2h")
    opens = datetime(2026, 11, 25, 3, tzinfo=UTC)
    for now in (START, opens, opens + timedelta(hours=1, minutes=59)):
        assert daily.window_due(START, now).opens == opens
    missed = daily.window_due(START, opens + timedelta(hours=2))
    assert missed.opens == opens + timedelta(days=1)


def test_windows_follow_one_another_without_overlap() -> None:
    for expression in ("cron(0 /4 * * ? *)", "cron(0 0 ? * MON,THU *)"):
        plan, moment, windows = schedule(expression), START, []
        for _ in range(20):
            windows.append(plan.window_after(moment))
            moment = windows[-1].opens
        assert all(one.closes <= other.opens for one, other in pairwise(windows))


@every_case(
    ("expression", "words"),
    [
        ("every day", "not emulated"),
        ("rate(10 days)", "not emulated"),
        ("cron(0 3 * * ?)", "six fields"),
        ("cron(15 3 * * ? *)", "minutes"),
        ("cron(0 3 * * ? 2027)", "year"),
        ("cron(0 3 * * * *)", "one of day-of-month and day-of-week"),
        ("cron(0 3 ? * ? *)", "one of day-of-month and day-of-week"),
        ("cron(0 24 * * ? *)", "not allowed"),
        ("cron(0 * * * ? *)", "not allowed"),
        ("cron(0 /3 * * ? *)", "every 4 hours"),
        ("cron(0 3 32 * ? *)", "not allowed"),
        ("cron(0 3 ? * FOO *)", "not allowed"),
        ("cron(0 3 ? * SUN#6 *)", "not allowed"),
        ("cron(0 3 20-10 * ? *)", "backwards"),
        ("cron(0 3 31 2 ? *)", "no date"),
        ("cron(0 3 , * ? *)", "an empty value"),
    ],
)
def test_expressions_outside_the_restrictions_are_refused(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(expression)


@pytest.mark.parametrize(
    ("expression", "duration", "words"),
    [
        ("cron(0 3 * * ? *)", "0h", "1h to 24h"),
        ("cron(0 3 * * ? *)", "25h", "1h to 24h"),
        ("cron(0 2/10 * * ? *)", "11h", "next rotation window"),
        ("cron(0 2/10 * * ? *)", "3h", "next UTC day"),
        ("cron(0 20 * * ? *)", "5h", "next UTC day"),
    ],
)
def test_durations_outside_the_restrictions_are_refused(
    expression: str, duration: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(expression, duration)
