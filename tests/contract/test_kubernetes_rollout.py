"""What Kubernetes makes of a restart, and what a rotation makes of that: the traps of a rollout.

Each case is a whole restart by the product's own adapters, on both control planes.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyturn import errors
from keyturn.rollout import restart as rollout_restart
from keyturn.rollout.pod_annotations import KEY_VERSION, Stamp
from keyturn.rollout.status import CRASHES_ALLOWED
from keyturn.run.times import format_timestamp, now
from local.cluster.client import MERGE
from local.cluster.resources import DEPLOYMENTS, PODS, RESOURCE_QUOTAS, SECRETS, Json
from tests.conftest import OLD, STAMP
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.manifests import container, deployment, restart, web_container
from tests.contract.restarting import LIMIT, Restarting
from tests.contract.rotation_adapters import (
    FIELD,
    signing_as,
    still_on_top,
)
from tests.contract.waiting import condition, insist, rolled_out, until, wait_for_rollout

NO_DEADLINE = 2**31 - 1
STUBBORN = [{"name": "STUBBORN", "value": "yes"}]
FROM_SECRET = [
    {"name": "VALUE", "valueFrom": {"secretKeyRef": {"name": "session-key", "key": FIELD}}}
]
MISSING_IMAGE = {"name": "app", "image": "keyturn/missing:1"}
CRASHING = web_container(command=["python", "-c", "raise SystemExit(3)"])
NEVER_READY = web_container(command=["python", "-c", "import time; time.sleep(600)"])
SHOWS_ITS_VALUE = (
    "import os, time\nprint('value=' + os.environ['VALUE'], flush=True)\ntime.sleep(600)"
)
SHOWS_ITS_VALUE_AND_ENDS_AT_THE_GATE = (
    "import os, pathlib, time\n"
    "print('value=' + os.environ['VALUE'], flush=True)\n"
    "while not pathlib.Path(os.environ['GATE']).exists(): time.sleep(0.01)\n"
    "os.unlink(os.environ['GATE'])"
)
CRASHES_UNTIL_THE_GATE = (
    "import os, pathlib, time\n"
    "if not pathlib.Path(os.environ['GATE']).exists(): raise SystemExit(3)\n"
    "time.sleep(600)"
)


class Rotation(Restarting):
    """The restart of one Deployment, and the looks at it as the state machine takes them."""

    service = "web"

    def start(self, *containers: Json, **spec: Any) -> None:
        """Have the Deployment run under the old key."""
        manifest = deployment("web", *(containers or [container()]), **spec)
        self._cluster.admin.create(DEPLOYMENTS, self._namespace, manifest)
        wait_for_rollout(self._cluster, self._namespace, "web")

    def patch(self, spec: Json) -> None:
        """Change the Deployment as somebody else does."""
        self._cluster.admin.patch(DEPLOYMENTS, self._namespace, "web", {"spec": spec})

    def deployment(self) -> Json:
        return self._cluster.admin.get(DEPLOYMENTS, self._namespace, "web")

    def look_until_refused(self) -> errors.KeyturnError:
        """Look until a look raises; the error it raised."""

        def refusal() -> errors.KeyturnError | None:
            try:
                self.look()
            except errors.KeyturnError as refused:
                return refused
            return None

        found = until(refusal, lambda refused: refused is not None)
        assert found is not None
        return found


def is_observed(item: Json) -> bool:
    seen: int = item["status"].get("observedGeneration", 0)
    return bool(seen == item["metadata"]["generation"])


def has_timed_out(item: Json) -> bool:
    return bool(condition(item, "Progressing")["reason"] == "ProgressDeadlineExceeded")


@pytest.fixture
def rotation(cluster: ClusterUnderTest, namespace: str) -> Iterator[Rotation]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield Rotation(cluster, namespace)


def test_an_old_pod_that_still_ends_is_waited_for_though_kubectl_says_done(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    rotation.start(web_container(env=STUBBORN), replicas=1)
    rotation.restart()
    (old,) = rotation.pods_before
    until(rotation.deployment, rolled_out)
    seen = until(rotation.look, lambda look: "terminating" in look["says"])
    assert (seen["state"], seen["says"]) == (
        "waiting",
        "1 of 1 new, 1 old terminating; 1 old still there",
    )
    cluster.admin.delete(PODS, namespace, old, grace_seconds=0)
    rotation.look_until_done()
    assert old not in rotation.pods_after


@pytest.mark.parametrize(
    ("spoilt", "named"),
    [
        (MISSING_IMAGE, "ErrImagePull|ImagePullBackOff"),
        (container(env=FROM_SECRET), "CreateContainerConfigError"),
        (CRASHING, r"crashed \(restarts: \d\)\. See: kubectl logs -p"),
    ],
    ids=["no image", "no Secret", "crashes"],
)
def test_a_new_pod_that_cannot_run_fails_the_rollout_at_once(
    rotation: Rotation, spoilt: Json, named: str
) -> None:
    rotation.start(replicas=1)
    (serving,) = rotation.adapters.cluster.pods("web")
    rotation.patch({"template": {"spec": {"containers": [spoilt]}}})
    rotation.restart()
    refused = rotation.look_until_refused()
    assert isinstance(refused, errors.RolloutFailed)
    assert re.search(named, str(refused))
    assert serving in rotation.adapters.cluster.pods("web")


def test_a_retried_run_ignores_past_failures_of_pods_that_recovered(
    rotation: Rotation, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    spoilt = container(CRASHES_UNTIL_THE_GATE, env=[{"name": "GATE", "value": str(gate)}])
    rotation.start(replicas=1)
    rotation.patch({"template": {"spec": {"containers": [spoilt]}}})
    rotation.restart()
    assert isinstance(rotation.look_until_refused(), errors.RolloutFailed)
    gate.touch()
    until(rotation.deployment, rolled_out)
    (pod,) = until(lambda: rotation.adapters.cluster.pods("web"), lambda pods: len(pods) == 1)
    assert pod.restarts > CRASHES_ALLOWED
    until(now, lambda at: bool(pod.crashed and at.replace(microsecond=0) > pod.crashed))
    assert not rotation.restart()["restarted"]
    rotation.look_until_done()
    assert rotation.pods_after == {pod.name: pod.uid}


def test_a_rollout_is_overdue_at_keyturns_own_deadline(
    rotation: Rotation,
) -> None:
    rotation.start(replicas=1, progressDeadlineSeconds=NO_DEADLINE)
    rotation.patch({"template": {"spec": {"containers": [NEVER_READY]}}})
    rotation.restart()
    until(rotation.look, lambda look: look["says"].startswith("1 of 1 new, 1 old; "))
    with pytest.raises(errors.RolloutOverdue, match="at the deadline"):
        rotation.look(after=LIMIT)


def test_a_timeout_of_the_rollout_before_does_not_fail_ours(rotation: Rotation) -> None:
    """The condition stays until there is progress, whatever the deadline is by then."""
    rotation.start(replicas=1, progressDeadlineSeconds=1)
    rotation.patch({"template": {"spec": {"containers": [NEVER_READY]}}})
    until(rotation.deployment, has_timed_out)
    rotation.patch({"progressDeadlineSeconds": 600})
    assert has_timed_out(until(rotation.deployment, is_observed))
    rotation.restart()
    waiting = until(rotation.look, lambda look: look["says"].startswith("1 of 1 new"))
    assert (waiting["state"], waiting["stalled"]) == ("waiting", False)
    rotation.patch({"template": {"spec": {"containers": [web_container()]}}})
    assert rotation.look_until_done()["says"] == "1 of 1 new"


def test_replicas_that_somebody_adds_meanwhile_are_waited_for_too(rotation: Rotation) -> None:
    rotation.start(replicas=1)
    rotation.restart()
    rotation.patch({"replicas": 3})
    done = rotation.look_until_done()
    assert (done["replicas"], done["podsAfter"]) == (3, 3)


def test_a_restart_by_somebody_else_on_top_of_ours_is_waited_for(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    rotation.start(replicas=1)
    rotation.restart()
    rotation.look_until_done()
    rotation.patch(restart("by hand")["spec"])
    rotation.look_until_done()
    listed = cluster.admin.list(PODS, namespace, label_selector="app=web")
    restarted = {
        one["metadata"]["annotations"][rollout_restart.RESTARTED_AT]
        for one in listed
        if "deletionTimestamp" not in one["metadata"]
    }
    assert restarted == {"by hand"}


def test_a_template_that_is_rolled_back_under_us_is_named(rotation: Rotation) -> None:
    """As `kubectl rollout undo` does: the template is the old one, the Secret is not."""
    rotation.start(replicas=1)
    rotation.restart()
    rotation.look_until_done()
    stamp = {KEY_VERSION: None, rollout_restart.RESTARTED_AT: None}
    rotation.patch({"template": {"metadata": {"annotations": stamp}}})
    with pytest.raises(errors.RestartOverwritten, match="rollout history deployment/web"):
        rotation.look()


@pytest.mark.parametrize(
    ("spec", "error"),
    [({"paused": True}, errors.ServicePaused), ({"replicas": 0}, errors.ServiceScaledToZero)],
    ids=["paused", "no replicas"],
)
def test_a_deployment_that_cannot_roll_out_is_refused_at_any_time(
    rotation: Rotation, spec: Json, error: type[errors.Stop]
) -> None:
    rotation.start(replicas=1)
    rotation.restart()
    rotation.patch(spec)
    with pytest.raises(error):
        rotation.look()
    rotation.stamp = Stamp(OLD, STAMP.delivery)
    generation = rotation.deployment()["metadata"]["generation"]
    for attempt in (
        rotation.restart,
        lambda: rollout_restart.check_ready(rotation.adapters.cluster, "web"),
    ):
        with pytest.raises(error):
            attempt()
    assert rotation.deployment()["metadata"]["generation"] == generation


def test_pods_of_another_owner_are_named_before_and_after_and_hold_nothing_up(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    """A second Deployment whose pods carry the labels too, a debug pod, and one let go of."""
    rotation.start(replicas=2)
    (released, _) = sorted(pod.name for pod in rotation.adapters.cluster.pods("web"))
    without = {"metadata": {"labels": {"pod-template-hash": None}}}
    cluster.admin.patch(PODS, namespace, released, without, content_type=MERGE)
    worker = deployment("worker", container(), replicas=1)
    worker["spec"]["selector"] = {"matchLabels": {"tier": "worker"}}
    worker["spec"]["template"]["metadata"]["labels"] = {"tier": "worker", "app": "web"}
    cluster.admin.create(DEPLOYMENTS, namespace, worker)
    debug = {"metadata": {"name": "debug", "labels": {"app": "web"}}}
    cluster.admin.create(PODS, namespace, {**debug, "spec": {"containers": [container()]}})
    for name in ("web", "worker"):
        wait_for_rollout(cluster, namespace, name)

    def owners() -> dict[str, str]:
        pods = rotation.adapters.cluster.pods("web")
        return {pod.name: pod.other_owner for pod in pods if pod.other_owner}

    others = until(owners, lambda found: len(found) == 3)
    assert (others["debug"], others[released]) == ("no controller", "no controller")
    assert sum(owner.startswith("ReplicaSet worker-") for owner in others.values()) == 1
    note = insist(lambda: rollout_restart.check_ready(rotation.adapters.cluster, "web"))
    assert note is not None
    assert "matches 3 pods of another owner: debug (no controller), " in note
    rotation.restart()
    assert not others.keys() & rotation.pods_before.keys()
    done = rotation.look_until_done()
    assert done["podsAfter"] == 2
    assert not others.keys() & rotation.pods_after.keys()
    assert all(name in done["notRestarted"] for name in others)


def test_a_pod_whose_labels_the_selector_does_not_match_any_more_is_not_seen(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    """As `docs/operations.md` says: Kubernetes itself no longer knows whose it was."""
    rotation.start(replicas=1)
    (taken_out,) = rotation.adapters.cluster.pods("web")
    without = {"metadata": {"labels": {"app": None}}}
    cluster.admin.patch(PODS, namespace, taken_out.name, without, content_type=MERGE)
    until(lambda: rotation.adapters.cluster.pods("web"), lambda pods: taken_out not in pods)
    wait_for_rollout(cluster, namespace, "web")
    rotation.restart()
    done = rotation.look_until_done()
    assert done["notRestarted"] is None
    kept = cluster.admin.get(PODS, namespace, taken_out.name)
    assert not [one for one in kept["metadata"].get("ownerReferences", []) if one["controller"]]


def test_a_quota_without_room_for_a_new_pod_fails_before_any_deadline(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    rotation.start(replicas=1, strategy=strategy, progressDeadlineSeconds=600)
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    cluster.admin.create(RESOURCE_QUOTAS, namespace, quota)

    def used() -> Any:
        found = cluster.admin.get(RESOURCE_QUOTAS, namespace, "q")
        return found.get("status", {}).get("used", {}).get("pods")

    until(used, lambda pods: pods == "1")
    rotation.restart()
    seen = until(rotation.look, lambda look: "exceeded quota" in look["says"])
    assert seen["says"] == (
        "0 of 1 new, 1 old; 0 of 1 updated; Kubernetes may not create a pod (FailedCreate:"
        " exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1)"
    )
    minute = timedelta(minutes=1)
    assert rotation.look(after=minute)["stalled"]
    with pytest.raises(errors.RolloutFailed, match="kubectl describe resourcequotas"):
        rotation.look(after=minute)
    with pytest.raises(errors.RolloutFailed, match=r"exceeded quota: q.*Nothing was changed"):
        rollout_restart.check_ready(rotation.adapters.cluster, "web")


def test_a_pause_by_reloader_is_waited_for_and_the_rollout_goes_on_after_it(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    """Reloader pauses the Deployment before its own change, and resumes it by a timer."""
    period = {"deployment.reloader.stakater.com/pause-period": "1h"}
    paused_at = "deployment.reloader.stakater.com/paused-at"
    rotation.start(replicas=1)
    rotation.adapters = replace(rotation.adapters, cluster=rotation.adapters.reading_key)

    def annotate(notes: dict[str, str | None], *, paused: bool) -> None:
        change = {"metadata": {"annotations": notes}, "spec": {"paused": paused}}
        cluster.admin.patch(DEPLOYMENTS, namespace, "web", change)

    annotate({**period, paused_at: format_timestamp(now())}, paused=True)
    rotation.restart()
    seen = until(rotation.look, lambda look: "old" in look["says"])
    assert seen["state"] == "waiting"
    assert "; Reloader has paused it until " in seen["says"]
    annotate({paused_at: None}, paused=False)
    assert rotation.look_until_done()["state"] == "done"
    annotate({paused_at: None}, paused=True)
    with pytest.raises(errors.ServicePaused):
        rotation.look()


def test_two_rotations_in_one_second_are_two_rollouts(rotation: Rotation) -> None:
    rotation.start(replicas=1)
    begun, cluster = now(), rotation.adapters.cluster
    generations = []
    for stamp in (STAMP, Stamp(OLD, STAMP.delivery)):
        again = partial(
            rollout_restart.restart_workload, cluster, stamp, "web", begun, still_on_top
        )
        assert insist(again).entry["restarted"]
        generations.append(rotation.deployment()["metadata"]["generation"])
    assert generations[1] == generations[0] + 1


def test_a_restart_that_is_held_up_is_not_stamped_over_that_of_a_later_run(
    rotation: Rotation,
) -> None:
    """It has seen that it is on top, and patches only when the later run has restarted as well."""
    rotation.start(replicas=1)
    later = Stamp("later", "9")

    def held_up() -> None:
        rollout_restart.restart_workload(
            rotation.adapters.cluster, later, "web", now(), still_on_top
        )

    with pytest.raises(errors.DeliveryConflict, match="deployments/web"):
        rotation.restart_once(held_up)
    assert later.is_on(rotation.adapters.cluster.workload("web"))


def test_a_restart_in_the_middle_of_another_rollout_gets_through(rotation: Rotation) -> None:
    """The controller writes the status all the time: a conflict is tried again."""
    rotation.start(replicas=3)
    rotation.patch(restart("now"))
    assert rotation.restart()["restarted"]
    assert rotation.look_until_done()["state"] == "done"


def test_an_old_pod_that_came_back_with_the_new_key_is_old_all_the_same(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    env = [*FROM_SECRET, {"name": "GATE", "value": str(gate)}]
    held = {"metadata": {"name": "session-key"}, "stringData": {FIELD: "first"}}
    cluster.admin.create(SECRETS, namespace, held)
    rotation.start(container(SHOWS_ITS_VALUE_AND_ENDS_AT_THE_GATE, env=env), replicas=1)
    (old,) = rotation.adapters.cluster.pods("web")
    cluster.admin.patch(SECRETS, namespace, "session-key", {"stringData": {FIELD: "second"}})
    gate.touch()
    until(lambda: cluster.admin.log(namespace, old.name), lambda log: "value=second" in log)
    rotation.restart()
    assert list(rotation.pods_before) == [old.name]
    rotation.look_until_done()
    assert old.name not in rotation.pods_after


def test_pods_that_started_with_an_overwritten_key_are_old(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    """Their version is the same; the Secret that they read has been written since."""
    held = {"metadata": {"name": "session-key"}, "stringData": {FIELD: "wrong"}}
    cluster.admin.create(SECRETS, namespace, held)
    rotation.start(container(SHOWS_ITS_VALUE, env=FROM_SECRET), replicas=1)
    rotation.restart()
    rotation.look_until_done()
    wrong = rotation.pods_after
    secret = rotation.adapters.secret
    secret.write("right", secret.read().resource_version, dry_run=False)
    rotation.stamp = Stamp(STAMP.version, secret.read().resource_version)
    rotation.restart()
    assert rotation.pods_before == wrong
    rotation.look_until_done()
    right = rotation.pods_after
    assert not set(wrong.values()) & set(right.values())
    (name,) = right
    until(lambda: cluster.admin.log(namespace, name), lambda log: "value=right" in log)
    assert not rotation.restart()["restarted"]


def test_the_revision_of_a_delivery_changes_with_every_write_alone(
    cluster: ClusterUnderTest, namespace: str, rotation: Rotation
) -> None:
    held = {"metadata": {"name": "session-key"}, "stringData": {FIELD: "first"}}
    cluster.admin.create(SECRETS, namespace, held)
    secret, seen = rotation.adapters.secret, []

    def revision() -> str:
        seen.append(secret.read().resource_version)
        return seen[-1]

    secret.write("second", revision(), dry_run=True)
    secret.write("second", revision(), dry_run=False)
    secret.write("second", revision(), dry_run=False)
    cluster.admin.patch(SECRETS, namespace, "session-key", {"stringData": {FIELD: "third"}})
    cluster.admin.patch(SECRETS, namespace, "session-key", {"stringData": {FIELD: "second"}})
    revision()
    assert seen[0] == seen[1] != seen[2] != seen[3]
    assert len(set(seen)) == 3
