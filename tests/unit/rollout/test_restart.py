"""Restarts that happen once, and looks that say how far a rollout is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.rollout import restart
from keyturn.rollout.status import Pod, PodRefusal, Workload
from keyturn.run.ledger import CheckRolloutEntry
from keyturn.run.times import format_timestamp
from tests.conftest import NEW, NOON, OLD, STAMP
from tests.fakes import FakeCluster

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


OLD_PODS = [Pod("b", OLD, uid="uid-1"), Pod("a", None, uid="uid-2")]


def new_pod(name: str, **seen: Any) -> Pod:
    return Pod(name, NEW, key_delivery=STAMP.delivery, **seen)


def new_pods(count: int = 3) -> list[Pod]:
    return [new_pod(f"new-{number}", uid=f"uid-{number}") for number in range(count)]


def old_pod(*, terminating: bool = False) -> Pod:
    return Pod("old", OLD, terminating=terminating)


def still_on_top() -> None:
    """No other rotation has overtaken the run."""


@pytest.fixture
def cluster() -> FakeCluster:
    before = replace(ROLLED_OUT, key_version=OLD)
    return FakeCluster({"web-console": before}, {"web-console": OLD_PODS})


@pytest.mark.parametrize(
    ("by_operator", "by_reloader", "named"),
    [
        (["deployment/web-console"], False, "the Vault Secrets Operator"),
        (["deployment/web-console"], True, "Reloader and the Vault Secrets Operator"),
        (["statefulset/web-console", "deployment/auth-service"], False, None),
    ],
)
def test_an_operator_that_restarts_the_service_too_is_named(
    by_operator: list[str], by_reloader: bool, named: str | None, cluster: FakeCluster
) -> None:
    seen = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(seen, restarts_itself=by_reloader)
    restarted = restart.restart_workload(
        cluster, STAMP, "web-console", NOON, still_on_top, by_operator
    ).entry
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, named)


@pytest.mark.parametrize(
    ("matches", "named"),
    [
        (True, "Reloader"),
        (False, None),
        (None, "perhaps Reloader (restart_service may not read the Secret's annotations)"),
    ],
)
def test_a_searching_reloader_is_named_as_far_as_known(
    matches: bool | None, named: str | None, cluster: FakeCluster
) -> None:
    seen = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(seen, restarts_itself=None)
    cluster.matches_reloader = matches
    restarted = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, named)


def test_restarting_twice_patches_once(cluster: FakeCluster) -> None:
    first = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry
    again = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry
    assert cluster.restarts == [("web-console", False)]
    assert (first["restarted"], again["restarted"]) == (True, False)
    assert cluster.workloads["web-console"].key_version == NEW


def test_a_service_is_restarted_again_after_another_delivery(
    cluster: FakeCluster,
) -> None:
    """Somebody wrote over the key meanwhile: its pods may have started with another one."""
    restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top)
    cluster.pods_of["web-console"] = new_pods(2)
    again, hour = replace(STAMP, delivery="4"), timedelta(hours=1)
    second = restart.restart_workload(cluster, again, "web-console", NOON + hour, still_on_top)
    retried = restart.restart_workload(cluster, again, "web-console", NOON + hour, still_on_top)
    assert (second.entry["restarted"], retried.entry["restarted"]) == (True, False)
    assert second.pods == {"new-0": "uid-0", "new-1": "uid-1"}
    assert len(cluster.restarts) == 2
    assert again.is_on(cluster.workloads["web-console"])


def test_a_restart_is_kubectls_with_the_keys_version_and_the_same_on_every_try(
    cluster: FakeCluster,
) -> None:
    restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top)
    assert cluster.annotations == [
        {
            "kubectl.kubernetes.io/restartedAt": format_timestamp(NOON),
            "keyturn/session-key-version": NEW,
            "keyturn/session-key-delivery": STAMP.delivery,
        }
    ]


def test_a_run_that_was_overtaken_since_its_first_look_restarts_nothing(
    cluster: FakeCluster,
) -> None:
    def overtaken() -> None:
        raise errors.Superseded("another rotation has overtaken this run")

    with pytest.raises(errors.Superseded):
        restart.restart_workload(cluster, STAMP, "web-console", NOON, overtaken)
    assert cluster.restarts == []


def test_a_restart_by_a_later_run_is_not_overwritten(
    cluster: FakeCluster,
) -> None:
    """Held up after its last look at the label: the patch asks for what was read before that."""
    later = replace(STAMP, version="emergency", delivery="9")

    def held_up() -> None:
        if not cluster.restarts:
            restart.restart_workload(cluster, later, "web-console", NOON, still_on_top)

    with pytest.raises(errors.DeliveryConflict):
        restart.restart_workload(cluster, STAMP, "web-console", NOON, held_up)
    assert later.is_on(cluster.workloads["web-console"])


def test_a_service_that_is_restarted_already_is_looked_at_alone(cluster: FakeCluster) -> None:
    restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top)

    def asked_again() -> None:
        raise AssertionError("nothing is to be written")

    restarted = restart.restart_workload(cluster, STAMP, "web-console", NOON, asked_again)
    assert not restarted.entry["restarted"]


def test_a_restart_counts_and_names_the_pods_that_it_will_replace(
    cluster: FakeCluster,
) -> None:
    cluster.pods_of["web-console"] = [*cluster.pods_of["web-console"], new_pod("c")]
    restarted = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top)
    assert restarted.entry == {
        "service": "web-console",
        "restarted": True,
        "alsoRestartedBy": None,
        "podsBefore": 2,
    }
    assert restarted.pods == {"a": "uid-2", "b": "uid-1"}


def test_a_restart_names_others_that_restart_the_service(
    cluster: FakeCluster,
) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, restarts_itself=True)
    restarted = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, "Reloader")
    assert cluster.restarts == [("web-console", False)]


def test_a_stateful_set_is_restarted_by_its_argument(cluster: FakeCluster) -> None:
    stateful = replace(ROLLED_OUT, name="db", kind="StatefulSet", key_version=OLD)
    cluster.workloads["statefulset/db"] = stateful
    restarted = restart.restart_workload(cluster, STAMP, "statefulset/db", NOON, still_on_top).entry
    assert (restarted["service"], restarted["restarted"]) == ("statefulset/db", True)
    assert cluster.restarts == [("statefulset/db", False)]


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({"paused": True}, errors.ServicePaused),
        ({"desired": 0}, errors.ServiceScaledToZero),
        ({"keeps_old": "update strategy OnDelete"}, errors.ServiceKeepsOldPods),
    ],
)
def test_a_workload_that_would_not_roll_out_is_not_restarted(
    cluster: FakeCluster, seen: dict[str, object], error: type[errors.Stop]
) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, **seen)  # type: ignore[arg-type]
    for attempt in (
        lambda: restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top),
        lambda: restart.check_ready(cluster, "web-console"),
    ):
        with pytest.raises(error, match="web-console"):
            attempt()
    assert cluster.restarts == []


def test_readiness_is_proved_by_a_dry_run_that_changes_nothing(cluster: FakeCluster) -> None:
    before = cluster.workloads["web-console"]
    restart.check_ready(cluster, "web-console")
    assert cluster.restarts == [("web-console", True)]
    assert cluster.workloads["web-console"] == before


def test_a_workload_that_does_not_read_the_key_is_not_ready(cluster: FakeCluster) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, refers_to_key=False)
    with pytest.raises(errors.KeyNotInjected, match="web-console"):
        restart.check_ready(cluster, "web-console")


OTHERS = [Pod("debug", None, uid="uid-7", other_owner="no controller")]


def test_pods_of_another_owner_are_noted_and_block_no_promotion(
    cluster: FakeCluster,
) -> None:
    cluster.pods_of["web-console"] = [*OLD_PODS, *OTHERS]
    note = restart.check_ready(cluster, "web-console")
    assert note is not None
    assert "Deployment web-console matches 1 pod of another owner: debug (no controller)" in note
    cluster.pods_of["web-console"] = OLD_PODS
    assert restart.check_ready(cluster, "web-console") is None


def test_pods_of_another_owner_are_reported_as_not_restarted(
    cluster: FakeCluster,
) -> None:
    cluster.pods_of["web-console"] = [*OLD_PODS, *OTHERS]
    restarted = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top)
    assert restarted.pods == {"a": "uid-2", "b": "uid-1"}
    cluster.workloads["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = [*new_pods(), *OTHERS]
    done = look(cluster, after=timedelta(seconds=1))
    assert (done["state"], done["podsAfter"]) == ("done", 3)
    assert done["notRestarted"] == "1 pod of another owner: debug (no controller)"


def test_a_workload_that_lacks_pods_is_refused_before_the_promotion_alone(
    cluster: FakeCluster,
) -> None:
    """An emergency is not held up: it restarts what it can."""
    refused = PodRefusal("FailedCreate: exceeded quota: q", NOON)
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, pod_refusal=refused)
    with pytest.raises(errors.RolloutFailed, match=r"exceeded quota: q.*Nothing was changed"):
        restart.check_ready(cluster, "web-console")
    assert cluster.restarts == []
    assert restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry[
        "restarted"
    ]


@pytest.mark.parametrize(
    ("by_reloader", "noted"), [(True, True), (None, True), (False, False)], ids=str
)
def test_a_pause_by_reloader_is_noted_before_the_promotion(
    cluster: FakeCluster, by_reloader: bool | None, noted: bool
) -> None:
    cluster.workloads["web-console"] = replace(
        cluster.workloads["web-console"],
        restarts_itself=by_reloader,
        pause_period=timedelta(seconds=20),
    )
    note = restart.check_ready(cluster, "web-console")
    assert (note is not None and "pauses Deployment web-console for 20 s" in note) is noted


def test_a_deployment_that_reloader_has_paused_is_restarted_all_the_same(
    cluster: FakeCluster,
) -> None:
    before = cluster.workloads["web-console"]
    paused = replace(before, paused=True, resumes_at=NOON + timedelta(seconds=20))
    cluster.workloads["web-console"] = paused
    assert restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).entry[
        "restarted"
    ]


@pytest.mark.parametrize(
    ("pause", "by_reloader", "refused"),
    [
        (LIMIT, True, True),
        (timedelta(hours=24), True, True),
        (LIMIT - timedelta(seconds=1), True, False),
        (LIMIT, False, False),
        (LIMIT, None, False),
        (None, True, False),
    ],
    ids=str,
)
def test_a_pause_as_long_as_a_rollout_may_take_is_refused_before_the_promotion(
    cluster: FakeCluster, pause: timedelta | None, by_reloader: bool | None, refused: bool
) -> None:
    cluster.workloads["web-console"] = replace(
        cluster.workloads["web-console"], restarts_itself=by_reloader, pause_period=pause
    )
    if not refused:
        restart.check_in_time(cluster, "web-console", LIMIT)
        return
    with pytest.raises(errors.ServicePaused, match=r"and a rollout has 900 s \(RolloutSeconds\)"):
        restart.check_in_time(cluster, "web-console", LIMIT)


def test_a_workload_that_does_not_exist_is_not_ready(cluster: FakeCluster) -> None:
    with pytest.raises(errors.ServiceNotFound):
        restart.check_ready(cluster, "auth-service")
    with pytest.raises(errors.ServiceNotFound):
        restart.check_in_time(cluster, "auth-service", LIMIT)


def look(cluster: FakeCluster, *, after: timedelta, last: Any = None) -> Any:
    """Look; `last` is the entry of the last look."""
    return look_at_pods(cluster, after=after, last=last).entry


def look_at_pods(
    cluster: FakeCluster, *, after: timedelta, last: Any = None
) -> restart.CountedPods[CheckRolloutEntry]:
    restarted = {
        "service": "web-console",
        "restarted": True,
        "alsoRestartedBy": "Reloader",
        "podsBefore": 2,
        "startedAt": format_timestamp(NOON),
    }
    ledger: Any = {"start": {"startedAt": format_timestamp(NOON)}, "restart_service": restarted}
    ledger |= {} if last is None else {"check_rollout": last}
    return restart.check_rollout(cluster, STAMP, ledger, LIMIT, NOON + after)


def test_a_look_says_how_far_the_rollout_is(cluster: FakeCluster) -> None:
    cluster.workloads["web-console"] = replace(ROLLED_OUT, updated=2, available=2, total=3)
    cluster.pods_of["web-console"] = [*new_pods(2), old_pod(terminating=True)]
    assert look(cluster, after=timedelta(seconds=90)) == {
        "service": "web-console",
        "state": "waiting",
        "says": "2 of 3 new, 1 old terminating; 2 of 3 updated",
        "stalled": False,
        "replicas": 3,
        "alsoRestartedBy": "Reloader",
        "podsBefore": 2,
        "podsAfter": 2,
        "notRestarted": None,
        "startedAt": format_timestamp(NOON),
        "seconds": 90.0,
    }


def test_pods_of_a_stateful_set_with_the_same_name_differ_by_uid(
    cluster: FakeCluster,
) -> None:
    before = restart.restart_workload(cluster, STAMP, "web-console", NOON, still_on_top).pods
    cluster.workloads["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = [new_pod(name, uid=f"new-{name}") for name in before]
    after = look_at_pods(cluster, after=timedelta(seconds=1)).pods
    assert list(before) == list(after) == ["a", "b"]
    assert not set(before.values()) & set(after.values())


def test_a_look_tells_old_pods_that_serve_from_those_that_leave(cluster: FakeCluster) -> None:
    cluster.workloads["web-console"] = replace(ROLLED_OUT, updated=1)
    cluster.pods_of["web-console"] = [*new_pods(1), old_pod(), old_pod(terminating=True)]
    summary = look(cluster, after=timedelta(seconds=1))["says"]
    assert str(summary).startswith("1 of 3 new, 1 old, 1 old terminating; ")


def test_a_look_at_a_finished_rollout_says_done(cluster: FakeCluster) -> None:
    cluster.workloads["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = new_pods()
    found = look(cluster, after=timedelta(seconds=1))
    assert (found["state"], found["says"]) == ("done", "3 of 3 new")
    assert found["stalled"] is False


def test_a_look_remembers_a_stalled_rollout_for_the_next_which_fails(cluster: FakeCluster) -> None:
    stalled = replace(ROLLED_OUT, updated=2, progress_reason="ProgressDeadlineExceeded")
    cluster.workloads["web-console"] = stalled
    first = look(cluster, after=timedelta(seconds=1))
    assert (first["state"], first["stalled"]) == ("waiting", True)
    with pytest.raises(errors.RolloutFailed, match="ProgressDeadlineExceeded"):
        look(cluster, after=timedelta(seconds=6), last=first)


def test_a_rollout_that_stalls_goes_on_and_stalls_again_is_not_failed_at_once(
    cluster: FakeCluster,
) -> None:
    going_on = replace(ROLLED_OUT, updated=2)
    stalled = replace(going_on, progress_reason="ProgressDeadlineExceeded")
    last: dict[str, Any] | None = None
    for second, seen in enumerate([stalled, going_on, stalled]):
        cluster.workloads["web-console"] = seen
        last = look(cluster, after=timedelta(seconds=second), last=last)
        assert (last["state"], last["stalled"]) == ("waiting", seen is stalled)


def test_a_look_at_a_rollout_that_nothing_began_is_refused(cluster: FakeCluster) -> None:
    with pytest.raises(errors.RequestRefused, match="'restart_service'"):
        restart.check_rollout(cluster, STAMP, {}, LIMIT, NOON)


def test_a_look_at_a_failed_rollout_raises_its_error_with_the_services_name(
    cluster: FakeCluster,
) -> None:
    cluster.workloads["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = [new_pod("new-1", waiting_reasons=("ErrImagePull",))]
    with pytest.raises(errors.RolloutFailed, match=r"^web-console: 1 of 3 new; new pod new-1"):
        look(cluster, after=timedelta(seconds=1))


def test_the_deadline_counts_from_the_restart(cluster: FakeCluster) -> None:
    cluster.workloads["web-console"] = replace(ROLLED_OUT, available=0)
    look(cluster, after=LIMIT - timedelta(seconds=1))
    with pytest.raises(errors.RolloutOverdue):
        look(cluster, after=LIMIT)
