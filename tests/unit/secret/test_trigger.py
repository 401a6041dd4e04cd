"""Why a rotation started, and whether a window was open."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.secret import rotation_window, trigger
from keyturn.secret.trigger import Mode, Schedule, Trigger, classify
from local.secrets_manager.schedule import parse_rules
from tests.conftest import NEW
from tests.every_case import every_case
from tests.project import template

CRON = "cron(0 3 1,15 * ? *)"
SECOND = timedelta(seconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def on(expression: str | None, duration: str | None = None, following: str = "") -> Schedule:
    return Schedule(expression, duration, True, utc(following) if following else None)


def kind(schedule: Schedule, at: str, token: str = NEW, manual: Mode = "emergency") -> str:
    return classify(token, schedule, utc(at), manual).kind


@every_case("manual", ["scheduled", "emergency"])
@every_case("at", ["2026-12-01T04:00", "2026-12-02T04:00"])
@every_case(
    ("token", "found", "mode"),
    [
        ("emergency-2026-12-01-alice-laptop-stolen", "emergency", "emergency"),
        ("emergency-gd-0123456789abcdef0123456789abcdef", "emergency", "emergency"),
        ("planned-2026-12-01-before-the-audit-in-may", "planned", "scheduled"),
    ],
)
def test_a_chosen_token_says_why_whatever_the_time(
    token: str, found: str, mode: str, at: str, manual: Mode
) -> None:
    told = classify(token, on(CRON, "2h"), utc(at), manual)
    assert (told.kind, told.mode) == (found, mode)


@pytest.mark.parametrize("token", ["emergency-gd-" + "0" * 32, "emergency-gd-" + "0" * 32 + "-2"])
def test_a_finding_s_rotation_is_one_only_if_it_was_recorded(token: str) -> None:
    finding = f"CredentialAccess:Kubernetes/TorIPCaller {'0' * 32}"
    told = classify(token, on(CRON, "2h"), utc("2026-12-01T04:00"), "scheduled", finding)
    assert (told.kind, told.mode, told.finding) == ("finding", "emergency", finding)
    by_hand = classify(token, on(CRON, "2h"), utc("2026-12-01T04:00"), "scheduled")
    assert (by_hand.kind, by_hand.mode, by_hand.finding) == ("emergency", "emergency", "")


def test_what_is_recorded_makes_no_other_token_a_finding_s() -> None:
    told = classify("planned-" + NEW, on(CRON), utc("2026-12-01T04:00"), "emergency", "X:Y/Z 0")
    assert (told.kind, told.mode, told.finding) == ("planned", "scheduled", "")


@pytest.mark.parametrize("token", [NEW, "Emergency-" + NEW, "xemergency-" + NEW, "planned" + NEW])
def test_any_other_token_is_judged_by_the_window(token: str) -> None:
    assert kind(on(CRON, "2h"), "2026-12-01T03:30", token) == "schedule"
    assert kind(on(CRON, "2h"), "2026-12-01T05:30", token) == "manual"


@pytest.mark.parametrize("mode", ["scheduled", "emergency"])
def test_what_a_bare_rotate_secret_means_is_configured(mode: Mode) -> None:
    outside = classify(NEW, on(CRON, "2h"), utc("2026-12-02T03:30"), mode)
    assert outside == Trigger(
        "manual",
        mode,
        "rotate-secret was called manually. It was outside the rotation window of " + CRON + ".",
    )
    inside = classify(NEW, on(CRON, "2h"), utc("2026-12-01T03:30"), mode)
    reason = "The rotation window was open: 2026-12-01 03:00 to 2026-12-01 05:00 UTC."
    assert inside == Trigger("schedule", "scheduled", reason)


WINDOWS = [
    # a cron() in days, its Duration, and moments inside and outside
    (CRON, "2h", ["2026-12-01T03:00", "2026-12-01T04:59:59", "2026-12-15T03:00"], True),
    (CRON, "2h", ["2026-12-01T02:59:59", "2026-12-01T05:00", "2026-12-02T03:00"], False),
    ("cron(0 3 * * ? *)", None, ["2026-12-01T03:00", "2026-12-01T23:59:59"], True),
    ("cron(0 3 * * ? *)", None, ["2026-12-02T00:00", "2026-12-02T02:59:59"], False),
    # a window that would cross midnight is closed there, as AWS demands
    ("cron(0 23 * * ? *)", "2h", ["2026-12-01T23:59:59"], True),
    ("cron(0 23 1 * ? *)", "2h", ["2026-12-02T00:00", "2026-12-02T00:30"], False),
    ("cron(0 23 L * ? *)", "1h", ["2026-12-31T23:30", "2028-02-29T23:00"], True),
    ("cron(0 23 L * ? *)", "1h", ["2027-01-01T00:00", "2028-02-28T23:00"], False),
    # hours: steps, lists, ranges; the default window of each is one hour, and none overlaps
    ("cron(0 /6 * * ? *)", None, ["2026-12-01T00:10", "2026-12-01T18:59"], True),
    ("cron(0 /6 * * ? *)", None, ["2026-12-01T01:00", "2026-12-01T05:59"], False),
    ("cron(0 2/8 * * ? *)", "3h", ["2026-12-01T02:00", "2026-12-01T20:59"], True),
    ("cron(0 2/8 * * ? *)", "3h", ["2026-12-01T00:00", "2026-12-01T05:00"], False),
    ("cron(0 1,9 * * ? *)", "2h", ["2026-12-01T02:00", "2026-12-01T10:00"], True),
    ("cron(0 1,9 * * ? *)", "2h", ["2026-12-01T03:00"], False),
    ("cron(0 8-17/4 * * ? *)", "1h", ["2026-12-01T16:00"], True),
    ("cron(0 8-17/4 * * ? *)", "1h", ["2026-12-01T17:00", "2026-12-01T20:00"], False),
    # weekdays and months
    ("cron(0 3 ? * MON-FRI *)", "1h", ["2026-12-01T03:30"], True),
    ("cron(0 3 ? * MON-FRI *)", "1h", ["2026-12-05T03:30", "2026-12-06T03:30"], False),
    ("cron(0 3 ? * 3#1 *)", "1h", ["2026-12-01T03:30"], True),
    ("cron(0 3 ? * TUE#1 *)", "1h", ["2026-12-08T03:30"], False),
    ("cron(0 3 ? * L *)", "1h", ["2026-12-05T03:30"], True),
    ("cron(0 3 MONL * ? *)", "1h", ["2026-12-28T03:30"], True),
    ("cron(0 3 1 1/3 ? *)", "1h", ["2027-01-01T03:30", "2027-04-01T03:30"], True),
    ("cron(0 3 1 FEB,MAR ? *)", "1h", ["2027-01-01T03:30"], False),
]


@every_case(("expression", "duration", "moments", "expected"), WINDOWS)
def test_whether_a_window_is_open(
    expression: str, duration: str | None, moments: list[str], expected: bool
) -> None:
    for moment in moments:
        found = rotation_window.open_window(expression, duration, utc(moment))
        assert (found is not None) == expected, moment


def test_a_moment_is_compared_in_utc() -> None:
    berlin = datetime.fromisoformat("2026-12-01T04:30+01:00")
    assert classify(NEW, on(CRON, "1h"), berlin, "emergency").kind == "schedule"


def test_past_its_next_date_a_cron_still_has_its_windows() -> None:
    """A window in which nothing came about; Secrets Manager repeats it in the next open one."""
    missed = on(CRON, "2h", "2026-12-01T04:59:59")
    assert kind(missed, "2026-12-15T03:30") == "schedule"
    assert kind(missed, "2026-12-10T03:30") == "manual"


@every_case(
    ("schedule", "summary"),
    [
        (on("rate(10 days)"), "not a cron() expression"),
        (on("at(2026-12-01)"), "not a cron() expression"),
        (on("cron(15 3 * * ? *)"), "cron() is not a form"),
        (on("cron(0 3 * * ? 2026)"), "cron() is not a form"),
        (on("cron(0 3 * * * *)"), "cron() is not a form"),
        (on("cron(0 3 * *)"), "six fields"),
        (on("cron(0 25 * * ? *)"), "a field of cron()"),
        (on("cron(0 9-3 * * ? *)"), "runs backwards"),
        (on("cron(0 3 32 * ? *)"), "a field of cron()"),
        (on(CRON, "90m"), "Duration is not in hours"),
        (on(CRON, "0h"), "Duration is not in hours"),
    ],
)
def test_what_cannot_be_told_for_sure_is_manual_and_says_so(
    schedule: Schedule, summary: str
) -> None:
    told = classify(NEW, schedule, utc("2026-12-01T03:30"), "emergency")
    assert (told.kind, told.mode) == ("manual", "emergency")
    assert "uncertain" in told.reason
    assert summary in told.reason


@pytest.mark.parametrize(
    "schedule", [Schedule(CRON, "2h", False, None), on(None), Schedule(None, None, False, None)]
)
def test_without_a_schedule_that_is_on_somebody_did_it(schedule: Schedule) -> None:
    told = classify(NEW, schedule, utc("2026-12-01T03:30"), "scheduled")
    assert (told.kind, told.mode) == ("manual", "scheduled")
    assert "no rotation schedule that is on" in told.reason


def test_the_default_of_the_template_is_understood() -> None:
    parameters = template()["Parameters"]
    rules = on(parameters["RotationSchedule"]["Default"], parameters["RotationWindow"]["Default"])
    assert kind(rules, "2026-12-15T04:59") == "schedule"


MONTH_DAYS = st.one_of(
    st.just("*"),
    st.just("L"),
    st.integers(1, 28).map(str),
    st.lists(st.integers(1, 31), min_size=1, max_size=4).map(lambda d: ",".join(map(str, d))),
)
DAY_FIELDS = st.one_of(
    MONTH_DAYS.map(lambda day: (day, "?")),
    st.sampled_from(["*", "L", "2#3", "SUN#5", "MON-FRI", "1,4", "2/2"]).map(lambda d: ("?", d)),
)
HOURS = st.one_of(st.integers(0, 23).map(str), st.sampled_from(["/4", "0/6", "3/8", "*/12", "/23"]))
DAYS = st.integers(0, 8 * 366)
MOMENTS = st.builds(
    lambda day, seconds: utc("2024-01-01") + timedelta(days=day, seconds=seconds),
    DAYS,
    st.integers(0, 86_399),
)


@given(HOURS, DAY_FIELDS, st.sampled_from(["*", "2/3", "JAN-JUN"]), st.integers(0, 5), MOMENTS)
def test_it_agrees_with_the_secrets_manager_that_rotates_locally(
    hours: str, days: tuple[str, str], months: str, length: int, at: datetime
) -> None:
    """Two implementations of the rules: the emulator looks ahead, this one looks at a day."""
    expression = f"cron(0 {hours} {days[0]} {months} {days[1]} *)"
    duration = f"{length}h" if length else None
    rules = {"ScheduleExpression": expression} | ({"Duration": duration} if duration else {})
    try:
        emulated = parse_rules(rules)
    except ValueError:
        return
    due = emulated.window_due(at - timedelta(days=1) - SECOND, at)
    expected = rotation_window.Window(due.opens, due.closes) if due.opens <= at else None
    assert rotation_window.open_window(expression, duration, at) == expected


@given(st.text(), st.none() | st.text(), st.none() | MOMENTS, MOMENTS, st.booleans())
def test_it_always_has_an_answer(
    expression: str, duration: str | None, following: datetime | None, at: datetime, on: bool
) -> None:
    for form in (expression, f"cron({expression})", f"rate({expression})", f"cron(0 {expression})"):
        told = classify(NEW, Schedule(form, duration, on, following), at, "emergency")
        assert told.kind in {"schedule", "manual"}
        assert told.mode == ("scheduled" if told.kind == "schedule" else "emergency")
        assert len(told.reason) <= 300


def test_the_token_of_a_finding_is_an_emergencys() -> None:
    assert trigger.FINDING.startswith(trigger.EMERGENCY)
