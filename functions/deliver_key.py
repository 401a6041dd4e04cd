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
    """Take the action that the input names, see `ledger.Action`."""
    if "question" in event:
        return parts.answer(event)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    given, action = ledger.parse_ledger(event), ledger.parse_action(event)
    if action == "mark-exposed":  # also where the run was overtaken
        return exposure.mark_replaced(parts.secret, this, times.now())
    staging_labels.confirm_current(parts.secret, this.version)
    if action == "destroy-exposed-versions":
        return vault.destroy_exposed_versions(parts.secret, parts.delivery, this, given)
    if action == "confirm":
        return strategy.confirm_delivery(parts.secret, parts.delivery, this.version, given)
    done = strategy.deliver(parts.secret, parts.delivery, this.version, given, times.now())
    return done if done["state"] == "done" else {**done, **polling.after_sync_look(given)}
