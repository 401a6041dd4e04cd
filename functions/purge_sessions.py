"""State PurgeSessions: end the sessions of the old key, one bounded slice per call."""

import time
from typing import Any

from keyturn import wiring
from keyturn.rotation import preflight
from keyturn.run import ledger, run, times
from keyturn.secret import staging_labels
from keyturn.sessions import progress, purge
from keyturn.telemetry import Event, Result, step

parts = wiring.purge_sessions()


@step("PurgeSessions")
def handler(event: Event, context: Any) -> Result:
    """Count first, then continue where the last call stopped."""
    if "question" in event:
        return preflight.answer_preflight("purge_sessions", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    staging_labels.confirm_current(parts.secret, this.version)
    given = ledger.parse_ledger(event)
    done = purge.next_slice(given, parts.sessions, parts.options, time, times.now())
    return progress.progress_entry(done, times.now(), ledger.sessions_counted(given))
