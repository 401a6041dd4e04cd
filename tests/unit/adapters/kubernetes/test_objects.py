"""What the API's objects say, absent fields included."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from keyturn.adapters.kubernetes import objects
from keyturn.adapters.kubernetes.api import STRATEGIC, KubernetesApi
from keyturn.adapters.kubernetes.workloads import KubernetesCluster
from keyturn.rollout.pod_annotations import KEY_VERSION
from keyturn.rollout.status import Pod, PodRefusal, Workload
from keyturn.settings.loading import PodKeySettings
from keyturn.settings.types import DeliveryMode
from tests.conftest import NEW, NOON, STAMP
from tests.every_case import every_case

KEY = PodKeySettings(DeliveryMode("kubernetes-secret"), "session-key", "SESSION_ENCRYPTION_KEY", "")
BY_NAME = {
    "name": "KEY",
    "valueFrom": {"secretKeyRef": {"name": "session-key", "key": "SESSION_ENCRYPTION_KEY"}},
}


def deployment(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    template = {"metadata": {"annotations": STAMP.annotations()}, "spec": {"containers": []}}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web-console", "generation": 4},
        "spec": {"replicas": 3, "template": template, **(spec or {})},
        "status": status,
    }


def stateful_set(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {**deployment(spec, **status), "kind": "StatefulSet"}


def test_a_deployment_is_read_from_its_spec_and_status() -> None:
    seen = deployment(
        observedGeneration=3,
        replicas=4,
        updatedReplicas=2,
        availableReplicas=1,
        conditions=[
            {"type": "Available", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "reason": "ReplicaSetUpdated"},
        ],
    )
    assert objects.workload(seen, None) == Workload(
        name="web-console",
        generation=4,
        observed_generation=3,
        paused=False,
        desired=3,
        total=4,
        updated=2,
        available=1,
        key_version=NEW,
        key_delivery=STAMP.delivery,
        progress_reason="ReplicaSetUpdated",
        refers_to_key=True,
        kind="Deployment",
        keeps_old=None,
        settled=True,
        restarts_itself=False,
    )


def test_a_stateful_set_is_read_from_its_spec_and_status() -> None:
    seen = stateful_set(
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
        observedGeneration=3,
        replicas=3,
        updatedReplicas=2,
        readyReplicas=1,
        availableReplicas=3,
        currentRevision="db-1",
        updateRevision="db-2",
    )
    assert objects.workload(seen, None) == Workload(
        name="web-console",
        kind="StatefulSet",
        generation=4,
        observed_generation=3,
        paused=False,
        desired=3,
        total=3,
        updated=2,
        available=1,
        key_version=NEW,
        key_delivery=STAMP.delivery,
        progress_reason=None,
        refers_to_key=True,
        keeps_old=None,
        settled=False,
        restarts_itself=False,
    )


def test_a_deployment_counts_its_available_pods_and_not_the_ready_ones() -> None:
    assert objects.workload(deployment(readyReplicas=3, availableReplicas=1), None).available == 1


QUOTA = "exceeded quota: q, requested: pods=1,cpu=500m, used: pods=1,cpu=1, limited: pods=1,cpu=1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, f"FailedCreate: {QUOTA}"),
        ({"message": "admission webhook denied the request: secret text"}, "FailedCreate"),
        ({"message": f"{QUOTA}\nsecret text"}, f"FailedCreate: {QUOTA}"),
        ({"message": None}, "FailedCreate"),
        ({"status": "False"}, None),
        ({"type": "Available"}, None),
    ],
    ids=["quota", "webhook", "quota and more", "no message", "over", "another condition"],
)
def test_only_reason_and_quota_of_a_refusal_to_create_pods_are_read(
    changes: dict[str, Any], reason: str | None
) -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": f'pods "web-console-7d4b-x" is forbidden: {QUOTA}',
        "lastTransitionTime": "2026-11-24T12:00:00Z",
        **changes,
    }
    seen = objects.workload(deployment(conditions=[condition]), None).pod_refusal
    assert seen == (PodRefusal(reason, NOON) if reason else None)


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ({"currentRevision": "db-1", "updateRevision": "db-2"}, False),
        ({"currentRevision": "db-2", "updateRevision": "db-2"}, True),
        ({"updateRevision": "db-2"}, False),
        ({}, True),
    ],
)
def test_a_stateful_set_is_settled_when_its_update_revision_is_the_current_one(
    status: dict[str, Any], settled: bool
) -> None:
    assert objects.workload(stateful_set(**status), None).settled is settled


@every_case(
    ("strategy", "keeps_old"),
    [
        (None, None),
        ({}, None),
        ({"type": "RollingUpdate"}, None),
        ({"type": "RollingUpdate", "rollingUpdate": None}, None),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, None),
        ({"rollingUpdate": {"partition": 2}}, "an update partition of 2"),
        (
            {"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": 2}},
            "an update partition of 1",
        ),
        ({"type": "OnDelete"}, "update strategy OnDelete"),
    ],
)
def test_a_stateful_set_says_why_its_update_strategy_keeps_old_pods(
    strategy: dict[str, Any] | None, keeps_old: str | None
) -> None:
    found = objects.workload(stateful_set({"updateStrategy": strategy}), None)
    assert found.keeps_old == keeps_old


def test_the_strategy_of_a_deployment_keeps_no_old_pods() -> None:
    seen = deployment({"strategy": {"type": "Recreate"}, "updateStrategy": {"type": "OnDelete"}})
    assert objects.workload(seen, None).keeps_old is None


def test_a_deployment_that_nothing_has_observed_yet_has_counters_of_zero() -> None:
    bare = {
        "kind": "Deployment",
        "metadata": {"name": "web-console"},
        "spec": {"template": {"spec": {"containers": []}}},
    }
    found = objects.workload(bare, None)
    assert (found.generation, found.observed_generation) == (0, 0)
    assert (found.desired, found.total, found.updated, found.available) == (1, 0, 0, 0)
    assert (found.key_version, found.progress_reason) == (None, None)


def test_a_paused_deployment_and_one_of_no_pods_are_told() -> None:
    found = objects.workload(
        deployment({"paused": True, "replicas": 0}, conditions=None),
        None,
    )
    assert (found.paused, found.desired) == (True, 0)


def test_whether_a_deployment_reads_the_key_is_told_where_the_key_is_known() -> None:
    assert objects.workload(deployment(), KEY).refers_to_key is False
    assert objects.workload(deployment(), None).refers_to_key is True


@pytest.mark.parametrize("mode", ["kubernetes-secret", "external-secrets"])
def test_a_workload_has_to_refer_to_the_secret_that_is_delivered(mode: str) -> None:
    delivery = replace(KEY, delivery_mode=DeliveryMode(mode))
    for seen in (deployment(), stateful_set()):
        assert objects.workload(seen, delivery).refers_to_key is False


def test_a_workload_that_reads_secrets_manager_needs_no_secret_reference() -> None:
    delivery = replace(KEY, delivery_mode=DeliveryMode("none"))
    assert objects.workload(deployment(), delivery).refers_to_key is True


def pod(*statuses: dict[str, Any], kind: str = "containerStatuses", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "new-1", "uid": "uid-1", **meta}, "status": {kind: list(statuses)}}


def test_a_pod_is_read_from_its_annotations_and_its_containers() -> None:
    seen = pod(
        {
            "name": "app",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-11-24T11:59:58Z"}},
            "restartCount": 4,
        },
        {"name": "proxy", "state": {"running": {}}, "lastState": {}, "restartCount": 1},
        annotations=STAMP.annotations(),
        creationTimestamp="2026-11-24T11:58:00Z",
        deletionTimestamp="2026-11-24T12:00:00Z",
    )
    assert objects.pod(seen) == Pod(
        "new-1",
        NEW,
        key_delivery=STAMP.delivery,
        terminating=True,
        waiting_reasons=("CrashLoopBackOff",),
        restarts=4,
        uid="uid-1",
        created=NOON - timedelta(minutes=2),
        crashed=NOON - timedelta(seconds=2),
    )


def test_a_container_that_has_just_ended_crashed_then_and_not_the_time_before() -> None:
    status = {
        "name": "app",
        "state": {"terminated": {"finishedAt": "2026-11-24T12:00:00Z"}},
        "lastState": {"terminated": {"finishedAt": "2026-11-24T11:59:00Z"}},
    }
    never_ended = {"name": "proxy", "state": {"terminated": {"finishedAt": None}}}
    assert objects.pod(pod(status, never_ended)).crashed == NOON


@pytest.mark.parametrize(
    "kind", ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"]
)
def test_every_kind_of_container_may_hold_up_a_pod(kind: str) -> None:
    stuck = {"name": "app", "state": {"waiting": {"reason": "ErrImagePull"}}}
    assert objects.pod(pod(stuck, kind=kind)).waiting_reasons == ("ErrImagePull",)


@pytest.mark.parametrize("bare", [{}, {"status": {}}, {"status": {"containerStatuses": None}}])
def test_a_pod_that_no_kubelet_has_seen_has_no_containers(bare: dict[str, Any]) -> None:
    seen = {"metadata": {"name": "new-1", "uid": "uid-1"}, **bare}
    assert objects.pod(seen) == Pod("new-1", None, uid="uid-1")
    assert not objects.ended(seen)


@pytest.mark.parametrize(
    ("phase", "ended"),
    [
        ("Pending", False),
        ("Running", False),
        ("Unknown", False),
        ("Succeeded", True),
        ("Failed", True),
    ],
)
def test_a_pod_that_was_evicted_holds_no_key_any_more(phase: str, ended: bool) -> None:
    assert objects.ended({"metadata": {"name": "old"}, "status": {"phase": phase}}) is ended


WORKER = {"kind": "ReplicaSet", "name": "worker-5c6d", "controller": True}


def test_a_cluster_shows_the_pods_of_the_selector_that_may_hold_a_key() -> None:
    asked: list[Any] = []

    class Api:
        namespace = "web"

        def get(self, path: str, query: Any = None) -> dict[str, Any]:
            asked.append((path, query))
            if path.endswith("/pods"):
                evicted = {"metadata": {"name": "evicted"}, "status": {"phase": "Failed"}}
                return {"items": [evicted, own, pod(), pod(ownerReferences=[WORKER])]}
            return deployment({"selector": {"matchLabels": {"app": "web-console"}}})

    own = pod(
        annotations={KEY_VERSION: NEW},
        labels={"pod-template-hash": "7d4b"},
        ownerReferences=[{"kind": "ReplicaSet", "name": "web-console-7d4b", "controller": True}],
    )
    cluster = KubernetesCluster(cast("KubernetesApi", Api()))
    assert cluster.pods("web-console") == [
        Pod("new-1", NEW, uid="uid-1"),
        Pod("new-1", None, uid="uid-1", other_owner="no controller"),
        Pod("new-1", None, uid="uid-1", other_owner="ReplicaSet worker-5c6d"),
    ]
    assert asked == [
        ("/apis/apps/v1/namespaces/web/deployments/web-console", None),
        (
            "/api/v1/namespaces/web/pods",
            [("labelSelector", "app=web-console"), ("limit", "500")],
        ),
    ]


def test_ten_thousand_pods_are_read_in_pages() -> None:
    sizes: list[int] = []

    class Api:
        namespace = "web"

        def get(self, path: str, query: Any = None) -> dict[str, Any]:
            if not path.endswith("/pods"):
                return deployment({"selector": {"matchLabels": {"app": "web-console"}}})
            asked = dict(query)
            first, size = int(asked.get("continue", 0)), int(asked["limit"])
            sizes.append(size)
            further = {"continue": str(first + size)} if first + size < 10_000 else {}
            return {"metadata": further, "items": [pod()] * size}

    assert len(KubernetesCluster(cast("KubernetesApi", Api())).pods("web-console")) == 10_000
    assert len(sizes) == 20


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("web-console", "deployments/web-console"),
        ("deployment/web-console", "deployments/web-console"),
        ("statefulset/db", "statefulsets/db"),
    ],
)
def test_a_service_is_found_by_its_kind_and_its_name(service: str, path: str) -> None:
    asked: list[Any] = []

    class Api:
        namespace = "web"

        def get(self, path: str, query: Any = None) -> dict[str, Any]:
            asked.append(path)
            if path.endswith("/pods"):
                return {"items": []}
            return deployment({"selector": {"matchLabels": {"app": "web-console"}}})

        def patch(self, path: str, body: Any, kind: str, *, dry_run: bool) -> dict[str, Any]:
            asked.append((path, body, kind, dry_run))
            return deployment()

    cluster = KubernetesCluster(cast("KubernetesApi", Api()))
    assert cluster.workload(service).name == "web-console"
    assert cluster.pods(service) == []
    cluster.restart(service, {KEY_VERSION: NEW}, "7", dry_run=True)
    where = f"/apis/apps/v1/namespaces/web/{path}"
    body = {
        "metadata": {"resourceVersion": "7"},
        "spec": {"template": {"metadata": {"annotations": {KEY_VERSION: NEW}}}},
    }
    assert asked == [
        where,
        where,
        "/api/v1/namespaces/web/pods",
        (where, body, STRATEGIC, True),
    ]


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "other"}, {"name": "app", **fields}]}


@pytest.mark.parametrize(
    "spec",
    [
        container(env=[{"name": "PLAIN", "value": "x"}, BY_NAME]),
        container(
            envFrom=[{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "session-key"}}]
        ),
        container(volumeMounts=[{"name": "key", "mountPath": "/key"}])
        | {"volumes": [{"name": "key", "secret": {"secretName": "session-key"}}]},
        container(volumeMounts=[{"name": "key", "mountPath": "/key"}])
        | {
            "volumes": [
                {
                    "name": "key",
                    "projected": {"sources": [{"secret": {"name": "session-key"}}]},
                }
            ]
        },
    ],
    ids=["env", "envFrom", "volume", "projected volume"],
)
def test_each_way_to_give_a_container_the_key_is_seen(spec: dict[str, Any]) -> None:
    assert objects.refers_to_key(spec, KEY)


@every_case(
    "spec",
    [
        {},
        container(),
        container(env=[{**BY_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        container(
            env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": "session-key", "key": "x"}}}]
        ),
        container(
            env=[
                {
                    "name": "K",
                    "valueFrom": {
                        "secretKeyRef": {"name": "other", "key": "SESSION_ENCRYPTION_KEY"}
                    },
                }
            ]
        ),
        container(envFrom=[{"secretRef": {"name": "other"}}]),
        container() | {"volumes": [{"name": "key", "secret": {"secretName": "session-key"}}]},
        container(volumeMounts=[{"name": "other", "mountPath": "/key"}])
        | {"volumes": [{"name": "key", "secret": {"secretName": "session-key"}}]},
    ],
)
def test_a_container_that_does_not_get_the_key_is_seen_too(spec: dict[str, Any]) -> None:
    assert not objects.refers_to_key(spec, KEY)


def test_a_selector_is_written_as_the_api_wants_it() -> None:
    selector = {
        "matchLabels": {"app": "web-console", "tier": "web"},
        "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod", "staging"]},
            {"key": "track", "operator": "NotIn", "values": ["canary"]},
            {"key": "owner", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist", "values": None},
        ],
    }
    assert objects.selector_text(selector) == (
        "app=web-console,tier=web,env in (prod,staging),track notin (canary),owner,!old"
    )


def test_the_owner_of_an_object_is_its_controller() -> None:
    references = [
        {"kind": "Application", "name": "web"},
        {"kind": "ExternalSecret", "name": "session-key", "controller": True},
    ]
    assert objects.owner({"metadata": {"ownerReferences": references}}) == (
        "ExternalSecret session-key"
    )
    assert objects.owner({"metadata": {"ownerReferences": references[:1]}}) is None
    assert objects.owner({"metadata": {}}) is None


ESO = {"reconcile.external-secrets.io/managed": "true"}
VSO = {
    "app.kubernetes.io/name": "vault-secrets-operator",
    "app.kubernetes.io/managed-by": "hashicorp-vso",
}


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        (ESO, "the External Secrets Operator"),
        (VSO, "the Vault Secrets Operator"),
        ({"secrets-store.csi.k8s.io/managed": "true"}, "the Secrets Store CSI driver"),
        ({"reconcile.external-secrets.io/managed": "false"}, None),
        ({"app.kubernetes.io/managed-by": "Helm"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_owner_of_a_secret_is_also_who_labelled_it_as_his(
    labels: dict[str, str] | None, owner: str | None
) -> None:
    """Without an owner reference (creationPolicy Orphan) an operator writes it all the same."""
    assert objects.owner({"metadata": {"labels": labels}}) == owner


def test_the_controller_of_a_secret_is_named_before_its_labels() -> None:
    reference = {"kind": "ExternalSecret", "name": "session-key", "controller": True}
    meta = {"labels": ESO, "ownerReferences": [reference]}
    assert objects.owner({"metadata": meta}) == "ExternalSecret session-key"


def test_a_condition_is_found_by_its_type_or_is_empty() -> None:
    ready = {"type": "Ready", "status": "True"}
    assert objects.condition({"conditions": [{"type": "Deleted"}, ready]}, "Ready") == ready
    for status in ({}, {"conditions": None}, {"conditions": [{"type": "Deleted"}]}):
        assert objects.condition(status, "Ready") == {}


@every_case(
    ("kind", "controller", "label", "expected"),
    [
        ("Deployment", {"kind": "ReplicaSet", "name": "web-console-5d9"}, "5d9", True),
        ("Deployment", {"kind": "ReplicaSet", "name": "web-console-2-5d9"}, "5d9", False),
        ("Deployment", {"kind": "ReplicaSet", "name": "web-console-5d9"}, None, False),
        ("Deployment", {"kind": "Job", "name": "web-console-5d9"}, "5d9", False),
        ("Deployment", None, "5d9", False),
        ("StatefulSet", {"kind": "StatefulSet", "name": "web-console"}, None, True),
        ("StatefulSet", {"kind": "StatefulSet", "name": "worker"}, None, False),
        ("StatefulSet", {"kind": "ReplicaSet", "name": "web-console-5d9"}, "5d9", False),
    ],
)
def test_a_pod_is_known_for_the_workloads_own_by_its_controller(
    kind: str, controller: dict[str, Any] | None, label: str | None, expected: bool
) -> None:
    owners = [{**controller, "controller": True}] if controller else None
    meta = {"name": "new-1", "ownerReferences": owners, "labels": {"pod-template-hash": label}}
    workload = {"kind": kind, "metadata": {"name": "web-console"}}
    assert objects.is_of(workload, {"metadata": meta}) is expected


def test_an_owner_that_is_no_controller_does_not_count() -> None:
    owner = {"kind": "ReplicaSet", "name": "web-console-None"}
    meta = {"name": "new-1", "ownerReferences": [owner]}
    assert not objects.is_of(deployment(), {"metadata": meta})
