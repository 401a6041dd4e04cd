"""The rotation function: create, set, test and finish, as called by Secrets Manager."""

from typing import Any

from keyturn import wiring
from keyturn.rotation import steps
from keyturn.telemetry import Event, Result, step

parts = wiring.rotate_secret()


@step("RotateSecret")
def handler(event: Event, _context: Any) -> Result:
    """Run one step of the rotation."""
    request = steps.parse_request(event, parts.secret_arn)
    return steps.take_step(parts, request)
