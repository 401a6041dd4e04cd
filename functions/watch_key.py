"""Checks the key between two rotations: every five minutes, every day, and after events."""

import time
from typing import Any

from keyturn import wiring
from keyturn.monitoring import actions, key_health, watch_trigger
from keyturn.reporting import metrics
from keyturn.telemetry import Event, Result, emit, step

parts = wiring.watch_key()


@step("WatchKey")
def handler(event: Event, _context: Any) -> Result:
    """Check the key, the runs and the schedule; start a missing run, report issues."""
    call = watch_trigger.parse_trigger(event, parts.place.secret_arn)
    seen = parts.secret.seen()
    key = key_health.key_facts(seen, call.at)
    emit(metrics.key_metrics(key))
    done = actions.handle_issues(parts, call, seen, time)
    emit(metrics.issue_metrics([issue["concern"] for issue in done.found], compared=done.compared))
    return {"look": call.kind, "change": call.change or None, "key": key, "found": done.found}
