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

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Window:
    """A time span in which a rotation may start: from `opens` to just before `closes`."""

    opens: datetime
    closes: datetime


@dataclass(frozen=True)
class Schedule:
    """A schedule; `rules` are the RotationRules it was made from, as DescribeSecret shows them."""

    rules: Mapping[str, Any]
    timing: cron.Cron
    duration_hours: int | None

    def window_after(self, moment: datetime) -> Window:
        """Return the window that follows a rotation, or the opening of a window, at `moment`."""
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
        return min(opens + HOUR, midnight) if self.timing.step > 0 else midnight


def parse_rules(rules: Mapping[str, Any]) -> Schedule:
    """Read RotationRules; ValueError says in AWS's terms which rule was broken.

    A number of days and a rate(), which the template does not accept, are not emulated.
    """
    expression = rules.get("ScheduleExpression")
    match = re.fullmatch(r"cron\((.*)\)", (expression or "").strip())
    if match is None:
        raise ValueError("RotationRules without a ScheduleExpression of cron() are not emulated.")
    try:
        timing = cron.parse(match[1])
    except ValueError as error:
        raise ValueError(f"Invalid ScheduleExpression: {error}.") from None
    duration = _parse_duration(rules.get("Duration"))
    if duration is not None:
        _check_duration(timing, duration)
    return Schedule(dict(rules), timing, duration)


def _parse_duration(text: str | None) -> int | None:
    if text is None:
        return None
    hours = int(text.removesuffix("h"))
    if not 1 <= hours <= 24:
        raise ValueError("Duration must be from 1h to 24h.")
    return hours


def _check_duration(timing: cron.Cron, hours: int) -> None:
    first_hour, period = timing.hours[-1], (timing.step or 24) * HOUR
    if hours * HOUR > period:
        raise ValueError("Duration must not extend into the next rotation window.")
    if first_hour + hours > 24:
        raise ValueError("Duration must not extend into the next UTC day.")
