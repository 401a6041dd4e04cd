"""Prove that users can log in with the new key.

Three proofs: every health URL answers 200; the login URL answers 2xx, or redirects to an allowed
host; every existing pod belongs to this run's restart, and none of them has a decisive key error
(see `log_report`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from keyturn import errors
from keyturn.run.ledger import ValidateRotationEntry
from keyturn.sessions.store import map_concurrently
from keyturn.validation.log_report import Report

HOST = re.compile(
    r"(?=.{1,253}(:|$))[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?|\[[0-9a-f:.]{2,45}\](:\d{1,5})?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """The response of a URL. `location` is the target of a redirect."""

    url: str
    status: int
    location: str = ""


class Web(Protocol):
    """Requests a URL without following redirects."""

    def look(self, url: str) -> Answer:
        """Raises ServiceUnhealthy if there is no response."""


def check_health(web: Web, urls: Sequence[str]) -> list[Answer]:
    """Verify that every health URL answers 200. Raises ServiceUnhealthy with all that do not."""

    def look(url: str) -> Answer | errors.ServiceUnhealthy:
        try:
            return web.look(url)
        except errors.ServiceUnhealthy as silent:
            return silent

    looks = map_concurrently(look, urls)  # a slow one does not delay the others
    answers = [answer for answer in looks if isinstance(answer, Answer)]
    sick = [
        f"{answer.url} answers {answer.status}, not 200."
        if isinstance(answer, Answer)
        else str(answer)
        for answer in looks
        if not (isinstance(answer, Answer) and answer.status == 200)
    ]
    if sick:
        raise errors.ServiceUnhealthy(f"{' '.join(sick)} Repair the service, then rotate again.")
    return answers


def check_login(web: Web, url: str, allowed_hosts: Sequence[str]) -> Answer:
    """Verify that the login URL answers.

    Raises ServiceUnhealthy for 5xx, LoginBroken for other failures.
    """
    answer = web.look(url)
    if answer.status >= 500:
        raise errors.ServiceUnhealthy(f"The login URL {url} answers {answer.status}.")
    problem = login_problem(answer, allowed_hosts)
    if problem:
        raise errors.LoginBroken(
            f"The login URL {url} {problem}."
            " Open the URL in a browser, and check LoginUrl and LoginRedirectHosts."
        )
    return answer


def login_problem(answer: Answer, allowed_hosts: Sequence[str]) -> str | None:
    """The problem with a login URL's response, if any. Pure."""
    if 200 <= answer.status < 300:
        return None
    if not 300 <= answer.status < 400:
        return f"answers {answer.status}"
    try:
        parts = urlsplit(answer.location.replace("\\", "/"))  # as browsers read it
    except ValueError:
        return "redirects to an invalid URL"
    if not parts.netloc and parts.path.startswith("/"):
        return None
    if parts.netloc not in allowed_hosts:
        return (
            f"redirects to {quotable_host(parts.netloc)}, which LoginRedirectHosts does not allow"
        )
    return None


def quotable_host(netloc: str) -> str:
    """The host of a redirect, chosen by the server, in a form that may be quoted. Pure.

    A host and its port in their strict forms; never a user or a password.
    """
    user, _, host = netloc.rpartition("@")
    if not host:
        return "nowhere"
    if not HOST.fullmatch(host):
        return "a host whose name is malformed"
    return f"{host} with a user in the URL" if user else host


def validation_entry(
    health: Sequence[Answer], login: Answer, logs: Report
) -> ValidateRotationEntry:
    """The ledger's entry: the facts that make the rotation proven."""
    return {
        "health": [{"url": answer.url, "status": answer.status} for answer in health],
        "login": {"url": login.url, "status": login.status},
        "logs": logs.as_entry(),
    }
