"""`keyturn.rollout`: restarts that happen once, and looks that say how far a rollout is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors, rollout
from keyturn.run import timestamp
from keyturn.workload import Pod, Workload
from tests.conftest import NEW, NOON, OLD, STAMP
from tests.fakes import FakeCluster

LIMIT = timedelta(minutes=15)

ROLLED_OUT = Workload(
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
    restarted = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top, by_operator)
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, named)


@pytest.mark.parametrize(
    ("matches", "named"),
    [
        (True, "Reloader"),
        (False, None),
        (None, "perhaps Reloader (restart_service may not read the Secret's annotations)"),
    ],
)
def test_a_reloader_that_searches_is_named_as_far_as_can_be_seen_and_never_an_error(
    matches: bool | None, named: str | None, cluster: FakeCluster
) -> None:
    seen = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(seen, restarts_itself=None)
    cluster.matches_reloader = matches
    restarted = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, named)


def test_restarting_twice_patches_once(cluster: FakeCluster) -> None:
    first = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    again = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    assert cluster.restarts == [("web-console", False)]
    assert (first["restarted"], again["restarted"]) == (True, False)
    assert cluster.workloads["web-console"].key_version == NEW


def test_a_service_that_was_restarted_before_the_key_was_delivered_again_is_restarted_again(
    cluster: FakeCluster,
) -> None:
    """Somebody wrote over the key meanwhile: its pods may have started with another one."""
    rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    cluster.pods_of["web-console"] = new_pods(2)
    again, hour = replace(STAMP, delivery="4"), timedelta(hours=1)
    second = rollout.restart(cluster, again, "web-console", NOON + hour, still_on_top)
    retried = rollout.restart(cluster, again, "web-console", NOON + hour, still_on_top)
    assert (second["restarted"], retried["restarted"]) == (True, False)
    assert second["podsBefore"] == {"new-0": "uid-0", "new-1": "uid-1"}
    assert len(cluster.restarts) == 2
    assert again.is_on(cluster.workloads["web-console"])


def test_a_restart_is_kubectls_with_the_keys_version_and_the_same_on_every_try(
    cluster: FakeCluster,
) -> None:
    rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    assert cluster.annotations == [
        {
            "kubectl.kubernetes.io/restartedAt": timestamp(NOON),
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
        rollout.restart(cluster, STAMP, "web-console", NOON, overtaken)
    assert cluster.restarts == []


def test_a_restart_by_a_later_run_between_the_look_and_the_patch_is_not_stamped_over(
    cluster: FakeCluster,
) -> None:
    """Held up after its last look at the label: the patch asks for what was read before that."""
    later = replace(STAMP, version="emergency", delivery="9")

    def held_up() -> None:
        if not cluster.restarts:
            rollout.restart(cluster, later, "web-console", NOON, still_on_top)

    with pytest.raises(errors.DeliveryConflict):
        rollout.restart(cluster, STAMP, "web-console", NOON, held_up)
    assert later.is_on(cluster.workloads["web-console"])


def test_a_service_that_is_restarted_already_is_looked_at_alone(cluster: FakeCluster) -> None:
    rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)

    def asked_again() -> None:
        raise AssertionError("nothing is to be written")

    assert not rollout.restart(cluster, STAMP, "web-console", NOON, asked_again)["restarted"]


def test_a_restart_tells_which_pods_it_will_replace(cluster: FakeCluster) -> None:
    cluster.pods_of["web-console"] = [*cluster.pods_of["web-console"], new_pod("c")]
    assert rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top) == {
        "service": "web-console",
        "restarted": True,
        "alsoRestartedBy": None,
        "podsBefore": {"a": "uid-2", "b": "uid-1"},
    }


def test_a_restart_says_who_restarts_the_service_as_well_and_restarts_it_all_the_same(
    cluster: FakeCluster,
) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, restarts_itself=True)
    restarted = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)
    assert (restarted["restarted"], restarted["alsoRestartedBy"]) == (True, "Reloader")
    assert cluster.restarts == [("web-console", False)]


def test_a_stateful_set_is_restarted_by_its_argument(cluster: FakeCluster) -> None:
    stateful = replace(ROLLED_OUT, name="db", kind="StatefulSet", key_version=OLD)
    cluster.workloads["statefulset/db"] = stateful
    restarted = rollout.restart(cluster, STAMP, "statefulset/db", NOON, still_on_top)
    assert (restarted["service"], restarted["restarted"]) == ("statefulset/db", True)
    assert cluster.restarts == [("statefulset/db", False)]


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({"paused": True}, errors.ServicePaused),
        ({"wanted": 0}, errors.ServiceScaledToZero),
        ({"keeps_old": "update strategy OnDelete"}, errors.ServiceKeepsOldPods),
    ],
)
def test_a_workload_that_would_not_roll_out_is_not_restarted(
    cluster: FakeCluster, seen: dict[str, object], error: type[errors.Stop]
) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, **seen)  # type: ignore[arg-type]
    for attempt in (
        lambda: rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top),
        lambda: rollout.check_ready(cluster, "web-console"),
    ):
        with pytest.raises(error, match="web-console"):
            attempt()
    assert cluster.restarts == []


def test_readiness_is_proved_by_a_dry_run_that_changes_nothing(cluster: FakeCluster) -> None:
    before = cluster.workloads["web-console"]
    rollout.check_ready(cluster, "web-console")
    assert cluster.restarts == [("web-console", True)]
    assert cluster.workloads["web-console"] == before


def test_a_workload_that_does_not_read_the_key_is_not_ready(cluster: FakeCluster) -> None:
    before = cluster.workloads["web-console"]
    cluster.workloads["web-console"] = replace(before, refers_to_key=False)
    with pytest.raises(errors.KeyNotInjected, match="web-console"):
        rollout.check_ready(cluster, "web-console")


def test_a_workload_that_does_not_exist_is_not_ready(cluster: FakeCluster) -> None:
    with pytest.raises(errors.ServiceNotFound):
        rollout.check_ready(cluster, "auth-service")


def look(
    cluster: FakeCluster, *, after: timedelta, last: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Look; `last` is what the last look returned."""
    restarted = {
        "service": "web-console",
        "restarted": True,
        "alsoRestartedBy": "Reloader",
        "podsBefore": {"old": "uid-8", "old-2": "uid-9"},
        "startedAt": timestamp(NOON),
    }
    ledger = {"begin_rotation": {"startedAt": timestamp(NOON)}, "restart_service": restarted}
    ledger |= {} if last is None else {"check_rollout": last}
    return rollout.check(cluster, STAMP, ledger, LIMIT, NOON + after)


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
        "podsBefore": {"old": "uid-8", "old-2": "uid-9"},
        "podsAfter": {"new-0": "uid-0", "new-1": "uid-1"},
        "startedAt": timestamp(NOON),
        "seconds": 90.0,
    }


def test_a_look_tells_the_new_pods_of_a_stateful_set_from_the_old_ones_of_their_names(
    cluster: FakeCluster,
) -> None:
    before = rollout.restart(cluster, STAMP, "web-console", NOON, still_on_top)["podsBefore"]
    cluster.workloads["web-console"] = ROLLED_OUT
    cluster.pods_of["web-console"] = [new_pod(name, uid=f"new-{name}") for name in before]
    after = look(cluster, after=timedelta(seconds=1))["podsAfter"]
    assert list(before) == list(after) == ["a", "b"]
    assert not set(before.values()) & set(after.values())


def test_a_look_tells_old_pods_that_serve_from_those_that_leave(cluster: FakeCluster) -> None:
    cluster.workloads["web-console"] = replace(ROLLED_OUT, updated=1)
    cluster.pods_of["web-console"] = [*new_pods(1), old_pod(), old_pod(terminating=True)]
    says = look(cluster, after=timedelta(seconds=1))["says"]
    assert str(says).startswith("1 of 3 new, 1 old, 1 old terminating; ")


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
        rollout.check(cluster, STAMP, {}, LIMIT, NOON)


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
