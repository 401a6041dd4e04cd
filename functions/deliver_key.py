"""State DeliverKey: bring the new key to where the pods read it, and prove that it is there."""

from typing import Any

from keyturn import delivery, run, secret, wiring
from keyturn.telemetry import Event, Result, step

deliver = wiring.delivering()


@step("DeliverKey")
def handler(event: Event, _context: Any) -> Result:
    """Bring the promoted key to the pods' reach, or look how far it is."""
    this = run.parse(event, deliver.settings.secret_arn)
    secret.confirm_current(deliver.secret, this)
    return delivery.deliver(deliver.secret, deliver.way, this.rotation_id, event, run.now())
