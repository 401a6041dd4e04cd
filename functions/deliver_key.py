"""States MarkExposed, DeliverKey, ConfirmDelivery and DestroyExposedVersions."""

from typing import Any

from keyturn import wiring
from keyturn.delivery import strategy, vault
from keyturn.run import ledger, polling, run, times
from keyturn.secret import exposure, staging_labels
from keyturn.telemetry import Event, Result, step

parts = wiring.deliver_key()


@step("DeliverKey")
def handler(event: Event, context: Any) -> Result:
    """Deliver the promoted key, confirm what was `delivered`, or rule out what is exposed."""
    if "question" in event:
        return parts.answer(event)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    if "replaced" in event:  # also where the run was overtaken
        return exposure.mark_replaced(parts.secret, this, times.now())
    staging_labels.confirm_current(parts.secret, this.version)
    if "exposed" in event:
        return vault.destroy_exposed_versions(parts.secret, parts.delivery, this, event)
    if "delivered" in event:
        last = ledger.entry(event, "delivered")
        return strategy.confirm_delivery(parts.secret, parts.delivery, this.version, last)
    told = strategy.deliver(parts.secret, parts.delivery, this.version, event, times.now())
    return told if told["state"] == "done" else {**told, **polling.after_sync_look(event)}
