"""State RestartService: start the rolling restart of one service."""

from typing import Any

from keyturn import labels, questions, rollout, run, stamp, wiring
from keyturn.telemetry import Event, Result, log_pods, step

restart = wiring.restarting()


@step("RestartService")
def handler(event: Event, context: Any) -> Result:
    """Stamp the service's pod template with the run's version and its delivery."""
    if "question" in event:
        return questions.answer_preflight("restart_service", restart.checks)
    this = run.parse(event, restart.settings.secret_arn)
    restart.confirm(this, event, context)

    def confirm() -> None:
        labels.confirm_current(restart.secret, this.version)

    confirm()
    service = run.text(event, "service")
    begun = run.moment(run.text(run.entry(event, "begin_rotation"), "startedAt"))
    others = run.entry(event, "deliver_key").get("restartedByOperator") or ()
    delivered = stamp.of_run(this, event)
    begun_rollout = rollout.restart(restart.cluster, delivered, service, begun, confirm, others)
    log_pods(this.rotation_id, service, "before", begun_rollout.pods)
    return begun_rollout.entry
