"""The watch between two rotations: every five minutes, every day, and when the key is changed."""

import time
from typing import Any

from keyturn import care, measures, watch, watch_call, wiring
from keyturn.telemetry import Event, Result, emit, step

watching = wiring.watching()


@step("WatchKey")
def handler(event: Event, _context: Any) -> Result:
    """Look at the key, the runs and the schedule; start what is missing, tell what is wrong."""
    call = watch_call.parse(event, watching.place.secret_arn)
    seen = watching.secret.seen()
    key = watch.facts(seen, call.at)
    emit(measures.of_key(key))
    done = care.take_care(watching, call, seen, time)
    emit(measures.of_concerns([one["concern"] for one in done.found], compared=done.compared))
    return {"look": call.kind, "change": call.change or None, "key": key, "found": done.found}
