"""What is the matter, from the versions, the runs, the schedule and the time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.monitoring import key_health, watch_trigger
from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Execution, Limits, Secret
from keyturn.monitoring.watch_trigger import WatchTrigger
from keyturn.secret.exposure import Mark
from keyturn.secret.staging_labels import Version
from keyturn.secret.trigger import Schedule
from tests.conftest import ARN, NEW, NOON, OLD
from tests.every_case import every_case

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PENDING = "22222222-2222-4222-8222-222222222222"
LIMITS = Limits(old=30 * DAY, too_old=90 * DAY, notice=48 * HOUR)
EVERY_DAY, ON_MOVE, OFTEN = (
    WatchTrigger("daily", NOON),
    WatchTrigger("moved", NOON),
    WatchTrigger("frequent", NOON),
)
YOUNG, LONG_AGO = NOON - timedelta(minutes=29), NOON - timedelta(minutes=30)


def version(name: str, created: datetime | None, *labels: str) -> Version:
    return Version(name, created, frozenset(labels))


def current(created: datetime, *more: str) -> Version:
    return version(NEW, created, "AWSCURRENT", *more)


def previous(created: datetime) -> Version:
    return version(OLD, created, "AWSPREVIOUS")


def run_of(name: str, status: str, started: datetime = NOON - HOUR, again: str = "") -> Execution:
    return Execution(f"rot-{name}{again}", f"arn:{name}{again}", status, started)


def secret(*versions: Version, **dates: Any) -> Secret:
    schedule = Schedule("cron(0 3 1,15 * ? *)", "2h", True, dates.get("next_rotation"))
    return Secret(versions, dates.get("changed"), schedule, marks=tuple(dates.get("marks", ())))


ROTATED = secret(current(NOON - HOUR), previous(NOON - DAY))


def concerns(
    seen: Secret, runs: list[Execution] | None = None, call: WatchTrigger = EVERY_DAY
) -> list[IssueKind]:
    return [issue.concern for issue in key_health.find_issues(seen, runs or [], LIMITS, call)]


BOTH = every_case("call", [EVERY_DAY, ON_MOVE, OFTEN])


# Whether the services have the key


@BOTH
@every_case("status", ["RUNNING", "SUCCEEDED", "PENDING_REDRIVE"])
def test_a_version_with_a_run_is_no_concern(status: str, call: WatchTrigger) -> None:
    assert concerns(ROTATED, [run_of(NEW, status)], call) == []


@BOTH
def test_a_version_that_no_run_has_carried_is_the_most_urgent_concern(call: WatchTrigger) -> None:
    (issue,) = key_health.find_issues(ROTATED, [run_of(OLD, "SUCCEEDED")], LIMITS, call)
    assert issue.concern is IssueKind.NOT_CARRIED
    assert (issue.version, issue.previous) == (NEW, OLD)
    assert issue.since == NOON - HOUR


@BOTH
def test_the_first_version_of_a_secret_came_with_the_services(call: WatchTrigger) -> None:
    assert concerns(secret(current(NOON - HOUR)), [], call) == []


@BOTH
def test_a_secret_without_a_current_version_is_not_judged(call: WatchTrigger) -> None:
    assert concerns(secret(version(NEW, NOON, "AWSPENDING")), [], call) == []


def test_runs_that_step_functions_has_forgotten_are_not_missing() -> None:
    """An execution is gone 90 days after its end: its version must not log users out again."""
    seen = secret(current(NOON - 80 * DAY), previous(NOON - 81 * DAY))
    assert concerns(seen, [], ON_MOVE) == []
    seen = secret(current(NOON - 79 * DAY), previous(NOON - 81 * DAY))
    assert concerns(seen, [], ON_MOVE) == [IssueKind.NOT_CARRIED]


@BOTH
def test_the_run_of_another_version_is_not_taken_for_that_of_the_current_one(
    call: WatchTrigger,
) -> None:
    longer = [run_of(f"{NEW}0", "SUCCEEDED"), run_of(OLD, "RUNNING")]
    assert concerns(ROTATED, longer, call) == [IssueKind.NOT_CARRIED]


@pytest.mark.parametrize(
    ("begun", "daily", "on_move"),
    [
        (YOUNG, [], []),
        (LONG_AGO, [IssueKind.NOT_CARRIED, IssueKind.STUCK], [IssueKind.NOT_CARRIED]),
        (None, [], []),
    ],
)
def test_nothing_is_started_while_a_rotation_is_under_way(
    begun: datetime | None, daily: list[IssueKind], on_move: list[IssueKind]
) -> None:
    seen = secret(
        *ROTATED.versions,
        version(PENDING, begun, "AWSPENDING"),
        changed=NOON - timedelta(minutes=1),
    )
    assert concerns(seen, [], EVERY_DAY) == daily
    assert concerns(seen, [], ON_MOVE) == on_move


@pytest.mark.parametrize("shared", [(), ("AWSPENDING",)], ids=["unlabelled", "still pending"])
def test_a_rotation_between_its_promotion_and_its_run_is_left_to_start_it(
    shared: tuple[str, ...],
) -> None:
    """Its function ends after two minutes; nothing that changes the secret makes it longer.

    Whether AWSPENDING stays after the promotion is Secrets Manager's. The look upon the move comes
    first of all: `care` waits, and looks once more.
    """
    late = secret(current(LONG_AGO, *shared), previous(NOON - DAY), changed=NOON)
    for call in (ON_MOVE, EVERY_DAY, OFTEN):
        assert concerns(late, [], call) == [IssueKind.NOT_CARRIED]
    for call in (EVERY_DAY, OFTEN):
        for seconds, found in ((119, []), (120, [IssueKind.NOT_CARRIED])):
            promoted = NOON - timedelta(seconds=seconds)
            young = secret(current(YOUNG, *shared), previous(NOON - DAY), changed=promoted)
            assert concerns(young, [], call) == found


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_run_that_ended_early_is_told_every_day_and_not_at_once(status: str) -> None:
    runs = [run_of(NEW, status)]
    (issue,) = key_health.find_issues(ROTATED, runs, LIMITS, EVERY_DAY)
    assert (issue.concern, issue.runs) == (IssueKind.RUN_ENDED, tuple(runs))
    assert concerns(ROTATED, runs, ON_MOVE) == []


@pytest.mark.parametrize(
    ("last", "found"),
    [("SUCCEEDED", []), ("RUNNING", []), ("FAILED", [IssueKind.RUN_ENDED])],
)
def test_a_run_that_was_run_again_is_judged_by_the_last(last: str, found: list[IssueKind]) -> None:
    runs = [
        run_of(NEW, last, NOON - timedelta(minutes=5), "-1795607700"),
        run_of(NEW, "FAILED", NOON - timedelta(minutes=10), "-1795607400"),
        run_of(NEW, "FAILED"),
    ]
    assert concerns(ROTATED, runs) == found


@pytest.mark.parametrize("name", ["-2", "-again", "x", "-17956077001", "-1795607g00"])
def test_a_run_whose_version_only_begins_the_same_does_not_count(name: str) -> None:
    """A second rotation by one finding is named so."""
    other = run_of(NEW, "SUCCEEDED", NOON, name)
    assert concerns(ROTATED, [run_of(NEW, "FAILED"), other]) == [IssueKind.RUN_ENDED]


# A run that was lost


def ended_at(status: str, stopped: datetime | None, version: str = NEW, end: str = "") -> Execution:
    return replace(run_of(version, status, NOON - HOUR, end), stopped=stopped)


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_the_last_run_is_looked_into_where_it_ended_badly_within_a_day(status: str) -> None:
    old = replace(run_of(OLD, "FAILED", NOON - 2 * HOUR), stopped=NOON - HOUR)
    fresh, long_ago = ended_at(status, NOON), ended_at(status, NOON - DAY)
    assert key_health.last_to_look_into([old, fresh], NOON) == fresh
    assert key_health.last_to_look_into([fresh, old], NOON) == fresh
    assert key_health.last_to_look_into([long_ago], NOON) is None


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_a_run_that_goes_on_or_succeeded_is_not_looked_into(status: str) -> None:
    failed = replace(run_of(NEW, "FAILED", NOON - 2 * HOUR), stopped=NOON - HOUR)
    assert key_health.last_to_look_into([failed, ended_at(status, None)], NOON) is None
    assert key_health.last_to_look_into([], NOON) is None
    stranger = Execution("by-hand", "arn:by-hand", "ABORTED", NOON, NOON)
    assert key_health.last_to_look_into([stranger], NOON) is None


@pytest.mark.parametrize("end", ["", "_2", "-1795607700", "-3f2a9c01be", "-3F2A9C01BE"])
def test_a_lost_run_is_told_by_its_version_in_place_of_an_ended_one(end: str) -> None:
    run = ended_at("FAILED", NOON, end=end)
    issues = key_health.find_issues(ROTATED, [run], LIMITS, EVERY_DAY)
    assert [one.concern for one in issues] == [IssueKind.RUN_ENDED]
    (lost,) = key_health.lost(run, issues)
    assert (lost.concern, lost.version, lost.since) == (IssueKind.RUN_LOST, NEW, NOON)
    assert lost.runs == (run,)


# An older version than the previous one


PUT_BACK = secret(current(NOON - DAY), previous(NOON - HOUR))
OWN_RUN = run_of(NEW, "SUCCEEDED", NOON - DAY)


@BOTH
@every_case(
    ("status_of_previous", "found"),
    [
        ("RUNNING", []),
        ("FAILED", []),
        ("TIMED_OUT", []),
        ("SUCCEEDED", [IssueKind.PUT_BACK]),
    ],
)
@pytest.mark.parametrize("own", [[], [OWN_RUN]])
def test_our_own_way_back_is_no_concern_and_that_of_a_hand_is_told(
    own: list[Execution], status_of_previous: str, found: list[IssueKind], call: WatchTrigger
) -> None:
    assert concerns(PUT_BACK, [run_of(OLD, status_of_previous), *own], call) == found


def test_a_retried_run_after_a_rollback_is_not_a_manual_change() -> None:
    """It ended well, for it found itself overtaken; before the label moved it had failed."""
    runs = [run_of(OLD, "FAILED", NOON - HOUR), run_of(OLD, "SUCCEEDED", NOON, "-1795607400")]
    moved = secret(*PUT_BACK.versions, changed=NOON - timedelta(minutes=5))
    assert concerns(moved, runs) == []
    by_hand = secret(*PUT_BACK.versions, changed=NOON + timedelta(minutes=5))
    assert concerns(by_hand, runs) == [IssueKind.PUT_BACK]


@BOTH
def test_a_version_that_was_never_carried_and_taken_back_has_changed_nothing(
    call: WatchTrigger,
) -> None:
    assert concerns(PUT_BACK, [OWN_RUN], call) == []


@pytest.mark.parametrize(
    ("status", "found"), [("RUNNING", []), ("SUCCEEDED", []), ("FAILED", [IssueKind.RUN_ENDED])]
)
def test_a_version_that_was_put_back_and_carried_again_is_judged_by_that_run(
    status: str, found: list[IssueKind]
) -> None:
    again = run_of(NEW, status, NOON - timedelta(minutes=5), "-1795607400")
    assert concerns(PUT_BACK, [run_of(OLD, "SUCCEEDED"), OWN_RUN, again]) == found


# What is looked at every day


@pytest.mark.parametrize(
    ("pending", "changed", "found"),
    [
        (YOUNG, None, []),
        (LONG_AGO, None, [IssueKind.STUCK]),
        (None, YOUNG, []),
        (None, LONG_AGO, [IssueKind.STUCK]),
        (None, None, []),
    ],
)
def test_a_pending_version_is_stuck_after_half_an_hour(
    pending: datetime | None, changed: datetime | None, found: list[IssueKind]
) -> None:
    seen = secret(current(NOON - DAY), version(PENDING, pending, "AWSPENDING"), changed=changed)
    assert concerns(seen) == found
    assert concerns(seen, [], ON_MOVE) == []


def test_a_version_that_is_current_and_pending_blocks_nothing() -> None:
    seen = secret(current(NOON - DAY, "AWSPENDING"), previous(NOON - 2 * DAY))
    assert concerns(seen, [run_of(NEW, "SUCCEEDED")]) == []


@pytest.mark.parametrize(
    ("age", "found"),
    [
        (30 * DAY - HOUR, []),
        (30 * DAY, [IssueKind.OLD]),
        (31 * DAY - HOUR, [IssueKind.OLD]),
        (31 * DAY, []),
        (90 * DAY - HOUR, []),
        (90 * DAY, [IssueKind.TOO_OLD]),
        (300 * DAY, [IssueKind.TOO_OLD]),
    ],
)
def test_an_old_key_is_reported_once_and_a_too_old_one_daily(
    age: timedelta, found: list[IssueKind]
) -> None:
    assert concerns(secret(current(NOON - age))) == found
    assert concerns(secret(current(NOON - age)), [], ON_MOVE) == []


@every_case("hours", range(100))
def test_a_rotation_is_announced_by_exactly_one_daily_call(hours: int) -> None:
    due = NOON + hours * HOUR
    told = [
        day
        for day in range(-5, 6)
        if concerns(
            secret(current(NOON - DAY), next_rotation=due),
            [],
            replace(EVERY_DAY, at=NOON + day * DAY),
        )
        == [IssueKind.SOON]
    ]
    assert len(told) == 1
    assert DAY < due - (NOON + told[0] * DAY) <= 2 * DAY


def test_a_rotation_is_not_announced_when_a_label_moves_or_when_it_is_past() -> None:
    soon = secret(current(NOON - DAY), next_rotation=NOON + 47 * HOUR)
    assert concerns(soon, [], ON_MOVE) == []
    assert concerns(secret(current(NOON - DAY), next_rotation=NOON - HOUR)) == []


# The mode of a run that the watch starts


def mode_of(name: str, created: datetime, manual: Any = "emergency") -> str:
    seen = secret(version(name, created, "AWSCURRENT"), previous(created - DAY))
    limits = replace(LIMITS, manual_mode=manual)
    (issue,) = key_health.find_issues(seen, [], limits, replace(OFTEN, at=created + HOUR))
    assert issue.concern is IssueKind.NOT_CARRIED
    return issue.mode


IN_WINDOW = datetime(2026, 11, 15, 3, 30, tzinfo=NOON.tzinfo)


@every_case("manual", ["emergency", "scheduled"])
@every_case(
    ("name", "created", "mode"),
    [
        (NEW, IN_WINDOW, "scheduled"),
        (f"planned-{NEW}", NOON, "scheduled"),
        (f"emergency-{NEW}", IN_WINDOW, "emergency"),
        (f"emergency-gd-{'0' * 32}", IN_WINDOW, "emergency"),
        (NEW, NOON, None),
    ],
)
def test_a_run_has_the_mode_that_its_rotation_would_have_had(
    name: str, created: datetime, mode: str | None, manual: str
) -> None:
    """A bare rotate-secret whose run could not be started is no milder for that."""
    assert mode_of(name, created, manual) == (mode or manual)


# A version that is marked as exposed


MARKED = [Mark(NEW, NOON - HOUR, "finding")]


@BOTH
@every_case("runs", [[], [run_of(NEW, "SUCCEEDED")], [run_of(NEW, "FAILED")]])
def test_an_exposed_version_that_is_current_is_told_and_never_carried(
    runs: list[Execution], call: WatchTrigger
) -> None:
    seen = secret(*ROTATED.versions, marks=MARKED)
    (issue,) = key_health.find_issues(seen, runs, LIMITS, call)
    assert (issue.concern, issue.since) == (IssueKind.EXPOSED_KEY_CURRENT, NOON - HOUR)


@BOTH
def test_an_exposed_version_that_was_put_back_by_hand_is_told_as_that(call: WatchTrigger) -> None:
    seen = secret(*PUT_BACK.versions, marks=MARKED)
    assert concerns(seen, [run_of(OLD, "SUCCEEDED")], call) == [IssueKind.EXPOSED_KEY_CURRENT]


def test_an_exposed_version_may_take_half_an_hour_to_be_replaced() -> None:
    for begun, found in ((YOUNG, []), (LONG_AGO, [IssueKind.EXPOSED_KEY_CURRENT])):
        pending = version(PENDING, begun, "AWSPENDING")
        seen = secret(*ROTATED.versions, pending, marks=MARKED)
        assert concerns(seen, [run_of(NEW, "SUCCEEDED")], OFTEN) == found


def test_the_mark_of_another_version_is_no_concern() -> None:
    seen = secret(*ROTATED.versions, marks=[Mark(OLD, NOON - HOUR, "emergency")])
    assert concerns(seen, [run_of(NEW, "SUCCEEDED")], OFTEN) == []


# The event


MOVED = {"detail-type": "Secret Label Updated", "resources": [ARN], "time": "2026-11-24T12:00:00Z"}
CHANGED: dict[str, Any] = {
    "detail-type": "AWS API Call via CloudTrail",
    "time": "2026-11-24T12:00:00Z",
    "detail": {"eventName": "PutKeyPolicy", "userIdentity": {"userName": "visit evil.test"}},
}


def test_the_event_says_which_rule_has_called_and_of_which_time() -> None:
    daily = {"detail-type": "Scheduled Event", "time": "2026-11-24T08:00:00Z"}
    assert watch_trigger.parse_trigger(daily, ARN) == WatchTrigger("daily", NOON - 4 * HOUR)
    often = {"detail-type": "Frequent Look", "time": "2026-11-24T12:00:00Z"}
    assert watch_trigger.parse_trigger(often, ARN) == OFTEN
    assert watch_trigger.parse_trigger(MOVED, ARN) == ON_MOVE
    ended = {
        "detail-type": "Step Functions Execution Status Change",
        "time": "2026-11-24T12:00:00Z",
    }
    assert watch_trigger.parse_trigger(ended, ARN) == WatchTrigger("ended", NOON)


def test_of_a_call_that_was_made_the_name_and_the_time_are_taken() -> None:
    call = watch_trigger.parse_trigger(CHANGED, ARN)
    assert call == WatchTrigger("changed", NOON, "PutKeyPolicy")
    assert "evil" not in repr(call)


@every_case(
    "event",
    [
        {},
        {"detail-type": "GuardDuty Finding"},
        {"detail-type": "Secret Label Updated"},
        {"detail-type": "Secret Label Updated", "resources": [f"{ARN[:-6]}ZyXwVu"]},
        {"detail-type": ["Scheduled Event"]},
        {"detail-type": "Secret Label Updated", "resources": None},
        {"detail-type": "Scheduled Event", "time": "today"},
        {"detail-type": "Scheduled Event"},
        {"detail-type": "Frequent Look"},
        {**CHANGED, "detail": {"eventName": "GetSecretValue"}},
        {**CHANGED, "detail": {"eventName": ["PutKeyPolicy"]}},
        {**CHANGED, "detail": "PutKeyPolicy"},
        {**CHANGED, "time": None},
    ],
)
def test_any_other_event_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(errors.RequestRefused, match=r"Nothing was done\."):
        watch_trigger.parse_trigger(event, ARN)


# The facts that are measured


def test_the_age_of_the_key_is_that_of_the_current_version() -> None:
    seen = secret(current(NOON - 12.5 * DAY), previous(NOON - 40 * DAY))
    assert key_health.key_facts(seen, NOON)["ageDays"] == 12.5


@pytest.mark.parametrize("created", [NOON - HOUR, None], ids=["with a value", "without"])
def test_a_pending_version_is_timed_from_when_it_was_made(created: datetime | None) -> None:
    pending = version(PENDING, created, "AWSPENDING")
    seen = secret(current(NOON - DAY), pending, changed=NOON - HOUR)
    assert key_health.key_facts(seen, NOON)["pendingSeconds"] == 3600.0


def test_nothing_is_pending_once_the_version_is_promoted() -> None:
    seen = secret(current(NOON - HOUR, "AWSPENDING"), previous(NOON - DAY))
    assert key_health.key_facts(seen, NOON)["pendingSeconds"] == 0.0
    assert key_health.key_facts(ROTATED, NOON)["pendingSeconds"] == 0.0


def test_what_was_made_in_the_second_of_the_look_is_of_age_zero() -> None:
    later = NOON + timedelta(milliseconds=400)
    seen = secret(current(later), version(PENDING, later, "AWSPENDING"))
    found = key_health.key_facts(seen, NOON)
    assert repr((found["ageDays"], found["pendingSeconds"])) == "(0.0, 0.0)"


def test_the_next_rotation_is_counted_in_days() -> None:
    seen = secret(current(NOON - DAY), next_rotation=NOON + 36 * HOUR)
    assert key_health.key_facts(seen, NOON)["daysToRotation"] == 1.5


def test_what_nobody_can_tell_is_none() -> None:
    seen = secret(version(NEW, NOON, "AWSPENDING"))
    assert key_health.key_facts(seen, NOON) == {
        "ageDays": None,
        "pendingSeconds": 0.0,
        "daysToRotation": None,
    }
