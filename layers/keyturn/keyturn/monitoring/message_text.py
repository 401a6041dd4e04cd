"""What every message of the watch is made of: the place that it is about, and the words."""

from dataclasses import dataclass

from keyturn.monitoring.key_health import Judgement
from keyturn.run.run import Origin, Run
from keyturn.run.times import timestamp


@dataclass(frozen=True)
class Place:
    """Which secret is watched, and which state machine carries its key to the services."""

    secret_arn: str
    state_machine_arn: str

    def run_of(self, judgement: Judgement) -> Run:
        """The run that carries the version of a judgement to the services, for the first time.

        Its mode is the one that the rotation would have had: never a milder one.
        """
        return Run(
            judgement.version,
            self.secret_arn,
            judgement.mode,
            judgement.previous,
            Origin("watch", timestamp(judgement.since)),
        )


@dataclass(frozen=True)
class Words:
    """What differs from message to message."""

    kind: str
    subject: str
    says: str
    impact: str
    reason: str
    todo: str
    command: str = ""
