"""State CheckRollout: look once whether the last old pod of a service is gone."""

import time
from typing import Any

from keyturn import labels, logs, looks, rollout, run, stamp, wiring
from keyturn.telemetry import Event, Result, log_pods, step

check = wiring.checking()


@step("CheckRollout")
def handler(event: Event, _context: Any) -> Result:
    """Judge the rollout that RestartService began, key errors of crashed pods first."""
    if "question" in event:
        return check.answer(event)
    this = run.parse(event, check.settings.secret_arn)
    labels.confirm_current(check.secret, this.version)
    begun = run.moment(run.text(run.entry(event, "begin_rotation"), "startedAt"))
    service = run.text(run.entry(event, "restart_service"), "service")
    made = stamp.of_run(this, event)
    crashed = check.logs.of_restart(service, made, begun, crashed_only=True)
    logs.read([crashed], time.monotonic, logs.GLANCE_SECONDS)
    look = rollout.check(check.cluster, made, event, check.limit, run.now())
    if look.entry["state"] == "done":
        log_pods(this.rotation_id, service, "after", look.pods)
    return {**look.entry, **looks.after_rollout_look(event, check.limit)}
