"""What is true after a rotation that something went wrong with, looked up as after any other."""

from collections.abc import Mapping
from dataclasses import dataclass

from keyturn.reporting.wording import count_of
from local import console
from local.checks import Claim
from local.execution_tracker import NOT_PROMOTED, Ended
from local.faults import SERVICE, Fault
from local.stack import LocalStack
from local.users import can_open_page, log_in_once


@dataclass(frozen=True)
class Before:
    """How things were before the rotation."""

    labels: Mapping[str, list[str]]
    fingerprint: str
    pods: frozenset[str]
    cookie: str


def look(stack: LocalStack, cookie: str) -> Before:
    """How things are now; `cookie` is a session of a user who does nothing meanwhile."""
    return Before(stack.labels(), stack.delivered_fingerprint(), _pods(stack), cookie)


def take_account(
    stack: LocalStack, fault: Fault, mode: str, before: Before, ended: Ended
) -> list[Claim]:
    """Look up that the rotation ended as it has to, and that what it says is so."""
    stopped = Claim(f"the rotation stopped with {ended.error}", ended.error == fault.error)
    if fault.at is None:
        return [stopped, *_nothing_changed(stack, before)]
    if ended.status == NOT_PROMOTED:  # it stopped too early, at something else
        return [stopped]
    if mode != "scheduled":
        return [stopped, *_went_on(stack, before)]
    return [stopped, *_turned_back(stack, before, restored=fault.restored)]


def _nothing_changed(stack: LocalStack, before: Before) -> list[Claim]:
    current = _current(before.labels)
    held, pods = stack.delivered_fingerprint(), _pods(stack)
    opens = can_open_page(stack.urls[SERVICE], before.cookie)
    return [
        Claim(f"AWSCURRENT is still {current}", _current(stack.labels()) == current),
        Claim(f"{stack.place.title} still holds key {held}", held == before.fingerprint),
        Claim(f"the same {count_of(len(pods), 'pod runs', 'pods run')}", pods == before.pods),
        Claim("an old session still opens the page", opens),
    ]


def _turned_back(stack: LocalStack, before: Before, *, restored: bool) -> list[Claim]:
    current = _current(before.labels)
    failed = next(version for version in stack.labels() if version not in before.labels)
    record, held = stack.record(failed), stack.delivered_fingerprint()
    claims = [
        Claim(f"AWSCURRENT is {current} again", _current(stack.labels()) == current),
        Claim(f"{stack.place.title} holds key {held} again", held == before.fingerprint),
    ]
    if not restored:
        stuck = record["rollbackFailure"]
        says = f"the record says: {record['outcome']}, the rollback stopped at {stuck['step']}"
        return [*claims, Claim(says, record["outcome"] == "failed")]
    return [
        *claims,
        Claim(
            f"the record says: {record['outcome']} after {record['failure']['step']}",
            record["outcome"] == "rolled-back",
        ),
        _login_works(stack),
    ]


def _went_on(stack: LocalStack, before: Before) -> list[Claim]:
    labels, old = stack.labels(), _current(before.labels)
    current = _current(labels)
    record = stack.record(current)
    refused = not can_open_page(stack.urls[SERVICE], before.cookie)
    left, first = record["sessions"]["left"], record["sessions"]["endedFirst"]
    return [
        Claim(f"AWSCURRENT is the new version, {current}", current != old),
        Claim("the old version has no label: nobody goes back to it", not labels.get(old)),
        Claim(
            f"the record says: failed at {record['failure']['step']}", record["outcome"] == "failed"
        ),
        Claim(f"the sessions ended all the same: {first:,} first, {left} left", left == 0 < first),
        Claim("an old session is refused", refused),
    ]


def _login_works(stack: LocalStack) -> Claim:
    cookie = log_in_once(stack.urls[SERVICE])
    return Claim("a new login works", can_open_page(stack.urls[SERVICE], cookie))


def _current(labels: Mapping[str, list[str]]) -> str:
    return next(version for version, carried in labels.items() if "AWSCURRENT" in carried)


def _pods(stack: LocalStack) -> frozenset[str]:
    return frozenset(
        pod["metadata"]["uid"] for service in console.REPLICAS for pod in stack.pods(service)
    )
