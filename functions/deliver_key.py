"""States MarkExposed, DeliverKey, ConfirmDelivery, DestroyExposed: one function reads the key."""

from typing import Any

from keyturn import delivery, exposure, labels, looks, run, vault_delivery, wiring
from keyturn.telemetry import Event, Result, step

deliver = wiring.delivering()


@step("DeliverKey")
def handler(event: Event, context: Any) -> Result:
    """Deliver the promoted key, confirm what was `delivered`, or rule out what is exposed."""
    if "question" in event:
        return deliver.answer(event)
    this = run.parse(event, deliver.settings.secret_arn)
    deliver.confirm(this, event, context)
    if "replaced" in event:  # also where the run was overtaken
        return exposure.mark_replaced(deliver.secret, this, run.now())
    labels.confirm_current(deliver.secret, this.version)
    if "exposed" in event:
        exposed = run.entry(event, "exposed")
        return vault_delivery.destroy_exposed(deliver.secret, deliver.way, this, exposed)
    if "delivered" in event:
        delivered = run.entry(event, "delivered")
        return delivery.confirm(deliver.secret, deliver.way, this.version, delivered)
    told = delivery.deliver(deliver.secret, deliver.way, this.version, event, run.now())
    return told if told["state"] == "done" else {**told, **looks.after_sync_look(event)}
