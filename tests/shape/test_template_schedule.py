"""The rotation schedule: Secrets Manager takes every window that the parameters let through.

Source: Secrets Manager API reference, RotationRulesType: a window must not extend into the next UTC
day or the next window.
"""

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.secret import rotation_window
from local.deployment import DeploymentError
from local.secrets_manager.schedule import parse_rules
from local.triggers import options
from tests.every_case import every_case
from tests.project import stack, template

FORM = re.compile(template()["Parameters"]["RotationSchedule"]["AllowedPattern"])
WINDOWS = template()["Parameters"]["RotationWindow"]["AllowedValues"]
NUMBERS = [*map(str, range(25)), *(f"{hour:02}" for hour in range(10))]
STEPS = [f"{first}/{step}" for first in ("", "*", *NUMBERS) for step in range(1, 25)]
LISTS = ["3,23", "22-23", "*", "1,2/4"]
DAYS = ["1 * ?", "1,15 * ?", "L * ?", "* 2/3 ?", "? * SUN#2", "? JAN-JUN MON-FRI"]
SCHEDULES = [
    f"cron(0 {hours} {days} *)"
    for hours, days in itertools.product([*NUMBERS, *STEPS, *LISTS], DAYS)
]
TAKEN = [schedule for schedule in SCHEDULES if FORM.fullmatch(schedule)]
START = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_form_takes_what_people_need() -> None:
    assert "cron(0 3 1,15 * ? *)" in TAKEN
    assert {f"cron(0 {hour} 1 * ? *)" for hour in range(23)} <= set(TAKEN)
    assert {f"cron(0 /{step} * 2/3 ? *)" for step in (4, 6, 8, 12)} <= set(TAKEN)
    assert WINDOWS == ["1h", "2h"]


@pytest.mark.parametrize("duration", WINDOWS)
def test_every_schedule_of_the_form_is_taken_with_its_whole_window(
    duration: str,
) -> None:
    for schedule in TAKEN:
        emulated = parse_rules({"ScheduleExpression": schedule, "Duration": duration})
        opens = emulated.window_after(START).opens
        found = rotation_window.open_window(schedule, duration, opens)
        assert found == rotation_window.Window(opens, opens + timedelta(hours=int(duration[0])))


@every_case("hours", ["23", "3/4", "3,23", "/1", "*", "22-23", "24", "/23"])
def test_a_window_that_could_extend_into_the_next_day_or_window_is_refused(hours: str) -> None:
    with pytest.raises(DeploymentError, match="RotationSchedule must be"):
        stack(RotationSchedule=f"cron(0 {hours} * * ? *)")


@pytest.mark.parametrize("duration", ["3h", "24h", "0h", "90m"])
def test_a_window_is_two_hours_at_most(duration: str) -> None:
    with pytest.raises(DeploymentError, match="RotationWindow"):
        stack(RotationWindow=duration)


@every_case("hour", range(24))
def test_the_demo_has_a_window_at_every_hour(hour: int) -> None:
    at = START.replace(hour=hour, minute=59)
    given = options("scheduled", at)["parameters"]
    assert stack(**given)
    schedule, duration = given["RotationSchedule"], given["RotationWindow"]
    assert parse_rules({"ScheduleExpression": schedule, "Duration": duration})
    assert rotation_window.open_window(schedule, duration, at) is not None
