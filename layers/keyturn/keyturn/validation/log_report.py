"""The findings in the logs of the new pods, and whether all existing pods were read.

A key error is decisive only if three facts agree: the container gets the key itself, the error is
the whole message of a line (`log_rules`), and Kubernetes reports that the container crashed in this
run or that its pod is not ready. Other lines that mention a key error are counted and reported:
text that an outsider can write into a log cannot end a rotation. Pure.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from keyturn import errors
from keyturn.run.ledger import LogsEntry
from keyturn.validation.log_rules import KEY_RULES

# Writing into every pod's log must not exceed the state machine's 256 KiB.
MOST_FINDINGS = 50
MOST_NAMED = 10


@dataclass(frozen=True)
class LogMatch:
    """How often one rule matched in one container's log, when first, and why it is not decisive."""

    pod: str
    container: str
    rule: str
    count: int
    firstAt: str | None  # noqa: N815 - the name in the ledger and the record
    note: str = ""

    @property
    def decisive(self) -> bool:
        """Whether it proves that the pod has no usable key."""
        return self.rule in KEY_RULES and not self.note


@dataclass(frozen=True)
class PodCount:
    """How many pods of a service exist, carry the run's annotations, and had their logs read."""

    service: str
    pods: int
    stamped: int
    read: int

    @property
    def shortfall(self) -> str:
        """The reason why the logs do not cover every pod, '' if they do."""
        unstamped, unread = self.pods - self.stamped, self.stamped - self.read
        parts = (
            "no pod exists" if not self.pods else "",
            f"{unstamped} of {self.pods} pods do not carry the run's annotations"
            if unstamped
            else "",
            f"{unread} of {self.stamped} pods were not read" if unread else "",
        )
        missing = ", ".join(filter(None, parts))
        return f"{self.service}: {missing}" if missing else ""


@dataclass(frozen=True)
class Report:
    """The matches, in how many logs, and of which pods.

    A run that is rolled back before its restart has no new pods, and so no new logs: `restarted`.
    """

    findings: tuple[LogMatch, ...]
    logs: int
    services: tuple[PodCount, ...] = ()
    restarted: bool = True

    @property
    def reason(self) -> str:
        """Why the report is incomplete, '' if it covers every existing pod."""
        if not self.restarted:
            return "no pod was restarted, so there are no new logs"
        return "; ".join(filter(None, (count.shortfall for count in self.services)))

    @property
    def lines(self) -> dict[str, int]:
        """How many lines matched each rule."""
        total: Counter[str] = Counter()
        for finding in self.findings:
            total[finding.rule] += finding.count
        return dict(sorted(total.items()))

    @property
    def summary(self) -> str:
        """The sentence about it in messages; empty where there is nothing to report."""
        if not self.restarted:
            return ""
        mentions = sum(self.lines.get(rule, 0) for rule in KEY_RULES)
        counted = (
            f"Log lines that mention a key error without proving one: {mentions}. No container that"
            " gets the key logged one as its whole message and crashed or was not ready."
            if mentions
            else ""
        )
        missing = f"The logs do not show every pod: {self.reason}." if self.reason else ""
        return " ".join(filter(None, (counted, missing)))

    def as_entry(self) -> LogsEntry:
        """The report in the ledger, whose size does not grow with the pods."""
        ranked = sorted(
            self.findings, key=lambda match: (match.rule not in KEY_RULES, -match.count)
        )
        return {
            "findings": [asdict(finding) for finding in ranked[:MOST_FINDINGS]],
            "lines": self.lines,
            "logs": self.logs,
            "pods": [asdict(count) for count in self.services],
            "complete": not self.reason,
            "reason": self.reason,
            "says": self.summary,
        }


def refuse_decisive(findings: Sequence[LogMatch]) -> None:
    """Raise KeyErrorsInLogs if it is proved that a pod has no usable key."""
    decisive = [finding for finding in findings if finding.decisive]
    if decisive:
        shown = [f"{f.pod}/{f.container}: {f.rule} x{f.count}" for f in decisive[:MOST_NAMED]]
        more = len(decisive) - len(shown)
        places = ", ".join([*shown, *([f"and {more} more"] if more else [])])
        raise errors.KeyErrorsInLogs(
            f"New pods cannot use their key ({places}). See how the Deployment injects it:"
            " kubectl get deployment -o yaml; kubectl logs -p"
        )


def refuse_unstamped(report: Report) -> None:
    """Raise RestartOverwritten if pods exist that this run's restart did not create."""
    others = [
        f"{count.pods - count.stamped} of {count.pods} pods of {count.service}"
        for count in report.services
        if count.stamped < count.pods
    ]
    if others:
        raise errors.RestartOverwritten(
            f"{', '.join(others)} do not carry this run's annotations: they were replaced after the"
            " restart, and a login does not show which key they run. Find the other writer:"
            " kubectl rollout history; kubectl describe pods"
        )
