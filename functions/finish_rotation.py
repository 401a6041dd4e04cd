"""State FinishRotation: record how the run went, whatever happened, and tell people."""

import json
from typing import Any

from keyturn import measures, messages, questions, record, run, wiring
from keyturn.telemetry import Event, Result, emit, step

finish = wiring.finishing()


@step("FinishRotation")
def handler(event: Event, context: Any) -> Result:
    """Compose, keep, announce and measure the record."""
    if "question" in event:
        return questions.answer_preflight("finish_rotation", finish.checks)
    this = run.parse(event, finish.settings.secret_arn)
    finish.confirm(this, event, context)
    document = record.compose(event, this, run.now(), finish.problems_of(this))
    if "recording_failure" not in event:
        name = record.name_of(this, event)
        document["keptAt"] = finish.records.keep(name, json.dumps(document, indent=2))
    arn = finish.settings.state_machine_arn
    told = finish.notifications.tell(messages.finished_message(this, document, arn))
    emit(measures.of_run(document), measures.said_of_run(document))
    return {**document, "announced": told}
