"""The rotation function of the secret: create, set, test and finish, as Secrets Manager asks."""

from typing import Any

from keyturn import secret, wiring
from keyturn.telemetry import Event, Result, step

rotation = wiring.rotating()


@step("RotateSecret")
def handler(event: Event, _context: Any) -> Result:
    """Take one step of the rotation."""
    request = secret.parse(event, rotation.secret_arn)
    return secret.take_step(rotation, request)
