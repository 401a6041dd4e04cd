"""States DeliverKey, ConfirmDelivery and DestroyExposed: the key is where the pods read it.

They are one function's, so that one alone reads the key and where it is delivered. ConfirmDelivery
gives what was `delivered`, and nothing is written then; DestroyExposed what it has `exposed`.
"""

from typing import Any

from keyturn import delivery, labels, run, vault_delivery, wiring
from keyturn.telemetry import Event, Result, step

deliver = wiring.delivering()


@step("DeliverKey")
def handler(event: Event, context: Any) -> Result:
    """Bring the promoted key, look how far or whether it is there, or destroy the one before."""
    if "question" in event:
        return deliver.answer(event)
    this = run.parse(event, deliver.settings.secret_arn)
    deliver.confirm(this, event, context)
    labels.confirm_current(deliver.secret, this.version)
    if "exposed" in event:
        exposed = run.entry(event, "exposed")
        return vault_delivery.destroy_exposed(deliver.secret, deliver.way, this, exposed)
    if "delivered" in event:
        delivered = run.entry(event, "delivered")
        return delivery.confirm(deliver.secret, deliver.way, this.version, delivered)
    return delivery.deliver(deliver.secret, deliver.way, this.version, event, run.now())
