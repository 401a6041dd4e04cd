"""Prove that users can log in with the new key.

Three proofs: every health URL answers 200; the login URL answers 2xx, or redirects to an allowed
host; the logs of the new pods hold no fatal key error. "Cannot decrypt" about an old cookie is what
a rotation does to old sessions: it is counted and never fatal. Matched lines stay in the function;
only the pod, the container, the rule and the count leave it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from keyturn import errors

FATAL = {
    "key-not-set": re.compile(r"SESSION_ENCRYPTION_KEY\b.*\bnot set", re.IGNORECASE),
    "key-not-32-bytes": re.compile(r"must decode to 32 bytes", re.IGNORECASE),
}
COUNTED = {
    "old-session": re.compile(r"(could not|cannot|failed to) decrypt", re.IGNORECASE),
}


@dataclass(frozen=True)
class Answer:
    """What a URL answered. `location` is where a redirect leads."""

    url: str
    status: int
    location: str = ""


@dataclass(frozen=True)
class Finding:
    """How often one rule matched in one container's log."""

    pod: str
    container: str
    rule: str
    count: int


@dataclass(frozen=True)
class ContainerLog:
    """The log of one container; `lines` may hold anything and is never shown."""

    pod: str
    container: str
    lines: Iterable[str]


class Web(Protocol):
    """Looks at a URL without following redirects."""

    def look(self, url: str) -> Answer:
        """Raises ServiceUnhealthy where nothing answers."""


class Logs(Protocol):
    """The logs of the pods that run a key version."""

    def of_version(self, service: str, version: str, since: datetime) -> Iterable[ContainerLog]:
        """Every container of every pod of that version, from `since` on."""


def check_health(web: Web, urls: Sequence[str]) -> list[Answer]:
    """See every health URL answer 200. Raises ServiceUnhealthy that names all that do not."""
    answers, sick = [], []
    for url in urls:
        try:
            answer = web.look(url)
        except errors.ServiceUnhealthy as silent:
            sick.append(str(silent))
            continue
        answers.append(answer)
        if answer.status != 200:
            sick.append(f"{url} answers {answer.status}, not 200.")
    if sick:
        raise errors.ServiceUnhealthy(f"{' '.join(sick)} See to the service, then rotate again.")
    return answers


def check_login(web: Web, url: str, allowed_hosts: Sequence[str]) -> Answer:
    """See the login URL answer. Raises ServiceUnhealthy for 5xx, LoginBroken for the rest."""
    answer = web.look(url)
    if answer.status >= 500:
        raise errors.ServiceUnhealthy(f"The login URL {url} answers {answer.status}.")
    problem = login_problem(answer, allowed_hosts)
    if problem:
        raise errors.LoginBroken(
            f"The login URL {url} {problem}. The new key is in place and sessions are purged."
            " Open the URL in a browser, and check LoginUrl and LoginRedirectHosts."
        )
    return answer


def login_problem(answer: Answer, allowed_hosts: Sequence[str]) -> str | None:
    """What is wrong with a login URL's answer, if anything. Pure."""
    if 200 <= answer.status < 300:
        return None
    if not 300 <= answer.status < 400:
        return f"answers {answer.status}"
    try:
        host = urlsplit(answer.location).netloc
    except ValueError:
        return "redirects to what is not a URL"
    if not host and answer.location.startswith("/"):
        return None
    if host not in allowed_hosts:
        return f"redirects to {host or 'nowhere'}, which LoginRedirectHosts does not allow"
    return None


def read_logs(logs: Logs, services: Sequence[str], version: str, since: datetime) -> list[Finding]:
    """Search the new pods' logs. Raises KeyErrorsInLogs on a fatal finding."""
    found = [
        finding
        for service in services
        for log in logs.of_version(service, version, since)
        for finding in search(log)
    ]
    fatal = [finding for finding in found if finding.rule in FATAL]
    if fatal:
        places = ", ".join(f"{f.pod}/{f.container}: {f.rule} x{f.count}" for f in fatal)
        raise errors.KeyErrorsInLogs(
            f"New pods log key errors ({places}). They run, and cannot read their key."
            " Check how the Deployment injects it."
        )
    return found


def search(log: ContainerLog) -> list[Finding]:
    """Count each rule's matches in one log. Pure but for reading the lines."""
    counts: Counter[str] = Counter()
    for line in log.lines:
        counts.update(rule for rule, shape in {**FATAL, **COUNTED}.items() if shape.search(line))
    return [Finding(log.pod, log.container, rule, count) for rule, count in counts.items()]


def as_entry(
    health: Sequence[Answer], login: Answer, findings: Sequence[Finding]
) -> dict[str, Any]:
    """The ledger's entry: the facts that make the rotation proven."""
    return {
        "health": [{"url": answer.url, "status": answer.status} for answer in health],
        "login": {"url": login.url, "status": login.status},
        "logs": [asdict(finding) for finding in findings],
    }
