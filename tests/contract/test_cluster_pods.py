"""Pods on the node: their environment, their logs, how they fail and how they end."""

import base64
import urllib.request
from pathlib import Path

import pytest

from local.cluster import timestamps
from local.cluster.errors import StatusError
from local.cluster.resources import PODS, SECRETS, Json
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.manifests import container, pod, web_container
from tests.contract.waiting import is_ready, until, wait_for_pod, waiting_reason

SHOW = "import os, time; print('value=' + os.environ['VALUE']); time.sleep(600)"
PREVIOUS = {"previous": "true"}
CRASH = "print('about to fail'); raise SystemExit(3)"
FROM_SECRET = [
    {"name": "VALUE", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "VALUE"}}}
]


def create(cluster: ClusterUnderTest, namespace: str, *containers: Json, grace: int = 5) -> None:
    cluster.admin.create(PODS, namespace, pod("app", *containers, grace_seconds=grace))


def wait_for_line(cluster: ClusterUnderTest, namespace: str, text: str, **options: str) -> str:
    def read() -> str:
        try:
            return cluster.admin.log(namespace, "app", **options)
        except StatusError:
            return ""

    return until(read, lambda log: text in log)


def container_status(item: Json) -> Json:
    found: Json = item["status"]["containerStatuses"][0]
    return found


def test_a_ready_pod_answers_at_the_port_it_names(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    create(cluster, namespace, web_container())
    ready = wait_for_pod(cluster, namespace, "app", is_ready)
    port = ready["metadata"]["annotations"]["keyturn.local/port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        assert answer.read().startswith(b"app ")
    assert ready["status"]["phase"] == "Running"
    assert ready["status"]["podIP"] == "127.0.0.1"


def test_a_container_waits_for_a_missing_secret_or_key(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    create(cluster, namespace, container(SHOW, env=FROM_SECRET))

    def message(item: Json) -> str:
        if waiting_reason(item) != "CreateContainerConfigError":
            return ""
        return str(container_status(item)["state"]["waiting"]["message"])

    wait_for_pod(
        cluster, namespace, "app", lambda one: message(one) == 'secret "settings" not found'
    )
    cluster.admin.create(SECRETS, namespace, {"metadata": {"name": "settings"}})
    missing = f"couldn't find key VALUE in Secret {namespace}/settings"
    wait_for_pod(cluster, namespace, "app", lambda one: message(one) == missing)
    cluster.admin.patch(SECRETS, namespace, "settings", {"stringData": {"VALUE": "late"}})
    wait_for_line(cluster, namespace, "value=late")


def test_a_container_reads_a_secret_when_it_starts_and_only_then(
    cluster: ClusterUnderTest, namespace: str, tmp_path: Path
) -> None:
    code = (
        "import os, pathlib, time\n"
        "print('value=' + os.environ['VALUE'])\n"
        "while not pathlib.Path(os.environ['GATE']).exists(): time.sleep(0.01)\n"
        "os.unlink(os.environ['GATE'])\n"
        "print('ends with ' + os.environ['VALUE'])"
    )
    gate = tmp_path / "gate"
    manifest = {"metadata": {"name": "settings"}, "stringData": {"VALUE": "first"}}
    cluster.admin.create(SECRETS, namespace, manifest)
    source = {"secretKeyRef": {"name": "settings", "key": "VALUE"}}
    env = [{"name": "GATE", "value": str(gate)}, {"name": "VALUE", "valueFrom": source}]
    create(cluster, namespace, container(code, env=env))
    wait_for_line(cluster, namespace, "value=first")
    data = {"VALUE": base64.b64encode(b"second").decode()}
    cluster.admin.patch(SECRETS, namespace, "settings", {"data": data})
    gate.touch()
    wait_for_line(cluster, namespace, "value=second")
    previous = cluster.admin.log(namespace, "app", previous="true")
    assert previous == "value=first\nends with first\n"


def test_an_image_that_is_not_there_is_named_in_the_status(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    create(cluster, namespace, {"name": "app", "image": "keyturn/missing:1"})
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        held = wait_for_pod(
            cluster,
            namespace,
            "app",
            lambda one, r=reason: waiting_reason(one) == r,  # type: ignore[misc]
        )
        assert held["status"]["phase"] == "Pending"
        assert "keyturn/missing:1" in container_status(held)["state"]["waiting"]["message"]


def test_a_container_that_fails_is_started_again_with_pauses(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    create(cluster, namespace, container(CRASH))
    crashed = wait_for_pod(
        cluster, namespace, "app", lambda one: waiting_reason(one) == "CrashLoopBackOff"
    )
    status = container_status(crashed)
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert not is_ready(crashed)
    assert "about to fail" in cluster.admin.log(namespace, "app", previous="true")


def test_a_crashed_container_that_waits_shows_the_log_of_the_crash(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    create(cluster, namespace, container("import os; print(os.getpid()); raise SystemExit(3)"))

    def restarts() -> int:
        found = wait_for_pod(
            cluster, namespace, "app", lambda one: waiting_reason(one) == "CrashLoopBackOff"
        )
        return int(container_status(found)["restartCount"])

    def look() -> tuple[int, str, str, int]:
        log = cluster.admin.log
        return restarts(), log(namespace, "app"), log(namespace, "app", **PREVIOUS), restarts()

    _, current, previous, _ = until(look, lambda seen: seen[0] == seen[3])
    assert current == previous != ""


def test_a_container_that_never_ran_has_no_log(cluster: ClusterUnderTest, namespace: str) -> None:
    create(cluster, namespace, {"name": "app", "image": "keyturn/missing:1"})
    wait_for_pod(cluster, namespace, "app", lambda one: bool(waiting_reason(one)))
    with pytest.raises(StatusError, match="is waiting to start") as caught:
        cluster.admin.log(namespace, "app")
    assert caught.value.code == 400


def test_a_log_is_cut_to_what_was_asked_for(cluster: ClusterUnderTest, namespace: str) -> None:
    code = "import time\nfor n in range(3): print(f'line {n}')\ntime.sleep(600)"
    create(cluster, namespace, container(code))
    wait_for_line(cluster, namespace, "line 2")
    assert cluster.admin.log(namespace, "app", limitBytes="6") == "line 0"
    assert not cluster.admin.log(namespace, "app", sinceTime="2999-01-01T00:00:00Z")
    with pytest.raises(StatusError, match="limitBytes: Invalid value: 0") as caught:
        cluster.admin.log(namespace, "app", limitBytes="0")
    assert caught.value.code == 422
    stamped = cluster.admin.log(namespace, "app", timestamps="true").splitlines()
    stamp, _, line = stamped[-1].partition(" ")
    assert line == "line 2"
    assert (timestamps.now() - timestamps.parse(stamp)).total_seconds() < 60


def test_the_log_of_one_of_several_containers_needs_its_name(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    sidecar = {**container("print('beside'); import time; time.sleep(600)"), "name": "sidecar"}
    create(cluster, namespace, container(SHOW, env=[{"name": "VALUE", "value": "main"}]), sidecar)
    wait_for_line(cluster, namespace, "beside", container="sidecar")
    wait_for_line(cluster, namespace, "value=main", container="app")
    for asked, message in {
        "": r"a container name must be specified for pod app, choose one of: \[app sidecar\]",
        "other": "container other is not valid for pod app",
    }.items():
        with pytest.raises(StatusError, match=message) as caught:
            cluster.admin.log(namespace, "app", asked)
        assert caught.value.code == 400


def test_a_deleted_pod_is_asked_to_end_and_stays_until_it_has(
    cluster: ClusterUnderTest, namespace: str, tmp_path: Path
) -> None:
    code = (
        "import os, pathlib, signal, time\n"
        "def end(*_):\n"
        "    print('asked to end')\n"
        "    while not pathlib.Path(os.environ['GATE']).exists(): time.sleep(0.01)\n"
        "    raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up')\n"
        "time.sleep(600)"
    )
    gate = tmp_path / "gate"
    create(cluster, namespace, container(code, env=[{"name": "GATE", "value": str(gate)}]))
    wait_for_line(cluster, namespace, "up")
    marked = cluster.admin.delete(PODS, namespace, "app", grace_seconds=15)
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 15
    wait_for_line(cluster, namespace, "asked to end")
    assert "deletionTimestamp" in cluster.admin.get(PODS, namespace, "app")["metadata"]
    gate.touch()
    wait_until_gone(cluster, namespace)


def test_a_pod_that_will_not_end_is_killed_after_its_grace_period(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up'); time.sleep(600)"
    )
    create(cluster, namespace, container(code), grace=1)
    wait_for_line(cluster, namespace, "up")
    cluster.admin.delete(PODS, namespace, "app")
    wait_until_gone(cluster, namespace)


def wait_until_gone(cluster: ClusterUnderTest, namespace: str) -> None:
    until(lambda: cluster.admin.list(PODS, namespace), lambda left: not left)
