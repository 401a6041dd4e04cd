"""State PurgeSessions: end the sessions of the old key, one bounded slice a call."""

import time
from typing import Any

from keyturn import labels, purge, purge_progress, questions, run, wiring
from keyturn.telemetry import Event, Result, step

purging = wiring.purging()


@step("PurgeSessions")
def handler(event: Event, context: Any) -> Result:
    """Look first, then go on where the last call stopped."""
    if "question" in event:
        return questions.answer_preflight("purge_sessions", purging.checks)
    this = run.parse(event, purging.settings.secret_arn)
    purging.confirm(this, event, context)
    labels.confirm_current(purging.secret, this.version)
    done = purge.next_slice(event, purging.sessions, purging.manner, time, run.now())
    return purge_progress.as_entry(done, run.now(), purge_progress.expected(event))
