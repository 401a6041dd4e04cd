"""`keyturn.rollout`: restarts that happen once, and a verdict that is never too early."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors, rollout
from keyturn.rollout import Deployment, Done, Failed, Pod, Verdict, Waiting
from keyturn.run import Run, timestamp
from tests.conftest import NEW, NOON, OLD
from tests.fakes import FakeCluster

LIMIT = timedelta(minutes=15)

ROLLED_OUT = Deployment(
    name="web-console",
    generation=7,
    observed_generation=7,
    paused=False,
    wanted=3,
    total=3,
    updated=3,
    available=3,
    key_version=NEW,
    progress_reason="NewReplicaSetAvailable",
)


def new_pods(count: int = 3) -> list[Pod]:
    return [Pod(f"new-{number}", NEW) for number in range(count)]


def old_pod(*, terminating: bool = False) -> Pod:
    return Pod("old", OLD, terminating=terminating)


def judge(deployment: Deployment, pods: list[Pod], *, overdue: bool = False) -> Verdict:
    at = NOON + LIMIT if overdue else NOON
    return rollout.verdict(deployment, pods, NEW, deadline=NOON + LIMIT, at=at)


def test_a_rollout_is_done_when_every_wanted_pod_is_new_and_available() -> None:
    assert judge(ROLLED_OUT, new_pods()) == Done("3 of 3 new")


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ({"generation": 8}, "the change is not observed yet"),
        ({"updated": 2}, "2 of 3 updated"),
        ({"total": 4}, "1 old pending termination"),
        ({"available": 2}, "2 of 3 available"),
    ],
)
def test_each_of_kubectls_reasons_to_wait_is_one(seen: dict[str, int], says: str) -> None:
    answer = judge(replace(ROLLED_OUT, **seen), new_pods())  # type: ignore[arg-type]
    assert isinstance(answer, Waiting)
    assert answer.says.endswith(f"; {says}")


def test_kubectls_reasons_come_in_kubectls_order() -> None:
    """See `Status` in polymorphichelpers/rollout_status.go."""
    seen = replace(ROLLED_OUT, generation=8, updated=2, total=5, available=1)
    said = []
    for seen_next in (
        {"generation": 7},
        {"updated": 3},
        {"total": 3},
        {"available": 3},
    ):
        answer = judge(seen, new_pods())
        assert isinstance(answer, Waiting)
        said.append(answer.says.split("; ")[1])
        seen = replace(seen, **seen_next)  # type: ignore[arg-type]
    assert said == [
        "the change is not observed yet",
        "2 of 3 updated",
        "2 old pending termination",
        "1 of 3 available",
    ]
    assert isinstance(judge(seen, new_pods()), Done)


@pytest.mark.parametrize("terminating", [False, True])
def test_a_rollout_waits_for_the_last_old_pod_also_where_kubectl_does_not(
    terminating: bool,
) -> None:
    answer = judge(ROLLED_OUT, [*new_pods(), old_pod(terminating=terminating)])
    assert isinstance(answer, Waiting)
    assert answer.says.endswith("; 1 old still there")


def test_a_pod_that_carries_no_version_is_an_old_one() -> None:
    assert isinstance(judge(ROLLED_OUT, [*new_pods(), Pod("before", None)]), Waiting)


def test_a_new_pod_that_is_terminating_does_not_hold_up_the_rollout() -> None:
    leaving = Pod("new-4", NEW, terminating=True, waiting_reasons=("ImagePullBackOff",), restarts=9)
    assert judge(ROLLED_OUT, [*new_pods(), leaving]) == Done("3 of 3 new")


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({"key_version": OLD}, errors.RestartOverwritten),
        ({"key_version": None}, errors.RestartOverwritten),
        ({"paused": True}, errors.ServicePaused),
        ({"wanted": 0, "total": 0, "updated": 0, "available": 0}, errors.ServiceScaledToZero),
        ({"progress_reason": "ProgressDeadlineExceeded"}, errors.RolloutFailed),
    ],
)
def test_what_waiting_cannot_mend_fails_by_name(
    seen: dict[str, object], error: type[errors.Stop]
) -> None:
    answer = judge(replace(ROLLED_OUT, **seen), [])  # type: ignore[arg-type]
    assert isinstance(answer, Failed)
    assert answer.error is error


def test_an_exceeded_progress_deadline_of_the_rollout_before_is_not_ours() -> None:
    """The condition is stale until the controller has observed our change."""
    stale = replace(ROLLED_OUT, generation=8, progress_reason="ProgressDeadlineExceeded")
    assert isinstance(judge(stale, new_pods()), Waiting)


@pytest.mark.parametrize("reason", sorted(rollout.HOPELESS))
def test_a_new_pod_that_can_never_start_fails_at_once(reason: str) -> None:
    stuck = Pod("new-9", NEW, waiting_reasons=("PodInitializing", reason))
    answer = judge(replace(ROLLED_OUT, updated=1, available=0), [stuck, old_pod()])
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutFailed
    assert reason in answer.says
    assert "kubectl describe pod new-9" in answer.says


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "CrashLoopBackOff"])
def test_a_new_pod_that_may_still_start_is_waited_for(reason: str) -> None:
    starting = Pod("new-9", NEW, waiting_reasons=(reason,), restarts=rollout.CRASHES_ALLOWED)
    assert isinstance(judge(replace(ROLLED_OUT, available=2), [starting]), Waiting)


def test_a_new_pod_that_crashes_again_and_again_fails() -> None:
    crashing = Pod("new-9", NEW, restarts=rollout.CRASHES_ALLOWED + 1)
    answer = judge(replace(ROLLED_OUT, available=2), [crashing])
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutFailed
    assert "kubectl logs -p new-9" in answer.says


def test_an_old_pod_may_be_as_broken_as_it_likes() -> None:
    broken = Pod("old", OLD, waiting_reasons=("ImagePullBackOff",), restarts=99)
    assert isinstance(judge(ROLLED_OUT, [*new_pods(), broken]), Waiting)


def test_a_rollout_that_is_not_done_at_its_deadline_is_overdue() -> None:
    answer = judge(ROLLED_OUT, [*new_pods(), old_pod(terminating=True)], overdue=True)
    assert isinstance(answer, Failed)
    assert answer.error is errors.RolloutOverdue
    assert "3 of 3 new, 1 old terminating" in answer.says


def test_a_rollout_that_is_done_at_its_deadline_is_done() -> None:
    assert isinstance(judge(ROLLED_OUT, new_pods(), overdue=True), Done)


COUNT = st.integers(min_value=0, max_value=4)
PODS = st.lists(
    st.builds(
        Pod,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([NEW, NEW, NEW, OLD, None]),
        terminating=st.booleans(),
        restarts=COUNT,
    ),
    max_size=4,
)
DEPLOYMENTS = st.builds(
    Deployment,
    name=st.just("web-console"),
    generation=COUNT,
    observed_generation=COUNT,
    paused=st.booleans(),
    wanted=COUNT,
    total=COUNT,
    updated=COUNT,
    available=COUNT,
    key_version=st.sampled_from([NEW, NEW, OLD, None]),
    progress_reason=st.sampled_from([None, "ProgressDeadlineExceeded"]),
)


@given(DEPLOYMENTS, PODS, st.booleans())
def test_a_rollout_is_never_done_with_an_old_pod_or_a_short_counter(
    deployment: Deployment, pods: list[Pod], overdue: bool
) -> None:
    whole = (
        deployment.key_version == NEW
        and not deployment.paused
        and deployment.observed_generation >= deployment.generation
        and deployment.progress_reason is None
        and deployment.updated >= deployment.wanted > 0
        and deployment.total <= deployment.updated <= deployment.available
        and all(pod.key_version == NEW for pod in pods)
        and all(pod.terminating or pod.restarts <= rollout.CRASHES_ALLOWED for pod in pods)
    )
    assert isinstance(judge(deployment, pods, overdue=overdue), Done) is whole


@pytest.fixture
def cluster() -> FakeCluster:
    before = replace(ROLLED_OUT, key_version=OLD)
    return FakeCluster({"web-console": before}, {"web-console": [Pod("b", OLD), Pod("a", None)]})


def test_restarting_twice_patches_once(cluster: FakeCluster, run: Run) -> None:
    first = rollout.restart(cluster, run, "web-console", NOON)
    again = rollout.restart(cluster, run, "web-console", NOON)
    assert cluster.restarts == [("web-console", False)]
    assert (first["restarted"], again["restarted"]) == (True, False)
    assert cluster.deployments["web-console"].key_version == NEW


def test_a_restart_is_kubectls_with_the_keys_version_and_the_same_on_every_try(
    cluster: FakeCluster, run: Run
) -> None:
    rollout.restart(cluster, run, "web-console", NOON)
    assert cluster.annotations == [
        {
            "kubectl.kubernetes.io/restartedAt": timestamp(NOON),
            "keyturn/session-key-version": NEW,
        }
    ]


def test_a_restart_tells_which_pods_it_will_replace(cluster: FakeCluster, run: Run) -> None:
    cluster.pods_of["web-console"] = [*cluster.pods_of["web-console"], Pod("c", NEW)]
    assert rollout.restart(cluster, run, "web-console", NOON) == {
        "service": "web-console",
        "restarted": True,
        "podsBefore": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({"paused": True}, errors.ServicePaused),
        ({"wanted": 0}, errors.ServiceScaledToZero),
    ],
)
def test_a_deployment_that_would_not_roll_out_is_not_restarted(
    cluster: FakeCluster, run: Run, seen: dict[str, object], error: type[errors.Stop]
) -> None:
    before = cluster.deployments["web-console"]
    cluster.deployments["web-console"] = replace(before, **seen)  # type: ignore[arg-type]
    for attempt in (
        lambda: rollout.restart(cluster, run, "web-console", NOON),
        lambda: rollout.check_ready(cluster, "web-console"),
    ):
        with pytest.raises(error, match="web-console"):
            attempt()
    assert cluster.restarts == []


def test_readiness_is_proved_by_a_dry_run_that_changes_nothing(cluster: FakeCluster) -> None:
    before = cluster.deployments["web-console"]
    rollout.check_ready(cluster, "web-console")
    assert cluster.restarts == [("web-console", True)]
    assert cluster.deployments["web-console"] == before


def test_a_deployment_that_does_not_read_the_key_is_not_ready(cluster: FakeCluster) -> None:
    before = cluster.deployments["web-console"]
    cluster.deployments["web-console"] = replace(before, refers_to_key=False)
    with pytest.raises(errors.KeyNotInjected, match="web-console"):
        rollout.check_ready(cluster, "web-console")


def test_a_deployment_that_does_not_exist_is_not_ready(cluster: FakeCluster) -> None:
    with pytest.raises(errors.ServiceNotFound):
        rollout.check_ready(cluster, "auth-service")


def look(cluster: FakeCluster, run: Run, *, after: timedelta) -> dict[str, object]:
    restarted = {
        "service": "web-console",
        "podsBefore": ["old", "old-2"],
        "startedAt": timestamp(NOON),
    }
    return rollout.check(cluster, run, restarted, LIMIT, NOON + after)


def test_a_look_says_how_far_the_rollout_is(cluster: FakeCluster, run: Run) -> None:
    cluster.deployments["web-console"] = replace(ROLLED_OUT, updated=2, available=2, total=3)
    cluster.pods_of["web-console"] = [*new_pods(2), old_pod(terminating=True)]
    assert look(cluster, run, after=timedelta(seconds=90)) == {
        "service": "web-console",
        "state": "waiting",
        "says": "2 of 3 new, 1 old terminating; 2 of 3 updated",
        "replicas": 3,
        "podsBefore": ["old", "old-2"],
        "podsAfter": ["new-0", "new-1"],
        "startedAt": timestamp(NOON),
        "seconds": 90.0,
    }


def test_a_look_tells_old_pods_that_serve_from_those_that_leave(
    cluster: FakeCluster, run: Run
) -> None:
    cluster.deployments["web-console"] = replace(ROLLED_OUT, updated=1)
    cluster.pods_of["web-console"] = [*new_pods(1), old_pod(), old_pod(terminating=True)]
    says = look(cluster, run, after=timedelta(seconds=1))["says"]
    assert str(says).startswith("1 of 3 new, 1 old, 1 old terminating; ")


def test_a_look_at_a_finished_rollout_says_done(cluster: FakeCluster, run: Run) -> None:
    cluster.deployments["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = new_pods()
    found = look(cluster, run, after=timedelta(seconds=1))
    assert (found["state"], found["says"]) == ("done", "3 of 3 new")


def test_a_look_at_a_failed_rollout_raises_its_error_with_the_services_name(
    cluster: FakeCluster, run: Run
) -> None:
    cluster.deployments["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = [Pod("new-1", NEW, waiting_reasons=("ErrImagePull",))]
    with pytest.raises(errors.RolloutFailed, match=r"^web-console: 1 of 3 new; new pod new-1"):
        look(cluster, run, after=timedelta(seconds=1))


def test_the_deadline_counts_from_the_restart(cluster: FakeCluster, run: Run) -> None:
    cluster.deployments["web-console"] = replace(ROLLED_OUT, available=0)
    look(cluster, run, after=LIMIT - timedelta(seconds=1))
    with pytest.raises(errors.RolloutOverdue):
        look(cluster, run, after=LIMIT)
