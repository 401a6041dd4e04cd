"""State ValidateRotation: prove that users can log in with the new key."""

import time
from typing import Any

from keyturn import wiring
from keyturn.rotation import preflight
from keyturn.run import ledger, run
from keyturn.secret import staging_labels
from keyturn.telemetry import Event, Result, step
from keyturn.validation import endpoints, pod_logs

parts = wiring.validate_rotation()


@step("ValidateRotation")
def handler(event: Event, _context: Any) -> Result:
    """Check the health URLs, the login and the new pods' logs."""
    if "question" in event:
        return preflight.answer_preflight("validate_rotation", parts.checks)
    this = run.parse_run(event, parts.settings.secret_arn)
    staging_labels.confirm_current(parts.secret, this.version)
    settings = parts.settings
    health = endpoints.check_health(parts.web, settings.health_urls)
    login = endpoints.check_login(parts.web, settings.login_url, settings.login_redirect_hosts)
    given = ledger.parse_ledger(event)
    seen = pod_logs.validate(parts.logs, settings.services, this, given, time.monotonic)
    return endpoints.validation_entry(health, login, seen)
