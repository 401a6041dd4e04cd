"""The logs of the pods that run the new key: what speaks of the key in them.

"Not set" and "must decode to 32 bytes" are fatal: the pod has no usable key. "Cannot decrypt" about
an old cookie is what a rotation does to old sessions: it is counted and never fatal. Matched lines
stay in the function, since a stack trace may hold anything; the pod, the container, the rule, the
count and the time leave it. Reading is bounded in bytes (by the adapter) and in time (here).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keyturn import errors
from keyturn.run import timestamp
from keyturn.stamp import Stamp

READ_SECONDS = 60.0
GLANCE_SECONDS = 5.0  # within a look at a rollout, which is repeated

FATAL = {
    "key-not-set": re.compile(r"SESSION_ENCRYPTION_KEY\b.*\bnot set", re.IGNORECASE),
    "key-not-32-bytes": re.compile(r"must decode to 32 bytes", re.IGNORECASE),
}
COUNTED = {
    "old-session": re.compile(r"(could not|cannot|failed to) decrypt", re.IGNORECASE),
}


@dataclass(frozen=True)
class Line:
    """A log line with the stamp that the kubelet gave it; `text` may hold anything."""

    at: datetime | None
    text: str = field(repr=False)


@dataclass(frozen=True)
class ContainerLog:
    """The log of one container; its lines are never shown."""

    pod: str
    container: str
    lines: Iterable[Line] = field(repr=False)


@dataclass(frozen=True)
class Finding:
    """How often one rule matched in one container's log, and when it did first."""

    pod: str
    container: str
    rule: str
    count: int
    firstAt: str | None  # noqa: N815 - the name in the ledger and the record


@dataclass(frozen=True)
class Report:
    """What was found, in how many logs, and whether time sufficed for all of them."""

    findings: tuple[Finding, ...]
    logs: int
    complete: bool


class Logs(Protocol):
    """The logs of the pods that a restart made."""

    def of_restart(
        self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
    ) -> Iterable[ContainerLog]:
        """Every container of every pod that carries the stamp, from `since` on."""


def of_services(
    logs: Logs, services: Sequence[str], stamp: Stamp, since: datetime
) -> Iterator[ContainerLog]:
    """The logs of every service's new pods, one after the other."""
    for service in services:
        yield from logs.of_restart(service, stamp, since)


def read(
    logs: Iterable[ContainerLog], watch: Callable[[], float], seconds: float = READ_SECONDS
) -> Report:
    """Search logs until they or the time are through. Raises KeyErrorsInLogs on a fatal finding."""
    end, count, found, complete = watch() + seconds, 0, [], True
    for log in logs:
        if watch() > end:
            complete = False
            break
        count += 1
        found += search(log)
    refuse_fatal(found)
    return Report(tuple(found), count, complete)


def refuse_fatal(findings: Sequence[Finding]) -> None:
    """Raise KeyErrorsInLogs where a pod says that it has no usable key."""
    fatal = [finding for finding in findings if finding.rule in FATAL]
    if fatal:
        places = ", ".join(f"{f.pod}/{f.container}: {f.rule} x{f.count}" for f in fatal)
        raise errors.KeyErrorsInLogs(
            f"New pods cannot use their key ({places}). See how the Deployment injects it:"
            " kubectl get deployment -o yaml; kubectl logs -p"
        )


def search(log: ContainerLog) -> list[Finding]:
    """Count each rule's matches in one log. Pure but for reading the lines."""
    matched: dict[str, list[datetime | None]] = {}
    for line in log.lines:
        for rule, shape in {**FATAL, **COUNTED}.items():
            if shape.search(line.text):
                matched.setdefault(rule, []).append(line.at)
    return [
        Finding(log.pod, log.container, rule, len(stamps), _first(stamps))
        for rule, stamps in matched.items()
    ]


def _first(stamps: Sequence[datetime | None]) -> str | None:
    known = [stamp for stamp in stamps if stamp is not None]
    return timestamp(min(known)) if known else None
