"""`local.demo_options`: what the demo is asked for, and what it answers to a wish that is none."""

from datetime import UTC, datetime, timedelta

import pytest

from keyturn.run import ledger
from local import demo, demo_options, faults, triggers
from local.key_sources import PLACES
from tests.every_case import every_case

EARLY = {"AnnounceEmergency", "PurgeBeforeRestart", "MarkExposed"}


def test_without_any_wish_it_is_the_scheduled_story_with_a_kubernetes_secret() -> None:
    found = demo_options.read({})
    assert (found.sessions, found.mode, found.delivery) == (2000, "scheduled", "kubernetes-secret")
    assert not found.real_cluster
    assert found.fault is None


@pytest.mark.parametrize("delivery", PLACES)
def test_a_delivery_that_is_refused_is_the_place_s_own(delivery: str) -> None:
    fault = demo_options.read({"DELIVERY": delivery, "FAIL": "delivery"}).fault
    assert fault
    assert (fault.says, fault.error) == PLACES[delivery].refusal


@every_case("delivery", PLACES)
@every_case("fault", [*faults.FAULTS, *faults.FAILURES])
def test_every_fault_goes_with_every_place_but_one(fault: str, delivery: str) -> None:
    named = {"FAIL" if fault in faults.FAILURES else "FAULT": fault, "DELIVERY": delivery}
    if fault in {"old-key-put-back", "hostile-checks"}:
        named["MODE"] = "emergency"
    if fault in {"key-crash", "old-key-put-back"} and delivery == "external-secrets":
        with pytest.raises(ValueError, match="External Secrets Operator mends that at once"):
            demo_options.read(named)
    else:
        assert demo_options.read(named).delivery == delivery


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            {"FAULT": "old-key-put-back"},
            (
                "FAULT=old-key-put-back is about a key that is marked as exposed, which an"
                " emergency does: give MODE=emergency or MODE=finding too."
            ),
        ),
        (
            {"FAULT": "hostile-checks"},
            "FAULT=hostile-checks is about what an emergency does not wait for; a scheduled",
        ),
        (
            {"DELIVERY": "pigeon"},
            "DELIVERY is one of kubernetes-secret, external-secrets, vault, not 'pigeon'.",
        ),
        ({"CLUSTER": "paper"}, "CLUSTER is emulated or real, not 'paper'."),
        ({"MODE": "sleepy"}, "MODE is one of scheduled, emergency, finding, not 'sleepy'."),
        ({"FAULT": "paused", "FAIL": "rollout"}, "FAULT and FAIL are two ways to say what goes"),
    ],
)
def test_a_wish_that_is_none_is_answered_in_a_sentence(
    named: dict[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, text in named.items():
        monkeypatch.setenv(variable, text)
    assert demo.main() == 2
    assert capsys.readouterr().err.startswith(says)


@every_case(
    ("named", "also"),
    [
        ({}, set()),
        ({"MODE": "emergency"}, EARLY),
        ({"DELIVERY": "vault"}, set()),
        ({"DELIVERY": "vault", "MODE": "emergency"}, {*EARLY, "DestroyExposedVersions"}),
        ({"FAIL": "rollout"}, {"RestorePreviousKey"}),
        ({"FAIL": "rollout", "MODE": "finding"}, EARLY),
        ({"FAULT": "paused"}, set()),
        ({"FAULT": "log-injection"}, set()),
    ],
)
def test_the_states_are_shown_that_such_a_run_can_enter(
    named: dict[str, str], also: set[str]
) -> None:
    states = demo_options.read(named).states
    assert {*states} - {*ledger.STEPS} == {*also, "FinishRotation"}
    assert states[-1] == "FinishRotation"


def test_a_stack_that_takes_minutes_to_start_is_there_before_the_window_opens() -> None:
    at = datetime.now(UTC)
    found = triggers.options("scheduled", at)
    hour = int(found["parameters"]["RotationSchedule"].split()[1])
    opens = at.replace(hour=hour, minute=0, second=0, microsecond=0)
    assert opens - found["clock"].now() > timedelta(minutes=5)
