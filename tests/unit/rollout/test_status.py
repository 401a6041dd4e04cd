"""A verdict that is never too early, for both kinds of workload."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.rollout import status as rollout_status
from keyturn.rollout.status import Done, Failed, Pod, RolloutContext, Verdict, Waiting, Workload
from keyturn.run.times import format_timestamp
from tests.conftest import NEW, NOON, OLD, STAMP
from tests.every_case import every_case

LIMIT = timedelta(minutes=15)

ROLLED_OUT = Workload(
    name="web-console",
    generation=7,
    observed_generation=7,
    paused=False,
    desired=3,
    total=3,
    updated=3,
    available=3,
    key_version=NEW,
    progress_reason="NewReplicaSetAvailable",
    key_delivery=STAMP.delivery,
)
STATEFUL = replace(ROLLED_OUT, kind="StatefulSet", progress_reason=None)
BOTH = every_case("rolled_out", [ROLLED_OUT, STATEFUL])


def new_pod(name: str, **seen: Any) -> Pod:
    return Pod(name, NEW, key_delivery=STAMP.delivery, **seen)


def new_pods(count: int = 3) -> list[Pod]:
    return [new_pod(f"new-{number}") for number in range(count)]


def old_pod(*, terminating: bool = False) -> Pod:
    return Pod("old", OLD, terminating=terminating)


def seen_as(seen: Workload, **changes: Any) -> Workload:
    return replace(seen, **changes)


def judge(
    seen: Workload,
    pods: list[Pod],
    *,
    overdue: bool = False,
    stalled_before: bool = False,
    begun: datetime = NOON,
) -> Verdict:
    at = NOON + LIMIT if overdue else NOON
    return rollout_status.judge_rollout(
        seen, pods, STAMP, RolloutContext(at, NOON + LIMIT, begun, stalled_before)
    )


@BOTH
def test_a_rollout_is_done_when_every_wanted_pod_is_new_and_available(
    rolled_out: Workload,
) -> None:
    assert judge(rolled_out, new_pods()) == Done("3 of 3 new")


@BOTH
@every_case(
    ("seen", "summary"),
    [
        ({"generation": 8}, "the change is not observed yet"),
        ({"observed_generation": 0}, "the change is not observed yet"),
        ({"updated": 2}, "2 of 3 updated"),
        ({"total": 4}, "1 old pending termination"),
        ({"available": 2}, "2 of 3 available"),
        ({"settled": False}, "the update revision is not the current one yet"),
    ],
)
def test_each_of_kubectls_reasons_to_wait_is_one(
    rolled_out: Workload, seen: dict[str, int], summary: str
) -> None:
    answer = judge(seen_as(rolled_out, **seen), new_pods())
    assert isinstance(answer, Waiting)
    assert answer.summary.endswith(f"; {summary}")
    assert not answer.stalled


@BOTH
def test_kubectls_reasons_come_in_kubectls_order(rolled_out: Workload) -> None:
    """See `Status` in polymorphichelpers/rollout_status.go."""
    seen = seen_as(rolled_out, generation=8, updated=2, total=5, available=1, settled=False)
    said = []
    for seen_next in (
        {"generation": 7},
        {"updated": 3},
        {"total": 3},
        {"available": 3},
        {"settled": True},
    ):
        answer = judge(seen, new_pods())
        assert isinstance(answer, Waiting)
        said.append(answer.summary.split("; ")[1])
        seen = seen_as(seen, **seen_next)
    assert said == [
        "the change is not observed yet",
        "2 of 3 updated",
        "2 old pending termination",
        "1 of 3 available",
        "the update revision is not the current one yet",
    ]
    assert isinstance(judge(seen, new_pods()), Done)


@BOTH
@every_case("terminating", [False, True])
def test_a_rollout_waits_for_the_last_old_pod_also_where_kubectl_does_not(
    rolled_out: Workload, terminating: bool
) -> None:
    answer = judge(rolled_out, [*new_pods(), old_pod(terminating=terminating)])
    assert isinstance(answer, Waiting)
    assert answer.summary.endswith("; 1 old still there")


def test_a_pod_that_carries_no_version_is_an_old_one() -> None:
    assert isinstance(judge(ROLLED_OUT, [*new_pods(), Pod("before", None)]), Waiting)


@BOTH
@every_case("delivery", ["1", None])
def test_a_pod_of_an_earlier_delivery_of_this_version_is_old(
    rolled_out: Workload, delivery: str | None
) -> None:
    """It may have read what somebody wrote over the key since."""
    answer = judge(rolled_out, [*new_pods(), Pod("before", NEW, key_delivery=delivery)])
    assert isinstance(answer, Waiting)
    assert answer.summary == "3 of 3 new, 1 old; 1 old still there"


def test_a_new_pod_that_is_terminating_does_not_hold_up_the_rollout() -> None:
    leaving = new_pod("new-4", terminating=True, waiting_reasons=("ImagePullBackOff",), restarts=9)
    assert judge(ROLLED_OUT, [*new_pods(), leaving]) == Done("3 of 3 new")


@BOTH
@every_case(
    ("seen", "error"),
    [
        ({"key_version": OLD}, errors.RestartOverwritten),
        ({"key_version": None}, errors.RestartOverwritten),
        ({"key_delivery": "1"}, errors.RestartOverwritten),
        ({"key_delivery": None}, errors.RestartOverwritten),
        ({"paused": True}, errors.ServicePaused),
        ({"desired": 0, "total": 0, "updated": 0, "available": 0}, errors.ServiceScaledToZero),
        ({"keeps_old": "an update partition of 2"}, errors.ServiceKeepsOldPods),
    ],
)
def test_what_waiting_cannot_mend_fails_by_name(
    rolled_out: Workload, seen: dict[str, object], error: type[errors.Stop]
) -> None:
    answer = judge(seen_as(rolled_out, **seen), [])
    assert isinstance(answer, Failed)
    assert answer.error is error


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"paused": True}, ("Deployment web-console", "rollout resume deployment/web-console")),
        ({"desired": 0}, ("Deployment web-console", "has 0 replicas")),
        (
            {"kind": "StatefulSet", "keeps_old": "update strategy OnDelete"},
            ("StatefulSet web-console", "has update strategy OnDelete", "old pods stay"),
        ),
    ],
)
def test_a_restart_blocker_names_the_kind_and_the_reason(
    seen: dict[str, Any], words: tuple[str, ...]
) -> None:
    hindrance = rollout_status.restart_blocker(seen_as(ROLLED_OUT, key_version=OLD, **seen), NOON)
    assert hindrance is not None
    assert [word for word in words if word not in hindrance.summary] == []


@BOTH
def test_a_workload_that_replaces_its_pods_has_no_hindrance(rolled_out: Workload) -> None:
    assert rollout_status.restart_blocker(rolled_out, NOON) is None


def test_a_changed_template_is_reported_with_the_command_to_find_who() -> None:
    answer = judge(seen_as(STATEFUL, key_version=OLD), new_pods())
    assert isinstance(answer, Failed)
    assert "kubectl rollout history statefulset/web-console" in answer.summary


STALLED = seen_as(ROLLED_OUT, updated=1, progress_reason="ProgressDeadlineExceeded")


def test_an_exceeded_progress_deadline_counts_when_it_is_seen_twice() -> None:
    """The condition of the rollout before may stand for a moment after ours is observed."""
    first = judge(STALLED, new_pods(1))
    assert isinstance(first, Waiting)
    assert first.stalled
    second = judge(STALLED, new_pods(1), stalled_before=first.stalled)
    assert isinstance(second, Failed)
    assert second.error is errors.RolloutFailed
    assert "1 of 3 updated; Kubernetes reports ProgressDeadlineExceeded" in second.summary
    assert "kubectl describe deployment/web-console" in second.summary


def test_a_rollout_that_went_on_after_a_stale_condition_is_not_failed() -> None:
    going_on = judge(seen_as(STALLED, progress_reason="ReplicaSetUpdated"), [], stalled_before=True)
    assert isinstance(going_on, Waiting)
    assert not going_on.stalled


def test_a_rollout_that_finished_under_a_stale_condition_is_done() -> None:
    finished = seen_as(STALLED, updated=3)
    assert judge(finished, new_pods(), stalled_before=True) == Done("3 of 3 new")


def test_an_exceeded_progress_deadline_of_the_rollout_before_is_not_ours() -> None:
    """The condition is stale until the controller has observed our change."""
    stale = seen_as(ROLLED_OUT, generation=8, progress_reason="ProgressDeadlineExceeded")
    for stalled_before in (False, True):
        answer = judge(stale, new_pods(), stalled_before=stalled_before)
        assert isinstance(answer, Waiting)
        assert not answer.stalled


def test_our_own_deadline_is_told_before_that_of_kubernetes() -> None:
    answer = judge(STALLED, new_pods(1), overdue=True, stalled_before=True)
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutOverdue


@BOTH
@every_case("reason", sorted(rollout_status.TERMINAL_WAITING_REASONS))
def test_a_new_pod_that_can_never_start_fails_at_once(rolled_out: Workload, reason: str) -> None:
    stuck = new_pod("new-9", waiting_reasons=("PodInitializing", reason))
    answer = judge(seen_as(rolled_out, updated=1, available=0), [stuck, old_pod()])
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutFailed
    assert reason in answer.summary
    assert "kubectl describe pod new-9" in answer.summary


@BOTH
@every_case("reason", ["ContainerCreating", "PodInitializing", "CrashLoopBackOff"])
def test_a_new_pod_that_may_still_start_is_waited_for(rolled_out: Workload, reason: str) -> None:
    starting = new_pod("new-9", waiting_reasons=(reason,), restarts=rollout_status.CRASHES_ALLOWED)
    assert isinstance(judge(seen_as(rolled_out, available=2), [starting]), Waiting)


@BOTH
def test_a_new_pod_that_crashes_again_and_again_fails(rolled_out: Workload) -> None:
    crashing = new_pod("new-9", restarts=rollout_status.CRASHES_ALLOWED + 1)
    answer = judge(seen_as(rolled_out, available=2), [crashing])
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutFailed
    assert "kubectl logs -p new-9" in answer.summary


BEFORE = timedelta(seconds=1)
BEGUN = NOON - timedelta(seconds=29.5)
SECOND_BEGUN = BEGUN.replace(microsecond=0)
STUCK = replace(ROLLED_OUT, updated=1, available=0)


@pytest.mark.parametrize(
    ("created", "begun", "fails"),
    [
        (SECOND_BEGUN - BEFORE, BEGUN, False),
        (SECOND_BEGUN, BEGUN, True),  # Kubernetes' moments are whole seconds
        (None, BEGUN, True),
        (
            NOON - rollout_status.LONGEST_BACK_OFF - BEFORE,
            NOON - rollout_status.LONGEST_BACK_OFF,
            True,
        ),
    ],
    ids=["made before", "made in the same second", "made nobody knows when", "tried again since"],
)
def test_a_pod_of_the_attempt_before_is_given_the_time_to_be_tried_again(
    created: datetime | None, begun: datetime, fails: bool
) -> None:
    stuck = new_pod("new-9", waiting_reasons=("ImagePullBackOff",), created=created)
    assert isinstance(judge(STUCK, [stuck, old_pod()], begun=begun), Failed) is fails


@pytest.mark.parametrize(
    ("crashed", "fails"),
    [(SECOND_BEGUN - BEFORE, False), (SECOND_BEGUN, True), (None, True)],
    ids=["before", "since", "nobody knows when"],
)
def test_crashes_of_the_attempt_before_do_not_count(crashed: datetime | None, fails: bool) -> None:
    crashing = new_pod("new-9", restarts=rollout_status.CRASHES_ALLOWED + 1, crashed=crashed)
    assert isinstance(judge(STUCK, [crashing, old_pod()], begun=BEGUN), Failed) is fails


def test_an_old_pod_may_be_as_broken_as_it_likes() -> None:
    broken = Pod("old", OLD, waiting_reasons=("ImagePullBackOff",), restarts=99)
    assert isinstance(judge(ROLLED_OUT, [*new_pods(), broken]), Waiting)


@BOTH
def test_a_rollout_that_is_not_done_at_its_deadline_is_overdue(rolled_out: Workload) -> None:
    answer = judge(rolled_out, [*new_pods(), old_pod(terminating=True)], overdue=True)
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutOverdue
    assert "3 of 3 new, 1 old terminating" in answer.summary


@BOTH
def test_a_rollout_that_is_done_at_its_deadline_is_done(rolled_out: Workload) -> None:
    assert isinstance(judge(rolled_out, new_pods(), overdue=True), Done)


DELIVERIES = st.sampled_from([STAMP.delivery, STAMP.delivery, STAMP.delivery, "1", None])
COUNT = st.integers(min_value=0, max_value=4)
PODS = st.lists(
    st.builds(
        Pod,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([NEW, NEW, NEW, OLD, None]),
        terminating=st.booleans(),
        restarts=COUNT,
        key_delivery=DELIVERIES,
    ),
    max_size=4,
)
WORKLOADS = st.builds(
    Workload,
    name=st.just("web-console"),
    generation=COUNT,
    observed_generation=COUNT,
    paused=st.booleans(),
    desired=COUNT,
    total=COUNT,
    updated=COUNT,
    available=COUNT,
    key_version=st.sampled_from([NEW, NEW, OLD, None]),
    progress_reason=st.sampled_from([None, "ProgressDeadlineExceeded"]),
    kind=st.sampled_from(["Deployment", "StatefulSet"]),
    keeps_old=st.sampled_from([None, None, "update strategy OnDelete"]),
    settled=st.booleans(),
    key_delivery=DELIVERIES,
)


@given(WORKLOADS, PODS, st.booleans(), st.booleans())
def test_a_rollout_is_done_with_no_old_pod_and_no_short_counter_and_never_else(
    seen: Workload, pods: list[Pod], overdue: bool, stalled_before: bool
) -> None:
    whole = (
        (seen.key_version, seen.key_delivery) == (NEW, STAMP.delivery)
        and not seen.paused
        and seen.keeps_old is None
        and seen.settled
        and seen.observed_generation >= seen.generation
        and seen.updated >= seen.desired > 0
        and seen.total <= seen.updated <= seen.available
        and all((pod.key_version, pod.key_delivery) == (NEW, STAMP.delivery) for pod in pods)
        and all(pod.terminating or pod.restarts <= rollout_status.CRASHES_ALLOWED for pod in pods)
    )
    answer = judge(seen, pods, overdue=overdue, stalled_before=stalled_before)
    assert isinstance(answer, Done) is whole


@given(st.sampled_from([ROLLED_OUT, STATEFUL]), PODS, st.booleans(), st.booleans())
def test_a_rollout_is_not_done_while_an_old_pod_is_listed(
    rolled_out: Workload, pods: list[Pod], overdue: bool, terminating: bool
) -> None:
    listed = [*pods, old_pod(terminating=terminating)]
    assert not isinstance(judge(rolled_out, listed, overdue=overdue), Done)


@given(WORKLOADS, PODS, st.booleans())
def test_a_rollout_that_waits_is_failed_at_its_deadline_and_not_waited_for(
    seen: Workload, pods: list[Pod], stalled_before: bool
) -> None:
    answer = judge(seen, pods, overdue=True, stalled_before=stalled_before)
    assert not isinstance(answer, Waiting)


@given(WORKLOADS, PODS)
def test_one_look_alone_never_believes_an_exceeded_progress_deadline(
    seen: Workload, pods: list[Pod]
) -> None:
    calm = replace(seen, progress_reason=None)
    answer, without = judge(seen, pods), judge(calm, pods)
    assert type(answer) is type(without)
    assert answer.summary == without.summary


def other_pods(count: int) -> list[Pod]:
    """Pods that the selector matches too: of a second Deployment, and one that is nobody's."""
    of_worker = [Pod(f"worker-{n}", OLD, other_owner="ReplicaSet worker-7d") for n in range(count)]
    return [*of_worker, Pod("debug", None, other_owner="no controller")]


@BOTH
@every_case("count", [0, 3, 900])
def test_pods_of_another_owner_neither_hold_a_rollout_up_nor_fail_it(
    rolled_out: Workload, count: int
) -> None:
    stuck = new_pod("worker-x", waiting_reasons=("ErrImagePull",), other_owner="Job x")
    assert judge(rolled_out, [*new_pods(), *other_pods(count), stuck]) == Done("3 of 3 new")
    waiting = judge(seen_as(rolled_out, available=2), [*new_pods(), *other_pods(count)])
    assert isinstance(waiting, Waiting)
    assert waiting.summary.startswith("3 of 3 new; ")


def test_pods_of_another_owner_are_named_up_to_a_bound() -> None:
    assert rollout_status.not_restarted(new_pods()) is None
    named = rollout_status.not_restarted([*new_pods(), *other_pods(1)])
    assert (
        named == "2 pods of another owner: debug (no controller), worker-0 (ReplicaSet worker-7d)"
    )
    assert (
        rollout_status.not_restarted(other_pods(0))
        == "1 pod of another owner: debug (no controller)"
    )
    many = rollout_status.not_restarted(other_pods(900))
    assert many is not None
    assert many.startswith("901 pods of another owner: debug (no controller), worker-0 ")
    assert many.endswith(" and 896 more")
    assert len(many) < 250


REFUSED = rollout_status.PodRefusal(
    "FailedCreate: exceeded quota: q", since=NOON - timedelta(minutes=2)
)
BLOCKED = seen_as(
    ROLLED_OUT, updated=0, available=0, progress_reason="ReplicaSetUpdated", pod_refusal=REFUSED
)


def test_pods_that_kubernetes_may_not_create_are_told_at_once() -> None:
    fresh = seen_as(BLOCKED, pod_refusal=replace(REFUSED, since=NOON))
    answer = judge(fresh, [old_pod()], stalled_before=True)
    assert isinstance(answer, Waiting)
    assert answer.summary.endswith(
        "0 of 3 updated; Kubernetes may not create a pod (FailedCreate: exceeded quota: q)"
    )
    assert not answer.stalled


def test_pods_that_are_refused_for_a_minute_fail_the_rollout() -> None:
    first = judge(BLOCKED, [old_pod()])
    assert isinstance(first, Waiting)
    assert first.stalled
    second = judge(BLOCKED, [old_pod()], stalled_before=first.stalled)
    assert isinstance(second, Failed)
    assert second.error is errors.RolloutFailed
    assert "exceeded quota: q" in second.summary
    assert "kubectl describe replicasets; kubectl describe resourcequotas" in second.summary


@pytest.mark.parametrize(
    ("seen", "pods"),
    [
        ({}, [old_pod(), old_pod(terminating=True)]),
        ({"updated": 1}, [old_pod(), new_pod("new-1")]),
    ],
    ids=["an old pod ends", "a new pod becomes ready"],
)
def test_a_refusal_is_waited_out_while_something_may_make_room(
    seen: dict[str, Any], pods: list[Pod]
) -> None:
    answer = judge(seen_as(BLOCKED, **seen), pods, stalled_before=True)
    assert isinstance(answer, Waiting)
    assert not answer.stalled


@pytest.mark.parametrize(
    ("seen", "commands"),
    [
        ({"available": 2}, "kubectl describe deployment/web-console; kubectl describe pods"),
        (
            {"updated": 2, "available": 2},
            "kubectl describe deployment/web-console; kubectl describe replicasets",
        ),
        (
            {"updated": 2, "available": 2, "pod_refusal": REFUSED},
            "kubectl describe replicasets; kubectl describe resourcequotas",
        ),
    ],
    ids=["pods are not ready", "pods are missing", "pods are refused"],
)
def test_at_the_deadline_the_advice_names_what_has_the_events(
    seen: dict[str, Any], commands: str
) -> None:
    answer = judge(seen_as(ROLLED_OUT, **seen), new_pods(2), overdue=True)
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutOverdue
    assert answer.summary.endswith(f"See the events: {commands}")


PAUSED = seen_as(ROLLED_OUT, paused=True, updated=0, resumes_at=NOON)


@pytest.mark.parametrize("late", [timedelta(minutes=-14), timedelta(), rollout_status.RESUME_LIMIT])
def test_a_pause_that_reloader_ends_is_waited_for(late: timedelta) -> None:
    seen = seen_as(PAUSED, resumes_at=NOON - late)
    assert rollout_status.restart_blocker(seen, NOON) is None
    answer = judge(seen, [old_pod()])
    assert isinstance(answer, Waiting)
    assert answer.summary.endswith(f"Reloader has paused it until {format_timestamp(NOON - late)}")


def test_a_pause_that_reloader_had_to_end_before_is_a_pause() -> None:
    late = seen_as(PAUSED, resumes_at=NOON - rollout_status.RESUME_LIMIT - timedelta(seconds=1))
    answer = judge(late, [old_pod()])
    assert isinstance(answer, Failed)
    assert answer.error is errors.ServicePaused
    assert "Reloader had to resume it at 2026-11-24T11:58:59.000Z." in answer.summary
    assert "kubectl rollout resume deployment/web-console" in answer.summary


def test_a_pause_by_reloader_ends_with_our_deadline_at_the_latest() -> None:
    answer = judge(seen_as(PAUSED, resumes_at=NOON + LIMIT), [old_pod()], overdue=True)
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutOverdue
