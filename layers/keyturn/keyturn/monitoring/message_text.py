"""The common parts of the messages of `watch_key`: the stack's references, and the text."""

from dataclasses import dataclass

from keyturn.monitoring.key_health import Issue
from keyturn.run.run import Origin, Run
from keyturn.run.times import format_timestamp


@dataclass(frozen=True)
class StackRefs:
    """The secret that is watched, and the state machine that delivers its key to the services."""

    secret_arn: str
    state_machine_arn: str

    def run_of(self, issue: Issue) -> Run:
        """The first run that delivers the version of an issue.

        Its mode is the one that the rotation would have had, never a milder one.
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
    """The parts that differ between messages."""

    kind: str
    subject: str
    summary: str
    impact: str
    reason: str
    next_steps: str
    command: str = ""
