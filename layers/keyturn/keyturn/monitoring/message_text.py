"""What every message of the watch is made of: the place that it is about, and the words."""

from dataclasses import dataclass

from keyturn.monitoring.key_health import Issue
from keyturn.run.run import Origin, Run
from keyturn.run.times import format_timestamp


@dataclass(frozen=True)
class StackRefs:
    """Which secret is watched, and which state machine carries its key to the services."""

    secret_arn: str
    state_machine_arn: str

    def run_of(self, issue: Issue) -> Run:
        """The run that carries the version of a judgement to the services, for the first time.

        Its mode is the one that the rotation would have had: never a milder one.
        """
        return Run(
            issue.version,
            self.secret_arn,
            issue.mode,
            issue.previous,
            Origin("watch", format_timestamp(issue.since)),
        )


@dataclass(frozen=True)
class MessageText:
    """What differs from message to message."""

    kind: str
    subject: str
    summary: str
    impact: str
    reason: str
    next_steps: str
    command: str = ""
