"""The demo's account of a rotation: each claim is looked up, and a false one fails the demo."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyturn.reporting.wording import count_of
from local import console
from local.checks import Claim
from local.stack import RECORD_BUCKET, SESSION_DATABASE, LocalStack
from local.traffic import VisitorsReport
from local.users import can_open_page, log_in_once


@dataclass(frozen=True)
class Evidence:
    """What the claims are checked against, besides the stack itself; pods are uids."""

    record: Mapping[str, Any]
    old_version: str
    old_pods: frozenset[str]
    old_cookies: Sequence[str]
    visitors: VisitorsReport


def take_account(stack: LocalStack, evidence: Evidence) -> list[Claim]:
    """Look every claim up, in the order in which a reader wants them."""
    checks: list[Callable[[LocalStack, Evidence], Claim]] = [
        _pods_replaced,
        _sessions_ended,
        _old_session_refused,
        _new_login_works,
        _visitors_served,
        _record_kept,
    ]
    delivered = stack.place.claims(evidence.record, stack.first_key.fingerprint)
    found = [check(stack, evidence) for check in checks]
    return [_promoted(stack, evidence), *delivered, *found]


def _promoted(stack: LocalStack, evidence: Evidence) -> Claim:
    labels, new = stack.labels(), evidence.record["rotationId"]
    emergency = evidence.record["mode"] == "emergency"
    kept = [] if emergency else ["AWSPREVIOUS"]
    holds = labels.get(new) == ["AWSCURRENT"] and labels.get(evidence.old_version, []) == kept
    told = ", and nobody can go back" if emergency else ""
    return Claim(f"AWSCURRENT is {new}, key {evidence.record['fingerprints']['new']}{told}", holds)


def _pods_replaced(stack: LocalStack, evidence: Evidence) -> Claim:
    services = evidence.record["services"]
    before = sum(service["podsBefore"] for service in services)
    after = sum(service["podsAfter"] for service in services)
    now = {pod["metadata"]["uid"] for name in console.REPLICAS for pod in stack.pods(name)}
    counted = (before, after) == (len(evidence.old_pods), len(now))
    holds = counted and not evidence.old_pods & now and after == sum(console.REPLICAS.values())
    gone = count_of(before, "old pod is", "old pods are")
    return Claim(f"{gone} gone, {count_of(len(now), 'new one runs', 'new ones run')}", holds)


def _sessions_ended(stack: LocalStack, evidence: Evidence) -> Claim:
    sessions = evidence.record["sessions"]
    with stack.redis.client(SESSION_DATABASE) as client:
        still = sum(
            client.exists(
                *(f"session:{cookie}" for cookie in evidence.old_cookies[start : start + 1000])
            )
            for start in range(0, len(evidence.old_cookies), 1000)
        )
    holds = still == sessions["left"] == 0 and sessions["deleted"] == sessions["before"]
    first = sessions["endedFirst"] or 0
    holds = holds and sessions["deleted"] + first > 0
    ended_first = f"{first:,} ended first, then " if first else ""
    return Claim(
        f"sessions: {ended_first}{sessions['before']:,} before, {sessions['deleted']:,} deleted,"
        f" {sessions['left']} left, {sessions['createdSince']} new since",
        holds,
    )


def _old_session_refused(stack: LocalStack, evidence: Evidence) -> Claim:
    opened = can_open_page(stack.urls["web-console"], evidence.old_cookies[-1])
    return Claim("an old session is refused", not opened)


def _new_login_works(stack: LocalStack, _evidence: Evidence) -> Claim:
    cookie = log_in_once(stack.urls["web-console"])
    return Claim("a new login works", can_open_page(stack.urls["web-console"], cookie))


def _visitors_served(_stack: LocalStack, evidence: Evidence) -> Claim:
    seen = evidence.visitors
    mixed = f", {count_of(seen.login_loops, 'login')} met both keys" if seen.login_loops else ""
    reasons = "".join(f"; {failure.reason}" for failure in seen.failures[:3])
    return Claim(
        f"visitors: {count_of(seen.pages, 'page')} served, {count_of(seen.logged_out, 'time')}"
        f" logged out{mixed}, {count_of(seen.failed, 'request')} failed otherwise{reasons}",
        seen.failed == 0 and seen.logged_in_again > 0,
    )


def _record_kept(stack: LocalStack, evidence: Evidence) -> Claim:
    key = f"rotations/{evidence.record['rotationId']}.json"
    listed = stack.cloud.client("s3").list_objects_v2(Bucket=RECORD_BUCKET, Prefix=key)
    return Claim(f"the record is kept: {key}", listed["KeyCount"] == 1)
