"""State RestartService: start the rolling restart of one service."""

from functools import partial
from typing import Any

from keyturn import wiring
from keyturn.rollout import pod_annotations, restart
from keyturn.rotation import preflight
from keyturn.run import ledger, run
from keyturn.secret import staging_labels
from keyturn.telemetry import Event, Result, log_pods, step

parts = wiring.restart_service()


@step("RestartService")
def handler(event: Event, context: Any) -> Result:
    """Annotate the service's pod template with the run's version and its delivery."""
    if "question" in event:
        return preflight.answer_preflight("restart_service", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    parts.confirm(this, event, context)
    confirm = partial(staging_labels.confirm_current, parts.secret, this.version)
    confirm()
    given, service = ledger.parse_ledger(event), ledger.text(event, "service")
    others = ledger.delivery_of(given).get("restartedByOperator") or ()
    stamp, begun = pod_annotations.stamp_of_run(this, given), ledger.started_at(given)
    counted = restart.restart_workload(parts.cluster, stamp, service, begun, confirm, others)
    log_pods(this.rotation_id, service, "before", counted.pods)
    return counted.entry
