"""State RestorePreviousKey: make the previous key current again, if that is permitted."""

from typing import Any

from keyturn import wiring
from keyturn.rotation import preflight, rollback
from keyturn.run import ledger, run, times
from keyturn.telemetry import Event, Result, step

parts = wiring.restore_previous_key()


@step("RestorePreviousKey")
def handler(event: Event, context: Any) -> Result:
    """Move AWSCURRENT back, and return which steps the rollback needs."""
    if "question" in event:
        return preflight.answer_preflight("restore_previous_key", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    return rollback.roll_back(parts.secret, this, ledger.parse_ledger(event), times.now())
