"""`keyturn.adapters.kubernetes_facts`: what the API's objects say, absent fields included."""

from typing import Any, cast

import pytest

from keyturn.adapters import kubernetes_facts as facts
from keyturn.adapters.kubernetes import KubernetesApi, KubernetesCluster
from keyturn.rollout import KEY_VERSION, Deployment, Pod
from keyturn.settings import DeliverySettings
from tests.conftest import NEW

KEY = DeliverySettings("session-key", "SESSION_ENCRYPTION_KEY")
BY_NAME = {
    "name": "KEY",
    "valueFrom": {"secretKeyRef": {"name": "session-key", "key": "SESSION_ENCRYPTION_KEY"}},
}


def deployment(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    template = {"metadata": {"annotations": {KEY_VERSION: NEW}}, "spec": {"containers": []}}
    return {
        "metadata": {"name": "web-console", "generation": 4},
        "spec": {"replicas": 3, "template": template, **(spec or {})},
        "status": status,
    }


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
    assert facts.deployment(seen, None) == Deployment(
        name="web-console",
        generation=4,
        observed_generation=3,
        paused=False,
        wanted=3,
        total=4,
        updated=2,
        available=1,
        key_version=NEW,
        progress_reason="ReplicaSetUpdated",
        refers_to_key=True,
    )


def test_a_deployment_that_nothing_has_observed_yet_has_counters_of_zero() -> None:
    bare = {
        "metadata": {"name": "web-console"},
        "spec": {"template": {"spec": {"containers": []}}},
    }
    found = facts.deployment(bare, None)
    assert (found.generation, found.observed_generation) == (0, 0)
    assert (found.wanted, found.total, found.updated, found.available) == (1, 0, 0, 0)
    assert (found.key_version, found.progress_reason) == (None, None)


def test_a_paused_deployment_and_one_of_no_pods_are_told() -> None:
    found = facts.deployment(
        deployment({"paused": True, "replicas": 0}, conditions=None),
        None,
    )
    assert (found.paused, found.wanted) == (True, 0)


def test_whether_a_deployment_reads_the_key_is_told_where_the_key_is_known() -> None:
    assert facts.deployment(deployment(), KEY).refers_to_key is False
    assert facts.deployment(deployment(), None).refers_to_key is True


def pod(*statuses: dict[str, Any], kind: str = "containerStatuses", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "new-1", **meta}, "status": {kind: list(statuses)}}


def test_a_pod_is_read_from_its_annotations_and_its_containers() -> None:
    seen = pod(
        {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4},
        {"name": "proxy", "state": {"running": {}}, "restartCount": 1},
        annotations={KEY_VERSION: NEW},
        deletionTimestamp="2026-11-24T12:00:00Z",
    )
    assert facts.pod(seen) == Pod(
        "new-1", NEW, terminating=True, waiting_reasons=("CrashLoopBackOff",), restarts=4
    )


@pytest.mark.parametrize(
    "kind", ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"]
)
def test_every_kind_of_container_may_hold_up_a_pod(kind: str) -> None:
    stuck = {"name": "app", "state": {"waiting": {"reason": "ErrImagePull"}}}
    assert facts.pod(pod(stuck, kind=kind)).waiting_reasons == ("ErrImagePull",)


@pytest.mark.parametrize("bare", [{}, {"status": {}}, {"status": {"containerStatuses": None}}])
def test_a_pod_that_no_kubelet_has_seen_has_no_containers(bare: dict[str, Any]) -> None:
    seen = {"metadata": {"name": "new-1"}, **bare}
    assert facts.pod(seen) == Pod("new-1", None)
    assert list(facts.containers(seen)) == []
    assert not facts.ended(seen)


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
    assert facts.ended({"metadata": {"name": "old"}, "status": {"phase": phase}}) is ended


def test_a_cluster_shows_the_pods_of_the_selector_that_may_hold_a_key() -> None:
    asked: list[Any] = []

    class Api:
        namespace = "web"

        def get(self, path: str, query: Any = None) -> dict[str, Any]:
            asked.append((path, query))
            if path.endswith("/pods"):
                evicted = {"metadata": {"name": "evicted"}, "status": {"phase": "Failed"}}
                return {"items": [evicted, pod(annotations={KEY_VERSION: NEW})]}
            return deployment({"selector": {"matchLabels": {"app": "web-console"}}})

    cluster = KubernetesCluster(cast("KubernetesApi", Api()))
    assert cluster.pods("web-console") == [Pod("new-1", NEW)]
    assert asked == [
        ("/apis/apps/v1/namespaces/web/deployments/web-console", None),
        ("/api/v1/namespaces/web/pods", [("labelSelector", "app=web-console")]),
    ]


def test_containers_that_have_started_have_logs_and_those_that_crashed_have_two() -> None:
    seen = pod(
        {"name": "app", "state": {"running": {}}, "restartCount": 0},
        {"name": "crashing", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        {"name": "pulling", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        {"name": "done", "state": {"terminated": {"exitCode": 0}}, "restartCount": 2},
    )
    seen["status"]["containerStatuses"][1]["restartCount"] = 3
    assert list(facts.containers(seen)) == [("app", False), ("crashing", True), ("done", True)]


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
    assert facts.refers_to_key(spec, KEY)


@pytest.mark.parametrize(
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
    ids=[
        "empty",
        "nothing",
        "another source",
        "another field",
        "another Secret",
        "envFrom of another Secret",
        "a volume that nothing mounts",
        "a mount of another volume",
    ],
)
def test_a_container_that_does_not_get_the_key_is_seen_too(spec: dict[str, Any]) -> None:
    assert not facts.refers_to_key(spec, KEY)


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
    assert facts.selector_text(selector) == (
        "app=web-console,tier=web,env in (prod,staging),track notin (canary),owner,!old"
    )


def test_the_owner_of_an_object_is_its_controller() -> None:
    references = [
        {"kind": "Application", "name": "web"},
        {"kind": "ExternalSecret", "name": "session-key", "controller": True},
    ]
    assert facts.owner({"metadata": {"ownerReferences": references}}) == (
        "ExternalSecret session-key"
    )
    assert facts.owner({"metadata": {"ownerReferences": references[:1]}}) is None
    assert facts.owner({"metadata": {}}) is None
