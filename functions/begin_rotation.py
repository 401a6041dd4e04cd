"""State BeginRotation: count the sessions, and announce that users will have to log in again."""

import time
from typing import Any

from keyturn import wiring
from keyturn.reporting import messages
from keyturn.rotation import preflight
from keyturn.run import ledger, run, times
from keyturn.secret import staging_labels
from keyturn.sessions import store as session_store
from keyturn.telemetry import Event, Result, step

parts = wiring.begin_rotation()


@step("BeginRotation")
def handler(event: Event, context: Any) -> Result:
    """Count the sessions that will end, and announce the rotation."""
    if "question" in event:
        return preflight.answer_preflight("begin_rotation", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    staging_labels.confirm_current(parts.secret, this.version)
    counted = session_store.count_for(this.mode, parts.sessions, parts.pace, time)
    start = ledger.start_of(ledger.parse_ledger(event))
    message = messages.started_message(this, start, counted, times.now())
    announced = parts.notifications.notify(message)
    return {"startedAt": start["startedAt"], **counted, "announced": announced}
