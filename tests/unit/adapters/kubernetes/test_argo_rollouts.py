"""Argo Rollouts' Rollout: what restarts it, which of its pods are new, and when that is proved."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes import argo_rollouts, objects
from keyturn.rollout import restart as rollout_restart
from keyturn.rollout import status as rollout_status
from keyturn.rollout.status import Done, Failed, Pod, RolloutContext, Verdict, Waiting, Workload
from keyturn.run.times import format_timestamp, now
from local import argo_rollouts as controller
from local.cluster.resources import Json
from tests.conftest import NEW, NOON, OLD, STAMP
from tests.every_case import every_case
from tests.fakes import FakeCluster

SECOND = timedelta(seconds=1)
AT_NOON, LATER = "2026-11-24T12:00:00Z", "2026-11-24T12:00:01Z"
EARLIER = "2026-11-24T11:59:59Z"
ASKED = {**STAMP.annotations(), argo_rollouts.RESTART_AT: AT_NOON}
RESTARTED = Workload(
    name="web",
    kind="Rollout",
    generation=7,
    observed_generation=7,
    paused=False,
    desired=2,
    total=2,
    updated=2,
    available=2,
    key_version=NEW,
    key_delivery=STAMP.delivery,
)


def seen(
    spec: Json | None = None, notes: dict[str, str] | None = None, **status: Any
) -> dict[str, Any]:
    """A Rollout of which a restart at noon was asked."""
    template: Json = {"metadata": {}, "spec": {"containers": []}}
    return {
        "kind": "Rollout",
        "metadata": {
            "name": "web",
            "generation": 7,
            "resourceVersion": "41",
            "annotations": ASKED if notes is None else notes,
        },
        "spec": {
            "replicas": 2,
            "restartAt": AT_NOON,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
            **(spec or {}),
        },
        "status": {
            "observedGeneration": "7",
            "replicas": 2,
            "availableReplicas": 2,
            "restartedAt": AT_NOON,
            **status,
        },
    }


def read(found: dict[str, Any]) -> Workload:
    return argo_rollouts.workload(found, None)


def made(at: str | None, **meta: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "metadata": {"name": "web-1", "uid": "uid-1", "creationTimestamp": at, **meta},
        "status": ready,
    }


def new_pods(count: int = 2, *, ready: bool = True) -> list[Pod]:
    return [
        Pod(f"new-{number}", NEW, key_delivery=STAMP.delivery, ready=ready)
        for number in range(count)
    ]


def judge(found: Workload, pods: list[Pod]) -> Verdict:
    return rollout_status.judge_rollout(
        found, pods, STAMP, RolloutContext(NOON, NOON + timedelta(minutes=15), NOON)
    )


def test_a_restart_is_a_merge_patch_of_restart_at_and_of_annotations() -> None:
    annotations = {rollout_restart.RESTARTED_AT: format_timestamp(NOON), **STAMP.annotations()}
    assert argo_rollouts.restart_patch(annotations, "41") == {
        "metadata": {"resourceVersion": "41", "annotations": ASKED},
        "spec": {"restartAt": AT_NOON},
    }


def test_a_rollout_is_read_from_its_spec_and_status() -> None:
    assert read(seen()) == replace(RESTARTED, resource_version="41")


@pytest.mark.parametrize(
    ("text", "generation"),
    [("7", 7), ("6", 6), ("8", 8), ("5d9c", 7), ("", 0), (None, 0)],
)
def test_the_observed_generation_is_text(text: str | None, generation: int) -> None:
    assert read(seen(observedGeneration=text)).observed_generation == generation


@pytest.mark.parametrize(
    ("created", "expected"),
    [(AT_NOON, True), (LATER, True), (EARLIER, False), (None, False)],
)
def test_a_pod_is_new_if_it_was_created_at_restart_at_or_later(
    created: str | None, expected: bool
) -> None:
    assert STAMP.is_on(argo_rollouts.pod(seen(), made(created))) is expected


@pytest.mark.parametrize(
    "notes",
    [
        {},
        STAMP.annotations(),
        {**ASKED, argo_rollouts.RESTART_AT: "noon"},
        {**ASKED, argo_rollouts.RESTART_AT: "2026-11-24"},
        {**ASKED, "keyturn/session-key-delivery": "other"},
        {**ASKED, "keyturn/session-key-version": OLD},
    ],
)
def test_without_the_whole_stamp_on_the_rollout_no_pod_is_new(notes: dict[str, str]) -> None:
    found = seen(notes=notes)
    assert not STAMP.is_on(argo_rollouts.pod(found, made(LATER)))
    assert not STAMP.is_on(read(found))


def test_a_stamp_on_a_pod_itself_counts_for_nothing() -> None:
    forged = made(EARLIER, annotations=STAMP.annotations())
    assert argo_rollouts.pod(seen(), forged).key_version is None


@pytest.mark.parametrize(
    ("restart_at", "stands"),
    [(AT_NOON, True), (LATER, True), (EARLIER, False), (None, False)],
)
def test_a_restart_stands_until_somebody_asks_for_an_earlier_one_or_none(
    restart_at: str | None, stands: bool
) -> None:
    assert STAMP.is_on(read(seen({"restartAt": restart_at}))) is stands


@pytest.mark.parametrize(
    ("restarted", "settled"),
    [(AT_NOON, True), (LATER, True), (EARLIER, False), (None, False)],
)
def test_a_restart_before_the_one_that_was_asked_for_settles_nothing(
    restarted: str | None, settled: bool
) -> None:
    assert read(seen(restartedAt=restarted)).settled is settled


@pytest.mark.parametrize(
    ("updated", "reason"),
    [(LATER, "ProgressDeadlineExceeded"), (EARLIER, None), (None, None)],
)
def test_a_condition_from_before_the_restart_says_nothing_of_it(
    updated: str | None, reason: str | None
) -> None:
    progressing = {
        "type": "Progressing",
        "reason": "ProgressDeadlineExceeded",
        "lastUpdateTime": updated,
    }
    assert read(seen(conditions=[progressing])).progress_reason == reason


@pytest.mark.parametrize(("status", "keeps"), [("True", True), ("False", False)])
def test_an_invalid_specification_keeps_old_pods(status: str, keeps: bool) -> None:
    invalid = {"type": "InvalidSpec", "status": status}
    hindrance = rollout_status.restart_blocker(read(seen(conditions=[invalid])), NOON)
    assert bool(hindrance and hindrance.error is errors.ServiceKeepsOldPods) is keeps


def test_a_pause_keeps_no_pod_from_being_restarted() -> None:
    paused = seen({"paused": True}, phase="Paused", pauseConditions=[{"reason": "x"}])
    assert rollout_status.restart_blocker(read(paused), NOON) is None


@pytest.mark.parametrize(
    ("spec", "whole"),
    [
        ({}, True),
        ({"workloadRef": {"kind": "Deployment", "name": "web"}}, False),
        ({"selector": None}, False),
        ({"template": None}, False),
    ],
)
def test_a_template_or_a_selector_elsewhere_is_seen(spec: Json, whole: bool) -> None:
    assert argo_rollouts.has_template(seen(spec)) is whole


@every_case(
    ("changes", "pods", "summary"),
    [
        ({"generation": 8}, new_pods(), "the change is not observed yet"),
        ({"settled": False}, new_pods(), "Argo Rollouts has not restarted all pods yet"),
        ({}, [], "0 of 2 ready"),
        ({}, new_pods(1), "1 of 2 ready"),
        ({}, new_pods(ready=False), "0 of 2 ready"),
        ({"available": 1}, new_pods(), "1 of 2 available"),
        ({}, [*new_pods(), Pod("old", OLD)], "1 old still there"),
        ({}, [*new_pods(), Pod("old", None, terminating=True)], "1 old still there"),
    ],
)
def test_a_restart_waits_for_the_controller_and_for_the_pods_themselves(
    changes: dict[str, Any], pods: list[Pod], summary: str
) -> None:
    answer = judge(replace(RESTARTED, **changes), pods)
    assert isinstance(answer, Waiting)
    assert answer.summary.endswith(f"; {summary}")


@pytest.mark.parametrize("changes", [{}, {"total": 4}, {"updated": 1}])
def test_a_restart_is_done_with_every_pod_new_and_an_update_is_not_waited_for(
    changes: dict[str, Any],
) -> None:
    assert isinstance(judge(replace(RESTARTED, **changes), new_pods(3)), Done)


def test_a_restart_that_somebody_took_back_names_the_rollout() -> None:
    answer = judge(replace(RESTARTED, key_version=None, key_delivery=None), new_pods())
    assert isinstance(answer, Failed)
    assert answer.error is errors.RestartOverwritten
    assert "kubectl get rollout/web -o yaml --show-managed-fields" in answer.summary


def asked_for(pods: list[Pod]) -> datetime:
    """The moment that a restart asks for with these pods there."""
    cluster = FakeCluster({"rollout/web": replace(RESTARTED, key_version=OLD)}, {})
    cluster.pods_of["rollout/web"] = pods
    rollout_restart.restart_workload(cluster, STAMP, "rollout/web", NOON, lambda: None)
    (annotations,) = cluster.annotations
    return datetime.fromisoformat(annotations[rollout_restart.RESTARTED_AT])


def test_a_restart_asks_for_a_whole_second_that_has_yet_to_come() -> None:
    before = now()
    asked = asked_for([])
    assert before < asked <= now() + SECOND
    assert asked.microsecond == 0


def test_restart_at_is_after_every_pod_even_if_the_clock_is_behind() -> None:
    ahead = (now() + timedelta(minutes=2)).replace(microsecond=0)
    pods = [Pod("a", None, created=NOON), Pod("b", None, created=ahead), Pod("c", None)]
    assert asked_for(pods) == ahead + SECOND


@pytest.mark.parametrize(
    ("label", "expected"),
    [("rollouts-pod-template-hash", True), ("pod-template-hash", False)],
)
def test_a_pod_is_the_rollouts_own_by_its_replica_set(label: str, expected: bool) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-5d9", "controller": True}
    found = made(LATER, ownerReferences=[owner], labels={label: "5d9"})
    assert objects.is_of(seen(), found) is expected


@pytest.mark.parametrize(
    ("pods", "evicted", "complete"),
    [
        ([EARLIER, EARLIER], ["0"], False),
        ([EARLIER, AT_NOON], ["0"], True),
        ([AT_NOON, LATER], [], True),
    ],
)
def test_the_local_controller_evicts_one_at_a_time_what_was_created_before(
    pods: list[str], evicted: list[str], complete: bool
) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": LATER}]}
    found = seen({"strategy": {"canary": {}}}, restartedAt=None)
    restart = controller.plan_restart(
        found,
        [
            {"metadata": {"name": str(number), "creationTimestamp": at}, "status": ready}
            for number, at in enumerate(pods)
        ],
        NOON + 5 * SECOND,
    )
    assert (list(restart.evict), restart.complete) == (evicted, complete)


@pytest.mark.parametrize("spec", [{"restartAt": None}, {"restartAt": "2026-11-24T13:00:00Z"}, {}])
def test_the_local_controller_evicts_nothing_before_its_time_or_twice(spec: Json) -> None:
    found = seen({"strategy": {"canary": {}}, **spec})
    pod = {"metadata": {"name": "a", "creationTimestamp": EARLIER}, "status": {}}
    assert controller.plan_restart(found, [pod], NOON + SECOND) == controller.Restart()
