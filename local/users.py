"""The users of the local stack, who log in as people do: over HTTP, through the whole OAuth2 flow.

Thousands log in so within seconds. Above `over_http` of them, the rest of the sessions are made by
the auth service's own code and written to Redis in pipelines; the result says how many came which
way. `local.traffic` are the users who stay and keep requesting pages.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.browser import Browser
from local.http_client import HttpClient
from local.services.auth_service import session_of
from local.services.oauth2_provider import new_tokens
from local.services.session_store import (
    SESSION_SECONDS,
    SessionCipher,
    new_session_id,
    redis_key,
    redis_value,
)

if TYPE_CHECKING:
    from redis import Redis

OVER_HTTP = 2000
CONCURRENT_LOGINS = 16
PIPELINE_SESSIONS = 500

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Bulk:
    """What it takes to write sessions straight to Redis.

    A client of the sessions' database, and the 32 bytes of the session key.
    """

    redis: "Redis"
    key: bytes

    def __repr__(self) -> str:
        return "Bulk(...)"


@dataclass(frozen=True, slots=True)
class Logins:
    """The session cookies of those who logged in, and how many came which way.

    The cookies of the logins over HTTP come first.
    """

    cookies: list[str]
    over_http: int
    bulk: int


def log_in(
    count: int,
    console_url: str,
    *,
    bulk: Bulk | None = None,
    over_http: int = OVER_HTTP,
    on_progress: Progress | None = None,
) -> Logins:
    """Log in `count` users, those above `over_http` through `bulk`.

    `on_progress` gets the number of users logged in so far, now and then. Raises
    `UnexpectedAnswerError` at the first login that fails, and `ValueError` if `bulk` is needed and
    not given.
    """
    through_http = min(count, over_http)
    if through_http < count and bulk is None:
        raise ValueError(f"{count} users need bulk: only {over_http} log in over HTTP")
    report = on_progress or (lambda _: None)
    cookies = asyncio.run(_log_in_over_http(through_http, console_url, report))
    if bulk:
        for written in _write(count - through_http, bulk):
            cookies += written
            report(len(cookies))
    return Logins(cookies, over_http=through_http, bulk=count - through_http)


def log_in_once(console_url: str, user: str = "demo-user") -> str:
    """Log in one user and return the session cookie; raises `UnexpectedAnswerError`."""

    async def log_in_one() -> str:
        async with HttpClient() as http:
            return await Browser(http, console_url, user=user).log_in()

    return asyncio.run(log_in_one())


def can_open_page(console_url: str, cookie: str) -> bool:
    """Whether this cookie opens the console's page; False if the user is asked to log in.

    Raises `UnexpectedAnswerError` for any other answer.
    """

    async def open_one() -> bool:
        async with HttpClient() as http:
            return await Browser(http, console_url, user="demo-user", cookie=cookie).open_page()

    return asyncio.run(open_one())


async def _log_in_over_http(count: int, console_url: str, report: Progress) -> list[str]:
    cookies: list[str] = []
    numbers = iter(range(count))

    async def log_in_some(http: HttpClient) -> None:
        for number in numbers:  # shared: each number goes to whichever task is free
            cookies.append(await Browser(http, console_url, user=f"user-{number}").log_in())
            report(len(cookies))

    async with HttpClient() as http:
        tasks = [asyncio.create_task(log_in_some(http)) for _ in range(CONCURRENT_LOGINS)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return cookies


def _write(count: int, bulk: Bulk) -> Iterator[list[str]]:
    """Write `count` sessions; gives the ids of each pipeline as it is done."""
    cipher = SessionCipher(bulk.key)
    for start in range(0, count, PIPELINE_SESSIONS):
        ids = [new_session_id() for _ in range(min(PIPELINE_SESSIONS, count - start))]
        with bulk.redis.pipeline(transaction=False) as pipeline:
            for number, session_id in enumerate(ids, start):
                session = session_of(new_tokens(f"bulk-user-{number}"), now=time.time())
                value = redis_value(cipher, session_id, session)
                pipeline.set(redis_key(session_id), value, ex=SESSION_SECONDS)
            pipeline.execute()
        yield ids
