"""Read the logs of the pods that run the new key.

Matched lines stay in the function, since a stack trace may contain anything; only the pod, the
container, the rule, the count and the time leave it (`log_report`). Reading is bounded in bytes (by
the adapter), in time, and in the length of a line. The existing pods are compared with those whose
logs were read: otherwise a clean report could be one about no pod at all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keyturn import errors
from keyturn.rollout import pod_annotations
from keyturn.rollout.pod_annotations import Stamp
from keyturn.run.ledger import Ledger, started_at
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from keyturn.validation import log_rules
from keyturn.validation.log_report import (
    LogMatch,
    PodCount,
    Report,
    refuse_decisive,
    refuse_unstamped,
)

READ_SECONDS = 60.0
CRASH_LOG_SECONDS = 5.0  # within one check of a rollout, which is repeated


@dataclass(frozen=True)
class Line:
    """A log line with the timestamp of the kubelet; `text` may contain anything."""

    at: datetime | None
    text: str = field(repr=False)


@dataclass(frozen=True)
class ContainerLog:
    """The log of one container; its lines are never shown.

    `gets_key`: the container gets the key itself. `trouble` is the report of Kubernetes, such as
    'the container crashed', or ''. Reading the lines raises ServiceNotFound for a pod that no
    longer exists, and ClusterRefused for a container that has not written yet.
    """

    pod: str
    container: str
    lines: Iterable[Line] = field(repr=False)
    gets_key: bool
    trouble: str


@dataclass(frozen=True)
class ServiceLogs:
    """The existing pods of a service, the annotated ones, and the logs of the latter."""

    service: str
    pods: Sequence[str]
    stamped: Sequence[str]
    logs: Iterable[ContainerLog] = field(repr=False)


class Logs(Protocol):
    """The logs of the pods that a restart created."""

    def of_restart(
        self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
    ) -> ServiceLogs:
        """Every container of every annotated pod, from `since` on."""


def validate(
    logs: Logs, services: Sequence[str], run: Run, ledger: Ledger, watch: Callable[[], float]
) -> Report:
    """Read the logs of all pods that a run's restart created; verify that no other pods exist.

    Raises KeyErrorsInLogs and RestartOverwritten.
    """
    if "restart_services" not in ledger:  # a rollback in which no pod has met the new key
        return Report((), 0, restarted=False)
    begun = started_at(ledger)
    report = read_logs(
        of_services(logs, services, pod_annotations.stamp_of_run(run, ledger), begun), watch
    )
    refuse_unstamped(report)
    return report


def of_services(
    logs: Logs, services: Sequence[str], made: Stamp, since: datetime
) -> Iterator[ServiceLogs]:
    """The logs of every service's new pods, one after the other."""
    for service in services:
        yield logs.of_restart(service, made, since)


def read_logs(
    services: Iterable[ServiceLogs], watch: Callable[[], float], seconds: float = READ_SECONDS
) -> Report:
    """Search logs until the end or the deadline. Raises KeyErrorsInLogs on a decisive match.

    The pods of every service are counted, also after the deadline.
    """
    end, number = watch() + seconds, 0
    log_matches: list[LogMatch] = []
    counts: list[PodCount] = []
    for service in services:
        was_read: dict[str, bool] = {}
        for log in service.logs:
            if watch() > end:
                was_read[log.pod] = False
                break
            number += 1
            matches = search(log)
            log_matches += matches or ()
            if log.gets_key:
                was_read[log.pod] = was_read.get(log.pod, True) and matches is not None
        pods, stamped = len(service.pods), len(service.stamped)
        counts.append(PodCount(service.service, pods, stamped, sum(was_read.values())))
    refuse_decisive(log_matches)
    return Report(tuple(log_matches), number, tuple(counts))


def search(log: ContainerLog) -> list[LogMatch] | None:
    """Count each rule's matches in one log; None if the log cannot be read."""
    matched: dict[str, list[datetime | None]] = {}
    stated: set[str] = set()
    try:
        for line in log.lines:
            for rule in log_rules.mentioned_rules(line.text):
                matched.setdefault(rule, []).append(line.at)
                if rule not in stated and log_rules.states_key_error(line.text, rule):
                    stated.add(rule)
    except (errors.ServiceNotFound, errors.ClusterRefused):
        return None
    return [
        LogMatch(
            log.pod,
            log.container,
            rule,
            len(stamps),
            _first(stamps),
            _note(log, rule, stated=rule in stated),
        )
        for rule, stamps in matched.items()
    ]


def _note(log: ContainerLog, rule: str, *, stated: bool) -> str:
    """Why a key error in a log is not decisive, if so."""
    if rule not in log_rules.KEY_RULES:
        return ""
    if not log.gets_key:
        return "this container does not get the key"
    if not stated:
        return "part of longer lines"
    return "" if log.trouble else "the container did not crash and its pod is ready"


def _first(stamps: Sequence[datetime | None]) -> str | None:
    known = [stamp for stamp in stamps if stamp is not None]
    return format_timestamp(min(known)) if known else None
