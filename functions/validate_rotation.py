"""State ValidateRotation: prove that users can log in with the new key."""

import time
from typing import Any

from keyturn import labels, logs, questions, run, validation, wiring
from keyturn.telemetry import Event, Result, step

validate = wiring.validating()


@step("ValidateRotation")
def handler(event: Event, _context: Any) -> Result:
    """Look at the health URLs, the login and the new pods' logs."""
    if "question" in event:
        return questions.answer_preflight("validate_rotation", validate.checks)
    this = run.parse(event, validate.settings.secret_arn)
    labels.confirm_current(validate.secret, this.version)
    settings = validate.settings
    health = validation.check_health(validate.web, settings.health_urls)
    login = validation.check_login(validate.web, settings.login_url, settings.login_redirect_hosts)
    seen = logs.validate(validate.logs, settings.services, this, event, time.monotonic)
    return validation.as_entry(health, login, seen)
