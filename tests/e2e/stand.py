"""A stack whose every external call is heard, those to Redis and to the services' URLs included."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from local import console
from local.stack import SESSION_DATABASE
from tests.e2e.call_faults import CallFaults
from tests.e2e.label_history import LabelHistory
from tests.e2e.relay import Relay, relays
from tests.e2e.site import Site, running_site

BYSTANDERS = {SESSION_DATABASE: ("sessions:1", "session", "cart:session:1"), 0: ("session:1",)}
CONSOLE, AUTH = console.REPLICAS


@dataclass(frozen=True)
class Stand:
    """A stack whose every external call is heard."""

    site: Site
    faults: CallFaults
    history: LabelHistory


@contextlib.contextmanager
def running_stand() -> Iterator[Stand]:
    """Start such a stack, with bystanders in its Redis that no rotation may delete."""
    with contextlib.ExitStack() as parts:
        to_redis, to_console, to_auth = between = parts.enter_context(relays(3))
        health = [f"http://127.0.0.1:{relay.port}/healthz" for relay in (to_console, to_auth)]
        parameters = {
            "RedisUrl": f"redis://127.0.0.1:{to_redis.port}/{SESSION_DATABASE}",
            "HealthUrls": ",".join(health),
            "LoginUrl": f"http://127.0.0.1:{to_auth.port}/login",
        }
        patches = parts.enter_context(pytest.MonkeyPatch.context())
        site = parts.enter_context(running_site(parameters=parameters))
        _join(site, *between)
        faults = CallFaults(site, patches)
        for relay in between:
            relay.judge = faults.fate
        site.stack.functions._async_retry_seconds = (0.2, 0.2)
        stand = Stand(site, faults, LabelHistory.of(site, patches))
        _store_bystanders(site)
        yield stand


def _join(site: Site, to_redis: Relay, to_console: Relay, to_auth: Relay) -> None:
    to_redis.target = (site.stack.redis.host, site.stack.redis.port)
    for relay, name in ((to_console, CONSOLE), (to_auth, AUTH)):
        address = urlsplit(site.stack.urls[name])
        relay.target = (str(address.hostname), address.port or 0)


def _store_bystanders(site: Site) -> None:
    for database, names in BYSTANDERS.items():
        with site.stack.redis.client(database) as client:
            for name in names:
                client.set(name, "-")
