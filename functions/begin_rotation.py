"""State BeginRotation: see where we stand, and tell people that they will have to log in again."""

import time
from typing import Any

from keyturn import labels, messages, questions, run, sessions, wiring
from keyturn.telemetry import Event, Result, step

begin = wiring.beginning()


@step("BeginRotation")
def handler(event: Event, context: Any) -> Result:
    """Count the sessions that will end, and announce the rotation."""
    if "question" in event:
        return questions.answer_preflight("begin_rotation", begin.checks)
    this = run.parse(event, begin.settings.secret_arn)
    begin.confirm(this, event, context)
    labels.confirm_current(begin.secret, this.version)
    counted = sessions.count_for(this.mode, begin.sessions, begin.pace, time)
    begun = {**run.entry(event, "begin_rotation"), **counted}
    told = begin.notifications.tell(messages.started_message(this, begun, run.now()))
    return {**begun, "announced": told}
