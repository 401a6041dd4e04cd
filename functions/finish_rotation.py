"""State FinishRotation: record how the run went, whatever happened, and tell people."""

import json
from typing import Any

from keyturn import measures, messages, record, run, wiring
from keyturn.telemetry import Event, Result, emit, step

finish = wiring.finishing()


@step("FinishRotation")
def handler(event: Event, _context: Any) -> Result:
    """Compose, keep, announce and measure the record."""
    this = run.parse(event, finish.settings.secret_arn)
    document = record.compose(event, this, run.now())
    if "recording_failure" not in event:
        finish.records.keep(this.rotation_id, json.dumps(document, indent=2))
    told = finish.notifications.tell(messages.finished_message(this, document))
    emit(measures.of_run(document), measures.said_of_run(document))
    return {**document, "announced": told}
