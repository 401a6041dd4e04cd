"""Every external call of a rotation fails once, and the rotation ends as if it had not.

The calls are heard in one good run of each story: a scheduled run, an emergency that a finding
starts, and a scheduled run that turns back. Each is then made to fail before it took effect and
after (its answer is lost); a call that changes something in AWS is also sent again by the SDK. One
run takes one fault of each function and of each channel.

A read that is lost on its way and one whose answer is lost are the same to whoever reads: here they
take turns from call to call. With KEYTURN_FULL_MATRIX=1 each read is lost both ways, in twice as
many runs.

A tenth of the runs of each story are always made, and all of them with `make test FULL=1`.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from keyturn.secret import key
from tests.choice import cases
from tests.e2e import findings, outages
from tests.e2e.call_faults import Fate, Fault
from tests.e2e.interruptions import PREFLIGHT, Call
from tests.e2e.key_forms import found, pieces_of
from tests.e2e.rotation_calls import invoke
from tests.e2e.site import Ended, Site
from tests.e2e.stand import BYSTANDERS, Stand, running_stand
from tests.e2e.watch_looks import daily_look

FULL = os.environ.get("KEYTURN_FULL_MATRIX") == "1"
AWS_WRITES = {
    "PutSecretValue", "UpdateSecretVersionStage", "StartExecution", "RotateSecret",
    "Publish", "PutEvents", "PutObject",
}  # fmt: skip
CHANNELS = {"Publish", "PutEvents"}
OTHER_WRITES = {"patch secrets", "patch deployments", "redis EVAL", "redis UNLINK"}
CONNECTING = {"redis CLIENT", "redis SELECT"}  # a new environment's first words to Redis
STATES_OF_OTHERS = {"PurgeBeforeRestart": "PurgeSessions", "MarkExposed": "DeliverKey"}
# Asked where an execution has ended already; nobody repeats the event that a test repeats.
OF_A_REPEATED_EVENT = {
    Call("finishSecret", "DescribeExecution"),
    Call("WatchKey", "DescribeExecution"),
    Call("WatchKey", "GetExecutionHistory"),
}
# The cluster's authority is kept for a minute: which call reads it changes from run to run. What a
# read that fails does is in tests/unit/test_certificate_authorities.py.
OF_AUTHORITIES = {
    Call(function, "GetSecretValue")
    for function in ("RestartService", "CheckRollout", "ValidateRotation")
}
SESSIONS = 20


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with running_stand() as stand:
        yield stand


# The stories


def scheduled(site: Site) -> str:
    return site.rotate()


def emergency(site: Site) -> str:
    site.forget_findings()
    known = {*site.stack.labels()}
    findings.put(site, findings.finding())
    return site.stack.wait_for_rotation(known)


def restored(site: Site) -> str:
    """The login breaks before it is looked at, and works again when the run turns back."""
    broken = contextlib.ExitStack()

    def happen() -> None:
        broken.enter_context(outages.login_broken(site))

    site.interruptions.before("ValidateRotation", "DescribeSecret", happen)
    site.interruptions.before("RestorePreviousKey", "DescribeSecret", broken.close)
    return site.rotate()


PARTS = 20  # of the runs of a story
STORIES = {
    "scheduled": (scheduled, "succeeded"),
    "emergency": (emergency, "succeeded"),
    "restored": (restored, "rolled-back"),
}


@dataclass(frozen=True)
class Told:
    """A story to its end: what it began with, and how the run ended."""

    rotation_id: str
    previous: str
    ended: Ended
    log: str


def tell(stand: Stand, story: str) -> Told:
    site = stand.site
    site.add_sessions(SESSIONS)
    previous, lines = site.current(), len(site.log)
    rotation_id = STORIES[story][0](site)
    site.promoted(rotation_id)
    ended = site.end(rotation_id)
    return Told(rotation_id, previous, ended, "\n".join(site.log[lines:]))


@pytest.fixture(scope="module")
def faults_of(stand: Stand) -> dict[str, list[Fault]]:
    """Every fault of each story, in the order of the calls of a good run."""
    found: dict[str, list[Fault]] = {}
    for story in STORIES:
        stand.faults.listen()
        told = tell(stand, story)
        see_that_all_is_well(stand, story, told)
        found[story] = list(_faults(stand.faults.calls))
    before_the_turn = {fault.call for fault in found["scheduled"]}
    found["restored"] = [one for one in found["restored"] if one.call not in before_the_turn]
    return found


def _faults(calls: Sequence[Call]) -> Iterator[Fault]:
    for number, call in enumerate(calls):
        if call in OF_A_REPEATED_EVENT | OF_AUTHORITIES:
            continue
        fates = [Fate.BEFORE, Fate.AFTER]
        if call.operation in AWS_WRITES:
            fates.append(Fate.RESENT)
        elif call.operation not in OTHER_WRITES and not FULL:
            fates = fates[number % 2 :][:1]
        yield from (Fault(call, fate) for fate in fates)


def rounds(faults: Sequence[Fault]) -> Iterator[list[Fault]]:
    """The faults of each run: one of each function, and one of each channel.

    A channel that is silent stops nothing, and what is lost there is not sent again: a run in which
    each of its messages is lost leaves nothing to look for keys in.
    """
    left = list(faults)
    while left:
        taken: dict[str, Fault] = {}
        channels: set[str] = set()
        for fault in left:
            # A fault of the preflight is one of setSecret: Secrets Manager tries so often, no more.
            function = {PREFLIGHT: "setSecret"}.get(fault.call.function, fault.call.function)
            channel = {fault.call.operation} & CHANNELS
            if function not in taken and not channel & channels:
                taken[function] = fault
                channels |= channel
        left = [fault for fault in left if fault not in taken.values()]
        yield list(taken.values())


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", cases(range(PARTS), {0}))
@pytest.mark.parametrize("story", STORIES)
def test_a_call_that_fails_once_changes_nothing_about_how_a_rotation_ends(
    stand: Stand, faults_of: dict[str, list[Fault]], story: str, part: int
) -> None:
    problems = {}
    for faults in list(rounds(faults_of[story]))[part::PARTS]:
        if problem := problem_with(stand, story, faults):
            problems[", ".join(map(str, faults))] = problem
            assert stand.site.settle(), problems
    assert problems == {}


def problem_with(stand: Stand, story: str, faults: list[Fault]) -> str:
    """Tell the story with these faults; what was wrong with its end, '' if nothing."""
    for fault in faults:
        if fault.call.operation in CONNECTING:
            function = STATES_OF_OTHERS.get(fault.call.function, fault.call.function)
            stand.site.interruptions.kill_environments(function)
    stand.faults.order(*faults)
    wrong = ""
    try:
        see_that_all_is_well(stand, story, tell(stand, story))
    except AssertionError as problem:
        wrong = str(problem)
    left = [one for one in stand.faults.withdraw() if not may_be_another_s(story, str(one))]
    return wrong or (f"did not happen: {left}" if left else "")


def may_be_another_s(story: str, fault: str) -> bool:
    """Whether a call may come while another state works than in the run that was heard.

    Redis and the health URLs are not told who calls, so that the state counts; in an emergency the
    preflight makes its calls beside the run. What reaches Redis during setSecret is of the
    preflight, and any of its functions may be the first to connect.
    """
    of_the_preflight = fault.startswith("setSecret: redis ")
    beside = story == "emergency" and fault.partition(": ")[2].startswith(("redis ", "GET "))
    return of_the_preflight or beside


def see_that_all_is_well(stand: Stand, story: str, told: Told) -> None:
    site, rotation_id, outcome = stand.site, told.rotation_id, STORIES[story][1]
    record = site.record(rotation_id)
    assert (record["outcome"], record["rotationId"]) == (outcome, rotation_id), told.ended
    assert told.ended.status == ("SUCCEEDED" if outcome == "succeeded" else "FAILED")
    held = rotation_id if outcome == "succeeded" else told.previous
    assert site.current() == held
    promoted = site.document(held)[key.FIELD]
    assert site.delivered() == promoted
    assert set(site.keys_in_use()) == {promoted}
    assert site.sessions() == frozenset()
    see_the_labels(stand, story, told)
    for database, names in BYSTANDERS.items():
        with site.stack.redis.client(database) as client:
            assert client.exists(*names) == len(names)
    see_no_key(stand, told)
    see_that_a_repeated_event_adds_nothing(site, rotation_id)


def see_the_labels(stand: Stand, story: str, told: Told) -> None:
    """One valid current version at every moment, one new version, no way back to a lost one."""
    labels, moved = stand.site.stack.labels(), stand.history.current
    assert stand.history.wrongs == []
    expected = [told.previous, told.rotation_id, *([told.previous] if story == "restored" else [])]
    assert moved[-len(expected) :] == expected
    assert moved.count(told.rotation_id) == 1
    assert [version for version, held in labels.items() if "AWSPENDING" in held] == []
    assert (told.previous in labels) is (story != "emergency")


def see_no_key(stand: Stand, told: Told) -> None:
    """Neither key of the run is in what the run has said."""
    site, rotation_id = stand.site, told.rotation_id
    keys = [stand.history.keys[version] for version in (told.previous, rotation_id)]
    said = [
        told.log,
        repr(site.history(rotation_id)),
        repr(site.report(rotation_id)),
        repr(site.record(rotation_id)),
        repr(site.mailboxes.messages(rotation_id)),
        repr(site.mailboxes.events(rotation_id)),
    ]
    pieces = {piece for text in keys for piece in pieces_of(text)}
    assert min(map(len, said)) > 300
    assert [found(pieces, text) for text in said] == [set()] * len(said)


def see_that_a_repeated_event_adds_nothing(site: Site, rotation_id: str) -> None:
    before, runs = site.snapshot(), site.executions()
    event = {"Step": "finishSecret", "SecretId": site.stack.secret_arn}
    if site.current() == rotation_id:
        assert "errorType" not in invoke(site, {**event, "ClientRequestToken": rotation_id})
    else:
        again = invoke(site, {**event, "ClientRequestToken": rotation_id})
        assert again["errorType"] == "RequestRefused"
    assert [one for one in daily_look(site) if "started" in one] == []
    assert (site.snapshot(), site.executions()) == (before, runs)
    assert runs.count(f"rot-{rotation_id}") == 1
