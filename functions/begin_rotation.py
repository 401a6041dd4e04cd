"""State BeginRotation: see where we stand, and tell people that they will have to log in again."""

import time
from typing import Any

from keyturn import labels, messages, run, sessions, wiring
from keyturn.telemetry import Event, Result, step

begin = wiring.beginning()


@step("BeginRotation")
def handler(event: Event, _context: Any) -> Result:
    """Count the sessions that will end, and announce the rotation."""
    this = run.parse(event, begin.settings.secret_arn)
    labels.confirm_current(begin.secret, this.version)
    begun = {
        "services": list(begin.settings.services),
        "rolloutPollSeconds": begin.settings.rollout_poll_seconds,
        **sessions.count_for(this.mode, begin.sessions, begin.pace, time),
    }
    told = begin.notifications.tell(messages.started_message(this, begun, run.now()))
    return {**begun, "announced": told}
