"""Whether a secret's rotation window is open at a moment, computed from its rotation rules.

All times are UTC. A window opens on the hour. It closes after `Duration`; without one, after an
hour for a schedule in hours and at midnight for a schedule in days. It never extends into the next
UTC day, nor into the next window. Secrets Manager rotates, and repeats a rotation that failed, at
any time in an open window; after a missed window it waits for the next one.

Source: AWS Secrets Manager User Guide, "Schedule expressions in Secrets Manager rotation"; API
reference, RotationRulesType.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {
    name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)
}


@dataclass(frozen=True)
class Window:
    """From `opens` to just before `closes`."""

    opens: datetime
    closes: datetime

    def __str__(self) -> str:
        return f"{self.opens:%Y-%m-%d %H:%M} to {self.closes:%Y-%m-%d %H:%M} UTC"


def open_window(expression: str, duration: str | None, at: datetime) -> Window | None:
    """The window that is open at a moment, or None where none is.

    Raises ValueError, with the reason, for a schedule other than the documented cron() expressions,
    rate() among them: the template does not accept it.
    """
    match = re.fullmatch(r"cron\((.+)\)", expression.strip())
    if match is None:
        raise ValueError("the schedule is not a cron() expression")
    return _of_cron(match[1].upper().split(), _hours_of(duration), at.astimezone(UTC))


def _hours_of(duration: str | None) -> int | None:
    if duration is None:
        return None
    if not re.fullmatch(r"[1-9]\d?h", duration):
        raise ValueError("the schedule's Duration is not in hours")
    return int(duration[:-1])


def _of_cron(fields: list[str], duration: int | None, at: datetime) -> Window | None:
    """Check the windows of the day of `at` alone: no window extends into the next day."""
    if len(fields) != 6:
        raise ValueError("cron() does not have six fields")
    minutes, hours, month_day, month, week_day, year = fields
    if (minutes, year) != ("0", "*") or (month_day == "?") == (week_day == "?"):
        raise ValueError("cron() is not a form that Secrets Manager documents")
    starts = sorted(_numbers(hours, 0, 23, {}))
    months = _numbers(month, 1, 12, MONTHS)
    day = at.date()
    falls_due = _month_days(month_day, day) if week_day == "?" else _week_days(week_day, day)
    if not falls_due or day.month not in months:
        return None
    in_hours = len(starts) > 1 or "/" in hours
    midnight = datetime.combine(day, time(), UTC)
    for start, following in zip(starts, [*starts[1:], 24], strict=True):
        length = duration or (1 if in_hours else 24)
        opens = midnight + start * HOUR
        closes = midnight + min(start + length, following) * HOUR
        if opens <= at < closes:
            return Window(opens, closes)
    return None


def _month_days(text: str, day: date) -> bool:
    return any(_is_month_day(item, day) for item in text.split(","))


def _is_month_day(item: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if item == "L":
        return day.day == last
    if item.endswith("L") and item[:-1] in WEEKDAYS:
        return _weekday(day) == WEEKDAYS[item[:-1]] and day.day > last - 7
    return day.day in _numbers(item, 1, 31, {})


def _week_days(text: str, day: date) -> bool:
    return any(_is_week_day(item, day) for item in text.split(","))


def _is_week_day(item: str, day: date) -> bool:
    name, numbered, nth = item.partition("#")
    if numbered:
        wanted, count = _number(name, 1, 7, WEEKDAYS), _number(nth, 1, 5, {})
        return _weekday(day) == wanted and (day.day - 1) // 7 + 1 == count
    if item == "L":
        return _weekday(day) == WEEKDAYS["SAT"]
    return _weekday(day) in _numbers(item, 1, 7, WEEKDAYS)


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _numbers(text: str, low: int, high: int, names: Mapping[str, int]) -> set[int]:
    """A field's numbers: lists, ranges and steps, as in `1,15`, `MON-FRI`, `/6`, `2/8`, `*`."""
    numbers: set[int] = set()
    for item in text.split(","):
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*" or (slash and not span):
            start, end = low, high
        else:
            start = _number(first, low, high, names)
            end = _number(last, low, high, names) if dash else (high if slash else start)
        if end < start:
            raise ValueError("a range of cron() runs backwards")
        numbers.update(range(start, end + 1, _number(step, 1, high, {}) if slash else 1))
    return numbers


def _number(text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = names.get(text, int(text) if re.fullmatch(r"[0-9]{1,2}", text) else -1)
    if not low <= number <= high:
        raise ValueError("a field of cron() is not a form that Secrets Manager documents")
    return number
