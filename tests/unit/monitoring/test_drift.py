"""What the answers of those who can look mean, and when they mean something."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn.monitoring import drift
from keyturn.monitoring.issues import CRITICAL, IssueKind
from keyturn.monitoring.key_health import Execution, Issue, Secret
from keyturn.monitoring.watch_trigger import WatchTrigger
from keyturn.reporting import metrics
from keyturn.secret.staging_labels import Version
from keyturn.secret.trigger import Schedule
from tests.conftest import NEW, NOON, OLD
from tests.fakes import sound_answers

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFTEN = WatchTrigger("frequent", NOON)
RULES = Schedule("cron(0 3 1 * ? *)", "2h", True, None)
CURRENT = Version(NEW, NOON - HOUR, frozenset({"AWSCURRENT"}))
PREVIOUS = Version(OLD, NOON - DAY, frozenset({"AWSPREVIOUS"}))
PENDING = Version("2" * 32, NOON - timedelta(minutes=1), frozenset({"AWSPENDING"}))
TARGET = "Kubernetes Secret web/session-key"


def secret(*versions: Version, **more: Any) -> Secret:
    return Secret(versions or (CURRENT, PREVIOUS), None, RULES, **more)


def run_of(version: str, status: str) -> Execution:
    return Execution(f"rot-{version}", f"arn:{version}", status, NOON - HOUR)


def answers(
    holds: str = "current", version: str | None = None, pods: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    delivery, rollout = sound_answers()
    delivery["delivered"] |= {"holds": holds, "version": version}
    rollout["pods"] = {"web-console": pods} if pods else rollout["pods"]
    return [delivery, rollout]


def stamps(current: int, others: int = 0, unstamped: int = 0) -> dict[str, int]:
    return {"current": current, "others": others, "unstamped": unstamped}


def judge(
    given: list[dict[str, Any]], status: str = "SUCCEEDED", seen: Secret | None = None
) -> list[Issue]:
    return drift.find_drift(seen or secret(), [run_of(NEW, status)], given, OFTEN)


def concerns(given: list[dict[str, Any]], status: str = "SUCCEEDED") -> list[IssueKind]:
    return [one.concern for one in judge(given, status)]


# What is the matter


def test_nothing_is_the_matter_where_services_have_what_was_carried_to_them() -> None:
    assert concerns(answers()) == []
    assert concerns(answers("unknown")) == []  # the pods read Secrets Manager themselves


def test_an_exposed_key_is_critical_and_named_with_its_version() -> None:
    (issue,) = judge(answers("exposed", OLD))
    assert issue.concern is IssueKind.EXPOSED_KEY_DELIVERED
    assert issue.concern in CRITICAL
    assert issue.about == (TARGET, OLD)
    assert [run.name for run in issue.runs] == [f"rot-{NEW}"]


def test_another_key_is_drift() -> None:
    (issue,) = judge(answers("other"))
    assert (issue.concern, issue.about) == (IssueKind.DELIVERED_DRIFTED, (TARGET,))
    assert issue.concern not in CRITICAL


@pytest.mark.parametrize(
    ("holds", "counts", "found"),
    [
        ("current", stamps(2), []),
        ("current", stamps(1, others=1), [IssueKind.PODS_DRIFTED]),
        ("current", stamps(0, unstamped=2), [IssueKind.PODS_UNSTAMPED]),
        ("current", stamps(0, others=1, unstamped=1), [IssueKind.PODS_DRIFTED]),
        ("unknown", stamps(0, unstamped=2), [IssueKind.PODS_DRIFTED]),
        ("other", stamps(0, unstamped=2), [IssueKind.DELIVERED_DRIFTED, IssueKind.PODS_DRIFTED]),
        (
            "exposed",
            stamps(0, unstamped=2),
            [IssueKind.EXPOSED_KEY_DELIVERED, IssueKind.PODS_DRIFTED],
        ),
    ],
)
def test_pods_are_judged_by_their_stamps_and_by_what_they_read(
    holds: str, counts: dict[str, int], found: list[IssueKind]
) -> None:
    assert concerns(answers(holds, OLD, counts)) == found


def test_each_service_that_has_drifted_is_named_with_its_pods() -> None:
    given = answers()
    given[1]["pods"] = {"web": stamps(2), "b": stamps(1, 1), "a": stamps(0, 0, 3)}
    (issue,) = judge(given)
    assert issue.about == (
        "a: of 3 pods 0 annotated with another version, 3 without annotations",
        "b: of 2 pods 1 annotated with another version, 0 without annotations",
    )


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_of_what_a_failed_run_has_left_an_exposed_key_alone_is_told(status: str) -> None:
    assert concerns(answers("other", pods=stamps(0, 2)), status) == []
    exposed = answers("exposed", OLD, stamps(0, 2))
    assert concerns(exposed, status) == [IssueKind.EXPOSED_KEY_DELIVERED]


def test_the_pods_of_a_version_that_no_run_has_carried_need_no_stamp() -> None:
    given = answers("other", pods=stamps(0, unstamped=2))
    (issue,) = drift.find_drift(secret(CURRENT), [], given, OFTEN)
    assert issue.concern is IssueKind.DELIVERED_DRIFTED


def test_an_exposed_version_that_is_current_is_not_told_as_delivered_too() -> None:
    assert concerns(answers("exposed", NEW)) == []


@pytest.mark.parametrize("place", [0, 1])
def test_an_answer_about_another_version_says_nothing(place: int) -> None:
    """A rotation was promoted between the look at the secret and the answer."""
    given = answers("other", pods=stamps(0, 2))
    given[place]["current"] = "another"
    given[1 - place]["current"] = NEW
    assert len(concerns(given)) == 1


# Who did not answer


def test_an_answer_that_failed_is_told_by_the_name_of_its_error_alone() -> None:
    text = "visit https://evil.test"
    failure = {"Error": "ClusterUnavailable", "Cause": text}
    given = [{"function": "deliver_key", "failure": failure}, answers()[1]]
    (issue,) = judge(given)
    assert issue.concern is IssueKind.DRIFT_UNKNOWN
    assert issue.about == ("deliver_key: ClusterUnavailable",)
    given[0]["failure"] = {"Error": text}
    assert judge(given)[0].about == ("deliver_key: an error",)


def test_what_one_finds_is_told_though_the_other_did_not_answer() -> None:
    found = judge(answers("exposed", OLD)[:1])
    assert [one.concern for one in found] == [
        IssueKind.EXPOSED_KEY_DELIVERED,
        IssueKind.DRIFT_UNKNOWN,
    ]
    assert found[1].about == ("check_rollout: no answer",)


# When they are asked


def test_they_are_asked_about_a_version_that_a_run_has_carried() -> None:
    for status in ("SUCCEEDED", "FAILED"):
        assert drift.is_to_be_asked(secret(), [run_of(NEW, status)], OFTEN)
    assert drift.is_to_be_asked(secret(CURRENT), [], OFTEN)  # the first came with the services
    assert not drift.is_to_be_asked(secret(), [], OFTEN)  # NOT_CARRIED: it is about to be


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE"])
@pytest.mark.parametrize("version", [NEW, OLD])
def test_nobody_is_asked_while_a_run_or_its_way_back_goes_on(version: str, status: str) -> None:
    runs = [run_of(version, status), run_of(NEW if version == OLD else OLD, "SUCCEEDED")]
    assert not drift.is_to_be_asked(secret(), runs, OFTEN)


def test_nobody_is_asked_while_a_rotation_is_pending() -> None:
    done = [run_of(NEW, "SUCCEEDED")]
    assert not drift.is_to_be_asked(secret(CURRENT, PREVIOUS, PENDING), done, OFTEN)
    young = secret(replace(CURRENT, created=NOON - timedelta(minutes=5)), PREVIOUS)
    changed = replace(young, changed=NOON - timedelta(seconds=5))
    assert not drift.is_to_be_asked(changed, [], OFTEN)
    assert drift.is_to_be_asked(changed, done, OFTEN)
    stuck = replace(PENDING, created=NOON - HOUR)
    assert drift.is_to_be_asked(secret(CURRENT, PREVIOUS, stuck), done, OFTEN)


def test_they_are_asked_about_a_version_that_was_rolled_back_to() -> None:
    back = replace(CURRENT, created=NOON - 2 * DAY)
    assert drift.is_to_be_asked(secret(back, PREVIOUS), [run_of(OLD, "FAILED")], OFTEN)


def test_they_are_asked_where_step_functions_has_forgotten_the_run() -> None:
    old = secret(
        replace(CURRENT, created=NOON - 80 * DAY), replace(PREVIOUS, created=NOON - 99 * DAY)
    )
    assert drift.is_to_be_asked(old, [], OFTEN)


def test_a_secret_without_a_usable_current_version_is_not_inspected() -> None:
    done = [run_of(NEW, "SUCCEEDED")]
    assert not drift.is_to_be_asked(secret(PREVIOUS), done, OFTEN)
    assert not drift.is_to_be_asked(secret(deleted=NOON), done, OFTEN)
    assert drift.find_drift(secret(PREVIOUS), done, answers("other"), OFTEN) == []


# What is measured


def test_every_name_that_is_measured_is_a_concern() -> None:
    names = {concern.name for concern in IssueKind}
    assert names > metrics.EXPOSED | metrics.DRIFTED
    exposed = {concern.name for concern in CRITICAL} - {IssueKind.MARKED_FOR_DELETION.name}
    assert exposed == metrics.EXPOSED


@pytest.mark.parametrize(
    ("found", "compared", "measured"),
    [
        ([], True, {"DriftFound": 0, "ExposedKeyInUse": 0}),
        (["PODS_DRIFTED"], True, {"DriftFound": 1, "ExposedKeyInUse": 0}),
        (["EXPOSED_KEY_DELIVERED", "PODS_DRIFTED"], True, {"DriftFound": 2, "ExposedKeyInUse": 1}),
        (["EXPOSED_KEY_CURRENT"], False, {"ExposedKeyInUse": 1}),
        (["RUN_ENDED"], False, {}),
    ],
)
def test_a_zero_is_measured_where_services_were_compared(
    found: list[str], compared: bool, measured: dict[str, float]
) -> None:
    """What was not looked at leaves the alarms as they are."""
    got = metrics.issue_metrics(found, compared=compared)
    assert {one.name: one.value for one in got} == measured
