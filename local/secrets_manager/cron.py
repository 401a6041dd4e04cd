"""The cron() expressions that Secrets Manager accepts, as pure rules.

Six fields: minutes, hours, day of month, month, day of week, year. Minutes must be 0 and year `*`,
one of the two day fields must be `?`, and hours are one number or an increment of at least four.
Source: user guide, "Rotation schedules", section "Cron expressions".
"""

import calendar
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

MIN_HOURS = 4
YEARS_TO_SEARCH = 40  # a fifth Sunday of February comes round within 28 years, or 40 over a century
MONTHS = {name.upper(): n for n, name in enumerate(calendar.month_abbr) if name}
DAYS = {name: n for n, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}

DayRule = Callable[[date], bool]


@dataclass(frozen=True)
class Cron:
    """A parsed expression; `step` is the increment of its hours, 0 for a schedule in days."""

    hours: tuple[int, ...]
    step: int
    months: frozenset[int]
    day: DayRule

    def openings_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after `moment` at which a window opens, in order."""
        first = moment.astimezone(UTC).date()
        for offset in range(YEARS_TO_SEARCH * 366):
            day = first + timedelta(days=offset)
            if day.month not in self.months or not self.day(day):
                continue
            for hour in self.hours:
                opens = datetime.combine(day, time(hour), UTC)
                if opens > moment:
                    yield opens


def parse(fields: str) -> Cron:
    """Parse what stands between the parentheses of cron(); ValueError says what is wrong."""
    parts = fields.split()
    if len(parts) != 6:
        raise ValueError("cron() needs six fields: minutes hours day-of-month month weekday year")
    minutes, hours, month_day, month, week_day, year = (part.upper() for part in parts)
    if minutes != "0":
        raise ValueError("the minutes of cron() must be 0")
    if year != "*":
        raise ValueError("the year of cron() must be *")
    if (month_day == "?") == (week_day == "?"):
        raise ValueError("one of day-of-month and day-of-week must be ?, and the other must not")
    hour_values, step = _hours(hours)
    day = _weekdays(week_day) if month_day == "?" else _month_days(month_day)
    cron = Cron(hour_values, step, _numbers(month, 1, 12, MONTHS), day)
    if next(cron.openings_after(datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
        raise ValueError("no date matches the cron() expression")
    return cron


def _hours(text: str) -> tuple[tuple[int, ...], int]:
    start, slash, step_text = text.partition("/")
    if not slash:
        return (_number(start, 0, 23, {}),), 0
    step = _number(step_text, 1, 23, {})
    if step < MIN_HOURS:
        raise ValueError(f"a secret can be rotated every {MIN_HOURS} hours at most")
    first = 0 if start in ("", "*") else _number(start, 0, 23, {})
    return tuple(range(first, 24, step)), step


def _month_days(text: str) -> DayRule:
    rules = [_month_day(item) for item in text.split(",")]
    return lambda day: any(rule(day) for rule in rules)


def _month_day(item: str) -> DayRule:
    if item == "L":
        return lambda day: day.day == _last_day(day)
    if item.endswith("L") and item[:-1] in DAYS:
        wanted = DAYS[item[:-1]]
        return lambda day: _weekday(day) == wanted and day.day > _last_day(day) - 7
    days = _numbers(item, 1, 31, {})
    return lambda day: day.day in days


def _weekdays(text: str) -> DayRule:
    rules = [_week_day(item) for item in text.split(",")]
    return lambda day: any(rule(day) for rule in rules)


def _week_day(item: str) -> DayRule:
    if item == "L":
        return lambda day: _weekday(day) == DAYS["SAT"]
    if "#" in item:
        name, _, count = item.partition("#")
        wanted, nth = _number(name, 1, 7, DAYS), _number(count, 1, 5, {})
        return lambda day: _weekday(day) == wanted and (day.day - 1) // 7 + 1 == nth
    days = _numbers(item, 1, 7, DAYS)
    return lambda day: _weekday(day) in days


def _numbers(text: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    """Read a list of numbers, ranges and increments: `1,15`, `MON-FRI`, `1/3`, `*`."""
    found: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        step = _number(step_text, 1, high, {}) if slash else 1
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = low, high
        else:
            first = _number(first_text, low, high, names)
            last = _number(last_text, low, high, names) if dash else (high if slash else first)
        if last < first:
            raise ValueError(f"the range {span} runs backwards")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = names.get(text, int(text) if re.fullmatch("[0-9]{1,2}", text) else None)
    if number is None or not low <= number <= high:
        raise ValueError(f"{text or 'an empty value'} is not allowed in this field of cron()")
    return number


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _last_day(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]
