"""The watch between two rotations: every day, and whenever AWSCURRENT moves."""

import time
from typing import Any

from keyturn import care, measures, watch, wiring
from keyturn.telemetry import Event, Result, emit, step

watching = wiring.watching()


@step("WatchKey")
def handler(event: Event, _context: Any) -> Result:
    """Look at the key, the runs and the schedule; start what is missing, tell what is wrong."""
    call = watch.parse(event, watching.place.secret_arn)
    seen = watch.look(watching.secret)
    key = watch.facts(seen, call.at)
    emit(measures.of_key(key))
    found = care.take_care(watching, call, seen, time)
    return {"daily": call.daily, "key": key, "found": found}
