"""State CheckRollout: check once whether the last old pod of a service is gone."""

import time
from typing import Any

from keyturn import wiring
from keyturn.rollout import pod_annotations, restart
from keyturn.run import ledger, polling, run, times
from keyturn.secret import staging_labels
from keyturn.telemetry import Event, Result, log_pods, step
from keyturn.validation import pod_logs

parts = wiring.check_rollout()


@step("CheckRollout")
def handler(event: Event, _context: Any) -> Result:
    """Judge the rollout that RestartService started, key errors of crashed pods first."""
    if "question" in event:
        return parts.answer(event)
    this = run.parse_run(event, parts.settings.secret_arn)
    staging_labels.confirm_current(parts.secret, this.version)
    given = ledger.parse_ledger(event)
    service, made = ledger.restart_of(given)["service"], pod_annotations.stamp_of_run(this, given)
    crashed = parts.logs.of_restart(service, made, ledger.started_at(given), crashed_only=True)
    pod_logs.read_logs([crashed], time.monotonic, pod_logs.CRASH_LOG_SECONDS)
    look = restart.check_rollout(parts.cluster, made, given, parts.limit, times.now())
    if look.entry["state"] == "done":
        log_pods(this.rotation_id, service, "after", look.pods)
    return {**look.entry, **polling.after_rollout_look(given, parts.limit)}
