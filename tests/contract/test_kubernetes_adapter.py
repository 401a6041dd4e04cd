"""The product's adapter of Kubernetes, on the emulated and on a real API server."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes import workloads as kubernetes_workloads
from keyturn.delivery.kubernetes_secret import KubernetesSecretDelivery
from keyturn.rollout.pod_annotations import KEY_VERSION, Stamp
from keyturn.rollout.restart import RESTARTED_AT
from keyturn.rollout.status import Workload
from keyturn.validation import log_report, pod_logs
from keyturn.validation.log_report import PodCount, Report
from local.cluster.resources import DEPLOYMENTS, SECRETS, Json
from tests.contract.cluster_under_test import KEY_ID, ClusterUnderTest
from tests.contract.manifests import container, deployment
from tests.contract.rotation_adapters import FIELD, Adapters, adapters_of, signing_as
from tests.contract.waiting import insist, managers, until, wait_for_rollout

TWO = Stamp("two", "1")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
STATES = (
    "import sys, time\n"
    "print('secret stack trace', 'ERROR app: SESSION_ENCRYPTION_KEY is not set', sep='\\n')\n"
)
SPEAKS = f"{STATES}time.sleep(600)"
CRASHES = f"{STATES}sys.exit(1)"
VISITED = (
    "import sys\n"
    'print(\'203.0.113.9 - "GET / HTTP/1.1" 200 "SESSION_ENCRYPTION_KEY not set"\')\n'
    "sys.exit(1)"
)
CRASHES_ONCE = (
    "import os, pathlib, sys, time\n"
    "crashed = pathlib.Path(os.environ['FOLDER'], os.environ['HOSTNAME'])\n"
    "print('again' if crashed.exists() else 'first')\n"
    "crashed.exists() or (crashed.touch(), sys.exit(1))\n"
    "time.sleep(600)"
)


@pytest.fixture
def adapters(cluster: ClusterUnderTest, namespace: str) -> Iterator[Adapters]:
    with signing_as(KEY_ID, cluster.entries[KEY_ID].secret_key):
        yield adapters_of(cluster, namespace)


def start(cluster: ClusterUnderTest, namespace: str, *containers: Json, replicas: int = 1) -> None:
    manifest = deployment("web", *(containers or [container()]), replicas=replicas)
    cluster.admin.create(DEPLOYMENTS, namespace, manifest)
    wait_for_rollout(cluster, namespace, "web")


def restart(adapters: Adapters, annotations: dict[str, str], *, dry_run: bool = False) -> Workload:
    """Restart the service as it is; its controller may write its status in between."""

    def attempt() -> Workload:
        version = adapters.cluster.workload("web").resource_version
        return adapters.cluster.restart("web", annotations, version, dry_run=dry_run)

    return insist(attempt)


def store(
    cluster: ClusterUnderTest,
    namespace: str,
    labels: dict[str, str] | None = None,
    **fields: object,
) -> None:
    data = {FIELD: "old", "OTHER": "kept"}
    metadata = {"name": "session-key", "labels": labels or {}}
    manifest = {"metadata": metadata, "stringData": data, **fields}
    cluster.admin.create(SECRETS, namespace, manifest)


def test_a_dry_restart_is_answered_and_changes_nothing(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    before = cluster.admin.get(DEPLOYMENTS, namespace, "web")
    answered = restart(adapters, {KEY_VERSION: "dry-run"}, dry_run=True)
    assert answered.key_version == "dry-run"
    assert cluster.admin.get(DEPLOYMENTS, namespace, "web") == before


def test_a_restart_replaces_the_pods_and_the_same_restart_again_does_nothing(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    old = {pod.name for pod in adapters.cluster.pods("web")}
    annotations = {RESTARTED_AT: "now", KEY_VERSION: "two"}
    first = restart(adapters, annotations)
    pods = until(
        lambda: adapters.cluster.pods("web"),
        lambda now: bool(now) and not old & {pod.name for pod in now},
    )
    assert {pod.key_version for pod in pods} == {"two"}
    again = restart(adapters, annotations)
    assert again.generation == first.generation


def test_what_is_written_names_keyturn_as_its_field_manager(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    store(cluster, namespace)
    places = ((DEPLOYMENTS, "web"), (SECRETS, "session-key"))

    def written_by() -> list[set[str]]:
        return [managers(cluster.admin.get(kind, namespace, name)) for kind, name in places]

    before = written_by()
    restart(adapters, TWO.annotations(), dry_run=True)
    adapters.secret.write("new", adapters.secret.read().resource_version, dry_run=True)
    assert written_by() == before
    restart(adapters, TWO.annotations())
    adapters.secret.write("new", adapters.secret.read().resource_version, dry_run=False)
    assert [after - one for after, one in zip(written_by(), before, strict=True)] == [
        {"keyturn"},
        {"keyturn"},
    ]


def test_pods_are_listed_page_by_page(
    cluster: ClusterUnderTest,
    namespace: str,
    adapters: Adapters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(cluster, namespace, replicas=3)
    whole = {pod.name for pod in adapters.cluster.pods("web")}
    assert len(whole) == 3
    for size in (1, 2, 3, 4):
        monkeypatch.setattr(kubernetes_workloads, "PAGE_PODS", size)
        assert {pod.name for pod in adapters.cluster.pods("web")} == whole


def test_logs_are_those_of_a_versions_pods_and_of_their_last_crash(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, tmp_path: Path
) -> None:
    env = [{"name": "FOLDER", "value": str(tmp_path)}]
    start(cluster, namespace, container(CRASHES_ONCE, env=env))
    restart(adapters, TWO.annotations())

    def lines(version: str) -> list[list[str]]:
        found = adapters.cluster.of_restart("web", Stamp(version, "1"), LONG_AGO)
        return [[line.text for line in log.lines] for log in found.logs]

    until(lambda: lines("two"), lambda found: found == [["again"], ["first"]])
    assert lines("three") == []


def test_the_log_of_every_container_is_read_from_the_very_moment_on(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    """The kubelet alone would begin with the whole second."""
    start(cluster, namespace, container(SPEAKS), {**container(SPEAKS), "name": "sidecar"})
    restart(adapters, TWO.annotations())

    def stamps(since: datetime) -> dict[str, datetime | None]:
        found = adapters.cluster.of_restart("web", TWO, since)
        return {log.container: line.at for log in found.logs for line in log.lines}

    spoken = until(lambda: stamps(LONG_AGO), lambda found: found.keys() == {"app", "sidecar"})
    last = max(at for at in spoken.values() if at)
    assert last in stamps(last).values()
    assert stamps(last + timedelta(microseconds=1)) == {}


def report(adapters: Adapters) -> Report | str:
    """What the logs of the restart show, or the refusal."""
    try:
        return pod_logs.read_logs(
            [adapters.cluster.of_restart("web", TWO, LONG_AGO)], time.monotonic
        )
    except errors.KeyErrorsInLogs as told:
        return str(told)


def test_only_key_errors_of_new_pods_count_and_none_is_quoted(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    crashing = {"spec": {"template": {"spec": {"containers": [container(CRASHES)]}}}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", crashing)
    until(lambda: adapters.cluster.pods("web"), lambda pods: any(pod.restarts for pod in pods))
    before = report(adapters)
    assert isinstance(before, Report)
    assert (before.findings, before.services[0].stamped) == ((), 0)
    restart(adapters, TWO.annotations())
    told = until(lambda: report(adapters), lambda found: isinstance(found, str))
    assert "/app: key-not-set x" in str(told)
    assert "stack trace" not in str(told)


def test_a_key_error_of_a_pod_that_is_ready_is_only_counted(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace, container(SPEAKS))
    restart(adapters, TWO.annotations())
    wait_for_rollout(cluster, namespace, "web")

    def found() -> Report:
        seen = report(adapters)
        assert isinstance(seen, Report), seen
        return seen

    seen = until(found, lambda one: one.lines == {"key-not-set": 1} and not one.reason)
    (finding,) = seen.findings
    assert finding.note == "the container did not crash and its pod is ready"
    assert seen.services == (PodCount("web", 1, 1, 1),)


def test_what_a_visitor_wrote_into_the_log_of_a_crash_is_only_counted(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    visited = {"spec": {"template": {"spec": {"containers": [container(VISITED)]}}}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", visited)
    restart(adapters, TWO.annotations())

    def found() -> Report:
        seen = report(adapters)
        assert isinstance(seen, Report), seen
        return seen

    seen = until(found, lambda one: bool(one.findings))
    assert {finding.note for finding in seen.findings} == {"part of longer lines"}


def test_pods_that_lost_the_stamp_after_the_restart_are_seen_as_such(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    """As a GitOps controller does, which applies a template that has no such annotation."""
    start(cluster, namespace)
    restart(adapters, TWO.annotations())
    wait_for_rollout(cluster, namespace, "web")
    whole = until(lambda: report(adapters), lambda one: isinstance(one, Report) and not one.reason)
    assert isinstance(whole, Report)
    log_report.refuse_unstamped(whole)
    strip = {"metadata": {"annotations": dict.fromkeys(TWO.annotations())}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", {"spec": {"template": strip}})
    stripped = until(
        lambda: report(adapters),
        lambda one: isinstance(one, Report) and one.services[0].stamped == 0 < one.services[0].pods,
    )
    assert isinstance(stripped, Report)
    assert "do not carry the run's annotations" in stripped.reason
    with pytest.raises(
        errors.RestartOverwritten, match="pods of web do not carry this run's annotations"
    ):
        log_report.refuse_unstamped(stripped)


def test_the_secrets_field_is_written_and_the_others_are_kept(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    store(cluster, namespace)
    read = adapters.secret.read()
    adapters.secret.write("tried", read.resource_version, dry_run=True)
    assert adapters.secret.read() == read
    adapters.secret.write("new", read.resource_version, dry_run=False)
    assert adapters.secret.read().value == "new"
    kept = cluster.admin.get(SECRETS, namespace, "session-key")["data"]
    assert kept.keys() == {FIELD, "OTHER"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_workload_that_somebody_else_wrote_meanwhile_is_a_conflict_and_stays(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, dry_run: bool
) -> None:
    start(cluster, namespace)
    read = adapters.cluster.workload("web")
    theirs = {"spec": {"template": {"metadata": {"annotations": {KEY_VERSION: "theirs"}}}}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", theirs)
    with pytest.raises(errors.DeliveryConflict, match="deployments/web"):
        adapters.cluster.restart("web", TWO.annotations(), read.resource_version, dry_run=dry_run)
    assert adapters.cluster.workload("web").key_version == "theirs"


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_secret_that_somebody_else_wrote_meanwhile_is_a_conflict(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, dry_run: bool
) -> None:
    store(cluster, namespace)
    read = adapters.secret.read()
    theirs = {"stringData": {FIELD: "theirs"}}
    cluster.admin.patch(SECRETS, namespace, "session-key", theirs)
    with pytest.raises(errors.DeliveryConflict):
        adapters.secret.write("ours", read.resource_version, dry_run=dry_run)
    assert adapters.secret.read().value == "theirs"


def test_an_immutable_secret_is_refused_and_the_error_does_not_quote_the_key(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    store(cluster, namespace, immutable=True)
    read = adapters.secret.read()
    assert read.immutable
    with pytest.raises(errors.ClusterRefused, match=r"\(422\)") as caught:
        adapters.secret.write("the-new-key", read.resource_version, dry_run=True)
    assert "the-new-key" not in repr((caught.value, caught.value.__cause__))


@pytest.mark.parametrize(
    "label",
    [
        {"reconcile.external-secrets.io/managed": "true"},
        {"app.kubernetes.io/managed-by": "hashicorp-vso"},
        {"secrets-store.csi.k8s.io/managed": "true"},
    ],
    ids=["External Secrets", "Vault Secrets", "CSI driver"],
)
def test_a_secret_that_somebody_else_keeps_writing_is_refused_unchanged(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters, label: dict[str, str]
) -> None:
    store(cluster, namespace, labels=label)
    before = adapters.secret.read()
    with pytest.raises(errors.DeliveryRefused, match="would overwrite the new key"):
        KubernetesSecretDelivery(adapters.secret).check_ready()
    assert adapters.secret.read() == before


def test_what_is_not_there_is_named(adapters: Adapters) -> None:
    with pytest.raises(errors.ServiceNotFound, match="deployments/web"):
        adapters.cluster.workload("web")
    with pytest.raises(errors.ServiceNotFound, match="secrets/session-key"):
        adapters.secret.read()


def test_what_is_not_served_is_told_from_what_is_not_there(
    namespace: str, adapters: Adapters
) -> None:
    with pytest.raises(errors.ResourceNotServed, match=r"deployments at /apis/apps/v1beta7 "):
        adapters.api.get(f"/apis/apps/v1beta7/namespaces/{namespace}/deployments/web")
    with pytest.raises(errors.ResourceNotServed, match="does not serve externalsecrets at "):
        adapters.api.get(
            f"/apis/external-secrets.io/v1/namespaces/{namespace}/externalsecrets/web-session"
        )


def test_a_restart_by_reloader_is_seen_from_the_secrets_metadata_alone(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    start(cluster, namespace)
    store(cluster, namespace)
    workloads = adapters.reading_key
    searches = {"metadata": {"annotations": {"reloader.stakater.com/search": "true"}}}
    cluster.admin.patch(DEPLOYMENTS, namespace, "web", searches)
    assert workloads.workload("web").restarts_itself is None
    assert workloads.secret_matches_reloader() is False
    matches = {"metadata": {"annotations": {"reloader.stakater.com/match": "true"}}}
    cluster.admin.patch(SECRETS, namespace, "session-key", matches)
    assert workloads.secret_matches_reloader() is True


def test_of_a_secret_whose_metadata_is_asked_for_no_data_is_sent(
    cluster: ClusterUnderTest, namespace: str, adapters: Adapters
) -> None:
    store(cluster, namespace, {"app": "web"})
    path = f"/api/v1/namespaces/{namespace}/secrets/session-key"
    seen = adapters.api.metadata(path)
    assert (seen["kind"], seen["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert seen.keys() == {"kind", "apiVersion", "metadata"}
    assert (seen["metadata"]["name"], seen["metadata"]["labels"]) == ("session-key", {"app": "web"})
    assert "data" in adapters.api.get(path)
