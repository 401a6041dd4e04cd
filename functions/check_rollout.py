"""State CheckRollout: look once whether the last old pod of a service is gone."""

from typing import Any

from keyturn import rollout, run, secret, wiring
from keyturn.telemetry import Event, Result, step

check = wiring.restarting()


@step("CheckRollout")
def handler(event: Event, _context: Any) -> Result:
    """Judge the rollout that RestartService began."""
    this = run.parse(event, check.settings.secret_arn)
    secret.confirm_current(check.secret, this)
    restarted = run.entry(event, "restart_service")
    return rollout.check(check.cluster, this, restarted, check.limit, run.now())
