"""When a secret is rotated: rotation rules and rotation windows, as pure functions of times.

All times are UTC. A window opens on the hour; it closes after `Duration`, else after one hour for
a schedule in hours and at midnight for a schedule in days; it never reaches into the next day.
Secrets Manager rotates at any time in the window; here it is at its opening. A window that passed
unused is skipped, never made up for. Source: user guide, "Rotation schedules"; API reference,
RotationRulesType.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from local.secrets_manager import cron

MAX_RATE_DAYS = 999
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Window:
    """A time span in which a rotation may start: from `opens` to just before `closes`."""

    opens: datetime
    closes: datetime


@dataclass(frozen=True)
class Rate:
    """A fixed time from one rotation to the next, in whole days or whole hours."""

    period: timedelta
    in_hours: bool

    def opening_after(self, moment: datetime) -> datetime:
        """Return the opening of the window that follows a rotation at `moment`.

        Windows in days open at midnight, windows in hours on the hour of that rotation.
        """
        start = moment.replace(minute=0, second=0, microsecond=0)
        if not self.in_hours:
            start = start.replace(hour=0)
        return start + self.period


@dataclass(frozen=True)
class Schedule:
    """A schedule; `rules` are the RotationRules it was made from, as DescribeSecret shows them."""

    rules: Mapping[str, Any]
    timing: Rate | cron.Cron
    duration_hours: int | None

    def window_after(self, moment: datetime) -> Window:
        """Return the window that follows a rotation, or the opening of a window, at `moment`."""
        if isinstance(self.timing, Rate):
            opens = self.timing.opening_after(moment)
        else:
            opens = next(self.timing.openings_after(moment))
        return Window(opens, self._closing(opens))

    def window_due(self, since: datetime, now: datetime) -> Window:
        """Return the first window after `since` that has not closed at `now`."""
        window = self.window_after(since)
        while window.closes <= now:
            window = self.window_after(window.opens)
        return window

    def _closing(self, opens: datetime) -> datetime:
        midnight = datetime.combine(opens.date(), time(), UTC) + DAY
        if self.duration_hours is not None:
            return min(opens + self.duration_hours * HOUR, midnight)
        return min(opens + HOUR, midnight) if in_hours(self.timing) else midnight


def in_hours(timing: Rate | cron.Cron) -> bool:
    """Whether a schedule counts in hours, which makes its default window one hour long."""
    return timing.in_hours if isinstance(timing, Rate) else timing.step > 0


def parse_rules(rules: Mapping[str, Any]) -> Schedule:
    """Read RotationRules; ValueError says in AWS's terms which rule was broken."""
    days, expression = rules.get("AutomaticallyAfterDays"), rules.get("ScheduleExpression")
    if days is not None and expression is not None:
        raise ValueError(
            "You cannot specify both rotation frequency and schedule expression together."
        )
    if days is not None:
        timing: Rate | cron.Cron = Rate(timedelta(days=int(days)), in_hours=False)
    elif expression is not None:
        timing = _parse_expression(expression)
    else:
        raise ValueError("RotationRules needs AutomaticallyAfterDays or ScheduleExpression.")
    duration = _parse_duration(rules.get("Duration"))
    if duration is not None:
        _check_duration(timing, duration)
    return Schedule(dict(rules), timing, duration)


def _parse_expression(expression: str) -> Rate | cron.Cron:
    match = re.fullmatch(r"(rate|cron)\((.*)\)", expression.strip())
    if match is None:
        raise ValueError("ScheduleExpression must be rate(...) or cron(...).")
    if match[1] == "rate":
        return _parse_rate(match[2])
    try:
        return cron.parse(match[2])
    except ValueError as error:
        raise ValueError(f"Invalid ScheduleExpression: {error}.") from None


def _parse_rate(text: str) -> Rate:
    match = re.fullmatch(r"([1-9][0-9]{0,4}) (hour|hours|day|days)", text.strip())
    if match is None:
        raise ValueError("Invalid ScheduleExpression: rate() needs a positive number and a unit.")
    number, hours = int(match[1]), match[2].startswith("hour")
    if hours and number < cron.MIN_HOURS:
        raise ValueError(
            f"Invalid ScheduleExpression: a secret can be rotated every {cron.MIN_HOURS} hours "
            "at most."
        )
    period = timedelta(hours=number) if hours else timedelta(days=number)
    if period > timedelta(days=MAX_RATE_DAYS):
        raise ValueError(f"Invalid ScheduleExpression: rate() is {MAX_RATE_DAYS} days at most.")
    return Rate(period, hours)


def _parse_duration(text: str | None) -> int | None:
    if text is None:
        return None
    hours = int(text.removesuffix("h"))
    if not 1 <= hours <= 24:
        raise ValueError("Duration must be from 1h to 24h.")
    return hours


def _check_duration(timing: Rate | cron.Cron, hours: int) -> None:
    if isinstance(timing, Rate):
        first_hour, period = 0, timing.period
    else:
        first_hour, period = timing.hours[-1], (timing.step or 24) * HOUR
    if hours * HOUR > period:
        raise ValueError("Duration must not extend into the next rotation window.")
    if first_hour + hours > 24:
        raise ValueError("Duration must not extend into the next UTC day.")
