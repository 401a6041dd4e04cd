"""States DeliverKey and ConfirmDelivery: the new key is where the pods read it, and still is.

Both are this function's, so that one function alone reads the key and the Kubernetes Secret. State
ConfirmDelivery gives what was `delivered`, and nothing is written then.
"""

from typing import Any

from keyturn import delivery, labels, run, wiring
from keyturn.telemetry import Event, Result, step

deliver = wiring.delivering()


@step("DeliverKey")
def handler(event: Event, _context: Any) -> Result:
    """Bring the promoted key to the pods' reach, look how far it is, or whether it still is."""
    this = run.parse(event, deliver.settings.secret_arn)
    labels.confirm_current(deliver.secret, this.version)
    if "delivered" in event:
        delivered = run.entry(event, "delivered")
        return delivery.confirm(deliver.secret, deliver.way, this.version, delivered)
    return delivery.deliver(deliver.secret, deliver.way, this.version, event, run.now())
