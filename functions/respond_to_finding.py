"""Called by EventBridge: a GuardDuty finding may mean that the session key is exposed."""

from typing import Any

from keyturn import wiring
from keyturn.findings import event as finding_event
from keyturn.findings import response
from keyturn.reporting import metrics
from keyturn.run import times
from keyturn.telemetry import Event, Result, emit, step

parts = wiring.respond_to_finding()


@step("RespondToFinding")
def handler(event: Event, _context: Any) -> Result:
    """Judge the finding, start at most one rotation for it, and send notifications."""
    finding = finding_event.parse_finding(event)
    at = times.now()
    answer = response.respond(parts.secret, parts.notifications, finding, parts.scope, at)
    emit(metrics.finding_metrics(answer, at), {"rotationId": answer["rotationId"]})
    return answer
