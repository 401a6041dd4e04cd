"""State DeliverKey: bring the new key to where the pods read it, and prove that it is there."""

from typing import Any

from keyturn import delivery, labels, run, wiring
from keyturn.telemetry import Event, Result, step

deliver = wiring.delivering()


@step("DeliverKey")
def handler(event: Event, _context: Any) -> Result:
    """Bring the promoted key to the pods' reach, or look how far it is."""
    this = run.parse(event, deliver.settings.secret_arn)
    labels.confirm_current(deliver.secret, this)
    return delivery.deliver(deliver.secret, deliver.way, this.version, event, run.now())
