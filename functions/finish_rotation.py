"""State FinishRotation: store the record of the run in every outcome, and send notifications."""

import json
from typing import Any

from keyturn import wiring
from keyturn.reporting import messages, metrics, record
from keyturn.rotation import preflight
from keyturn.run import ledger, run, times
from keyturn.telemetry import Event, Result, emit, step

parts = wiring.finish_rotation()


@step("FinishRotation")
def handler(event: Event, context: Any) -> Result:
    """Compose, store, announce and measure the record."""
    if "question" in event:
        return preflight.answer_preflight("finish_rotation", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    given = ledger.parse_ledger(event)
    document = record.compose(given, this, times.now(), parts.problems_of(this))
    if "finish_rotation" not in given.get("failures", {}):
        name = record.name_of(this, given)
        document["keptAt"] = parts.records.keep(name, json.dumps(document, indent=2))
    arn = parts.settings.state_machine_arn
    announced = parts.notifications.notify(messages.finished_message(this, document, arn))
    emit(metrics.run_metrics(document), metrics.log_fields(document))
    return {**document, "announced": announced}
