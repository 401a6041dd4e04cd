"""State RestorePreviousKey: make the key before this run current again, if that is allowed."""

from typing import Any

from keyturn import questions, recovery, run, wiring
from keyturn.telemetry import Event, Result, step

restoring = wiring.restoring()


@step("RestorePreviousKey")
def handler(event: Event, context: Any) -> Result:
    """Move AWSCURRENT back, and say how far the way back goes."""
    if "question" in event:
        return questions.answer_preflight("restore_previous_key", restoring.checks)
    this = run.parse(event, restoring.settings.secret_arn)
    restoring.confirm(this, event, context)
    return recovery.restore(restoring.secret, this, event, run.now())
