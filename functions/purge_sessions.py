"""State PurgeSessions: end the sessions of the old key, one bounded slice a call."""

import time
from typing import Any

from keyturn import run, secret, sessions, wiring
from keyturn.telemetry import Event, Result, step

purge = wiring.purging()


@step("PurgeSessions")
def handler(event: Event, _context: Any) -> Result:
    """Go on where the last call stopped."""
    this = run.parse(event, purge.settings.secret_arn)
    secret.confirm_current(purge.secret, this)
    done = sessions.progress(event, purge.sessions, run.now())
    return sessions.as_entry(sessions.purge(purge.sessions, done, time.monotonic), run.now())
