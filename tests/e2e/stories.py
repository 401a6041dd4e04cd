"""One rotation from its start to the end of its run, in either mode, and what was so before it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyturn.secret import key
from local.state_machines import locate
from tests.e2e import findings, outages
from tests.e2e.site import Ended, Site

SESSIONS = 20


def bare(site: Site) -> str:
    """A rotate-secret without a token that says anything."""
    return site.rotate(ClientRequestToken=str(uuid.uuid4()))


def planned(site: Site) -> str:
    return site.rotate(ClientRequestToken=f"planned-{uuid.uuid4()}")


def emergency(site: Site) -> str:
    return site.rotate(ClientRequestToken=f"emergency-{uuid.uuid4()}")


def finding(site: Site) -> str:
    known = {*site.stack.labels()}
    findings.put(site, findings.finding())
    return site.stack.wait_for_rotation(known)


MODES: dict[str, Callable[[Site], str]] = {"scheduled": planned, "emergency": emergency}


@dataclass(frozen=True)
class Told:
    """A run to its end, and what was so before it."""

    rotation_id: str
    previous: str
    old_key: str
    ended: Ended
    record: dict[str, Any]
    states: list[str]


def tell(site: Site, start: Callable[[Site], str]) -> Told:
    site.add_sessions(SESSIONS)
    previous, old_key = site.current(), site.document()[key.FIELD]
    rotation_id = start(site)
    site.promoted(rotation_id)
    ended = site.end(rotation_id)
    return Told(
        rotation_id, previous, old_key, ended, site.record(rotation_id), states(site, rotation_id)
    )


def states(site: Site, rotation_id: str) -> list[str]:
    """The states that a run has entered, in order."""
    found = locate(site.history(rotation_id))
    return [one.state for one in found if one.kind.endswith("StateEntered") and one.state]


def misroute(site: Site) -> None:
    outages._select(site, {"app": outages.CONSOLE})


def route(site: Site) -> None:
    outages._select(site, {"app": outages.AUTH})
