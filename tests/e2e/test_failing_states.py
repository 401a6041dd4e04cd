"""A run whose function fails for good at one of its states, in either mode, and who mends it.

The function's role has lost a permission, which no retry brings back. Each run ends with a record
that says so, the daily watch tells of a key that no run has carried, and once the permission is
back the same run, started once more, completes the rotation or finds itself turned back.
"""

from collections.abc import Callable, Iterator

import pytest
from _pytest.mark import ParameterSet

from keyturn.secret import key
from tests.choice import cases
from tests.e2e.site import Site
from tests.e2e.stories import MODES, misroute, route, tell
from tests.e2e.watch_looks import daily_look

DENIED = "AccessDeniedException"
FIRST_CALL = "DescribeSecret"  # every state looks at the labels first
STATES = [
    "BeginRotation", "PurgeBeforeRestart", "MarkExposed", "DeliverKey", "RestartService",
    "CheckRollout", "ConfirmDelivery", "PurgeSessions", "ValidateRotation", "RestorePreviousKey",
]  # fmt: skip
ONLY_IN = {
    "PurgeBeforeRestart": "emergency",
    "MarkExposed": "emergency",
    "RestorePreviousKey": "scheduled",
}
SERVED_BY = {"PurgeBeforeRestart": "PurgeSessions", "MarkExposed": "DeliverKey"}


def deny(site: Site, function: str) -> Callable[[], None]:
    return lambda: site.interruptions.refuse(function, FIRST_CALL, code=DENIED)


def deny_at(site: Site, state: str, mode: str) -> None:
    """Deny a state its first call; a function that serves two states, once it is at the second."""
    if state == "ConfirmDelivery":
        site.interruptions.before("CheckRollout", FIRST_CALL, deny(site, "DeliverKey"))
    elif state == "PurgeSessions" and mode == "emergency":
        site.interruptions.before("CheckRollout", FIRST_CALL, deny(site, "PurgeSessions"))
    elif state == "DeliverKey" and mode == "emergency":
        last = "UpdateSecretVersionStage"  # with which MarkExposed has looked at the labels
        site.interruptions.before("DeliverKey", last, deny(site, "DeliverKey"))
    elif state == "RestorePreviousKey":
        site.interruptions.before("ValidateRotation", FIRST_CALL, lambda: misroute(site))
        site.interruptions.refuse(state, FIRST_CALL, code=DENIED)
    else:
        function = SERVED_BY.get(state, state)
        site.interruptions.refuse(function, FIRST_CALL, code=DENIED)


def runs() -> Iterator[ParameterSet]:
    """Mode, state, and how the run has to end: each fourth state always in one mode, in turns."""
    for number, state in enumerate(STATES):
        modes = [mode for mode in MODES if ONLY_IN.get(state, mode) == mode]
        for mode in modes:
            always = number % 4 == 0 and mode == modes[number // 4 % len(modes)]
            marks = [] if always else [pytest.mark.exhaustive]
            yield pytest.param(mode, state, outcome_of(mode, state), marks=marks)


def outcome_of(mode: str, state: str) -> str:
    if mode == "scheduled":
        return "failed" if state in {"PurgeSessions", "RestorePreviousKey"} else "rolled-back"
    # Sessions end after the restart too, and nothing waits for the announcement.
    return "succeeded" if state in {"BeginRotation", "PurgeBeforeRestart"} else "failed"


@pytest.mark.parametrize(("mode", "state", "outcome"), list(runs()))
def test_a_run_that_is_denied_ends_with_a_record_and_can_be_completed(
    module_site: Site, mode: str, state: str, outcome: str
) -> None:
    site = module_site
    deny_at(site, state, mode)
    told = tell(site, MODES[mode])
    route(site)
    assert site.interruptions.clear() == []
    assert told.record["outcome"] == outcome, told.record
    assert told.ended.status == ("SUCCEEDED" if outcome == "succeeded" else "FAILED")
    stays = outcome != "rolled-back"
    assert site.current() == (told.rotation_id if stays else told.previous)
    if mode == "emergency":
        assert (told.previous in site.stack.labels()) is (state == "MarkExposed")
        assert site.sessions() == frozenset()
    concerns = [one["concern"] for one in daily_look(site)]
    exposed = mode == "emergency" and site.delivered() == told.old_key
    assert exposed == ((mode, state) == ("emergency", "DeliverKey"))
    expected = ["RUN_ENDED"] * (outcome == "failed") + ["EXPOSED_KEY_DELIVERED"] * exposed
    assert concerns == expected
    again = site.run_again(told.rotation_id)
    assert again.output["outcome"] == ("succeeded" if stays else "superseded"), again
    assert mode == "scheduled" or told.previous not in site.stack.labels()
    carried = site.document()[key.FIELD]
    assert site.delivered() == carried
    assert set(site.keys_in_use()) == {carried}
    assert daily_look(site) == []


@pytest.mark.parametrize("mode", cases(MODES, {"emergency"}))
def test_a_run_whose_record_is_denied_reports_that_it_is_not_recorded(
    module_site: Site, mode: str
) -> None:
    site = module_site
    site.interruptions.refuse("FinishRotation", "PutObject", code="AccessDenied")
    rotation_id = MODES[mode](site)
    site.promoted(rotation_id)
    ended = site.end(rotation_id)
    assert (ended.status, ended.error) == ("FAILED", "AccessDenied")
    assert site.delivered() == site.document(rotation_id)[key.FIELD]
    assert site.mailboxes.messages(rotation_id)[-1]["Subject"]
    assert [one["concern"] for one in daily_look(site)] == ["RUN_ENDED"]
    again = site.run_again(rotation_id)
    assert (again.output["outcome"], site.record_of(again)["outcome"]) == ("succeeded",) * 2
