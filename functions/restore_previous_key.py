"""State RestorePreviousKey: make the key before this run current again, if that is allowed."""

from typing import Any

from keyturn import recovery, run, wiring
from keyturn.telemetry import Event, Result, step

restoring = wiring.restoring()


@step("RestorePreviousKey")
def handler(event: Event, _context: Any) -> Result:
    """Move AWSCURRENT back, and say how far the way back goes."""
    this = run.parse(event, restoring.settings.secret_arn)
    return recovery.restore(restoring.secret, this, event, run.now())
