"""Runs the watch as its two schedules do."""

import json
from datetime import timedelta
from typing import Any

from keyturn.run.times import format_timestamp, now
from tests.e2e.site import Site


def daily_look(site: Site, *, ahead: timedelta = timedelta()) -> list[dict[str, Any]]:
    """What the daily rule does, now or some days ahead."""
    return _look(site, "Scheduled Event", ahead)


def frequent_look(site: Site, ahead: timedelta = timedelta()) -> list[dict[str, Any]]:
    """What the rule that comes every five minutes does."""
    return _look(site, "Frequent Look", ahead)


def _look(site: Site, kind: str, ahead: timedelta) -> list[dict[str, Any]]:
    name = site.stack.function_name("WatchKeyFunction")
    event = {"detail-type": kind, "time": format_timestamp(now() + ahead)}
    answer = site.stack.functions.invoke(name, json.dumps(event).encode())
    assert answer.function_error is None, answer.payload
    found: list[dict[str, Any]] = json.loads(answer.payload)["found"]
    return found
