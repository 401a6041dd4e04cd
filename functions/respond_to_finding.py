"""Called by EventBridge: a GuardDuty finding may mean that the session key is exposed."""

from typing import Any

from keyturn import finding_event, measures, response, run, wiring
from keyturn.telemetry import Event, Result, emit, step

respond = wiring.responding()


@step("RespondToFinding")
def handler(event: Event, _context: Any) -> Result:
    """Judge the finding; start at most one rotation for it, and tell people."""
    found = finding_event.parse(event)
    at = run.now()
    answer = response.respond(respond.secret, respond.notifications, found, respond.scope, at)
    emit(measures.of_finding(answer, at), {"rotationId": answer["rotationId"]})
    return answer
