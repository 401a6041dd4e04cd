"""Objects through the API: what is stored, refused, patched, selected and watched."""

import base64
from pathlib import Path

import kubernetes.client
import pytest
import urllib3

from local.cluster.certificates import client_context
from local.cluster.client import MERGE, STRATEGIC
from local.cluster.errors import StatusError
from local.cluster.resources import DEPLOYMENTS, NAMESPACES, PODS, SECRETS, Json
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.manifests import container, deployment, web_container
from tests.contract.waiting import until, wait_for_rollout


def secret(name: str = "session-key", **more: object) -> Json:
    return {"metadata": {"name": name}, **more}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def idle(name: str = "web", replicas: int = 0) -> Json:
    return deployment(name, container(), replicas=replicas)


def test_an_object_that_is_not_there_is_a_404_with_its_name(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    with pytest.raises(StatusError) as caught:
        cluster.admin.get(DEPLOYMENTS, namespace, "web")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert caught.value.message == 'deployments.apps "web" not found'
    assert caught.value.details == {"name": "web", "group": "apps", "kind": "deployments"}


def test_a_name_that_is_taken_is_a_409(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.admin.create(SECRETS, namespace, secret())
    with pytest.raises(StatusError) as caught:
        cluster.admin.create(SECRETS, namespace, secret())
    assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")
    assert caught.value.message == 'secrets "session-key" already exists'


def test_an_object_needs_its_namespace(cluster: ClusterUnderTest) -> None:
    with pytest.raises(StatusError) as caught:
        cluster.admin.create(SECRETS, "nowhere", secret())
    assert caught.value.message == 'namespaces "nowhere" not found'


def test_string_data_becomes_data(cluster: ClusterUnderTest, namespace: str) -> None:
    made = cluster.admin.create(SECRETS, namespace, secret(stringData={"KEY": "value"}))
    assert made["data"] == {"KEY": encoded("value")}
    assert "stringData" not in made
    assert made["type"] == "Opaque"


def test_data_that_is_not_base64_is_refused(cluster: ClusterUnderTest, namespace: str) -> None:
    wrong: Json = {"data": {"KEY": "!"}}
    with pytest.raises(StatusError) as caught:
        cluster.admin.create(SECRETS, namespace, secret(data=wrong["data"]))
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    cluster.admin.create(SECRETS, namespace, secret())
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(SECRETS, namespace, "session-key", wrong, content_type=MERGE)
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")


def test_a_secrets_keys_are_names(cluster: ClusterUnderTest, namespace: str) -> None:
    with pytest.raises(StatusError, match=r'data\[A KEY\]: Invalid value: "A KEY"') as caught:
        cluster.admin.create(SECRETS, namespace, secret(stringData={"A KEY": "value"}))
    assert caught.value.code == 422


@pytest.mark.parametrize("metadata", [{"annotations": {"run": 7}}, {"labels": {"run": "a b"}}])
def test_annotations_are_text_and_labels_are_names(
    cluster: ClusterUnderTest, namespace: str, metadata: Json
) -> None:
    cluster.admin.create(SECRETS, namespace, secret())
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(
            SECRETS, namespace, "session-key", {"metadata": metadata}, content_type=MERGE
        )
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")


def test_a_merge_patch_changes_one_key_of_a_secret(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.admin.create(SECRETS, namespace, secret(stringData={"KEY": "old", "OTHER": "kept"}))
    patched = cluster.admin.patch(
        SECRETS, namespace, "session-key", {"data": {"KEY": encoded("new")}}, content_type=MERGE
    )
    assert patched["data"] == {"KEY": encoded("new"), "OTHER": encoded("kept")}


@pytest.mark.parametrize("content_type", [MERGE, STRATEGIC])
def test_a_patch_with_an_old_resource_version_is_a_conflict(
    cluster: ClusterUnderTest, namespace: str, content_type: str
) -> None:
    made = cluster.admin.create(SECRETS, namespace, secret(stringData={"KEY": "one"}))
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "stringData": {"KEY": "two"}}
    place = (SECRETS, namespace, "session-key")
    patched = cluster.admin.patch(*place, patch, content_type=content_type)
    assert patched["metadata"]["resourceVersion"] != version
    patch["stringData"] = {"KEY": "three"}
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(*place, patch, content_type=content_type)
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == (
        'Operation cannot be fulfilled on secrets "session-key": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert cluster.admin.get(*place)["data"] == {"KEY": encoded("two")}


def test_an_immutable_secret_refuses_new_data(cluster: ClusterUnderTest, namespace: str) -> None:
    manifest = secret(stringData={"KEY": "one"}, immutable=True)
    cluster.admin.create(SECRETS, namespace, manifest)
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(SECRETS, namespace, "session-key", {"stringData": {"KEY": "two"}})
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert "field is immutable when `immutable` is set" in caught.value.message


def test_a_dry_run_answers_and_stores_nothing(cluster: ClusterUnderTest, namespace: str) -> None:
    made = cluster.admin.create(SECRETS, namespace, secret(stringData={"KEY": "one"}))
    path = SECRETS.path(namespace, "session-key") + "?dryRun=All"
    answer = ask(cluster, "PATCH", path, {"stringData": {"KEY": "two"}}, MERGE)
    assert answer.status == 200
    assert answer.json()["data"] == {"KEY": encoded("two")}
    assert cluster.admin.get(SECRETS, namespace, "session-key") == made


def test_a_dry_run_is_refused_like_the_real_request(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    answer = ask(cluster, "PATCH", DEPLOYMENTS.path(namespace, "web") + "?dryRun=All", {}, MERGE)
    assert answer.status == 404


def test_a_patch_of_another_media_type_is_a_415(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.admin.create(SECRETS, namespace, secret())
    path = SECRETS.path(namespace, "session-key")
    answer = ask(cluster, "PATCH", path, {}, "application/json")
    assert answer.status == 415
    assert answer.json()["reason"] == "UnsupportedMediaType"


def test_only_a_change_of_the_spec_moves_the_generation(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.admin.create(DEPLOYMENTS, namespace, idle())
    before = wait_for_rollout(cluster, namespace, "web")["metadata"]["generation"]
    place = (DEPLOYMENTS, namespace, "web")
    labelled = cluster.admin.patch(*place, {"metadata": {"labels": {"team": "sre"}}})
    assert labelled["metadata"]["generation"] == before
    paused = cluster.admin.patch(*place, {"spec": {"paused": True}})
    assert paused["metadata"]["generation"] == before + 1


def test_a_strategic_patch_keeps_the_other_containers(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    sidecar = {**container(), "name": "sidecar"}
    cluster.admin.create(
        DEPLOYMENTS, namespace, deployment("web", container(), sidecar, replicas=0)
    )
    change = {"name": "app", "env": [{"name": "COLOUR", "value": "red"}]}
    patch = {"spec": {"template": {"spec": {"containers": [change]}}}}
    patched = cluster.admin.patch(DEPLOYMENTS, namespace, "web", patch)
    containers = {one["name"]: one for one in patched["spec"]["template"]["spec"]["containers"]}
    assert containers.keys() == {"app", "sidecar"}
    assert containers["app"]["env"] == [{"name": "COLOUR", "value": "red"}]
    assert containers["app"]["command"] == container()["command"]


def test_the_same_patch_twice_is_one_change(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.admin.create(DEPLOYMENTS, namespace, idle())
    patch = {"spec": {"template": {"metadata": {"annotations": {"run": "one"}}}}}
    first = cluster.admin.patch(DEPLOYMENTS, namespace, "web", patch)
    again = cluster.admin.patch(DEPLOYMENTS, namespace, "web", patch)
    assert again["metadata"]["generation"] == first["metadata"]["generation"]


def test_a_deployments_selector_never_changes(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.admin.create(DEPLOYMENTS, namespace, idle())
    labels = {"app": "web", "tier": "front"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    with pytest.raises(StatusError, match="field is immutable"):
        cluster.admin.patch(DEPLOYMENTS, namespace, "web", {"spec": spec})


ROLLING = "spec.strategy.rollingUpdate.maxUnavailable"
CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("spec", "containers", "field"),
    [
        ({}, [container(readinessProbe={"httpGet": {"path": "/"}})], f"{CONTAINER}.readinessProbe"),
        ({}, [container(), container()], "spec.template.spec.containers[1].name: Duplicate"),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            [container()],
            f"{ROLLING}: Invalid value",
        ),
        (
            {"progressDeadlineSeconds": 5, "minReadySeconds": 5},
            [container()],
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ),
    ],
)
def test_a_deployment_that_could_not_work_is_refused(
    cluster: ClusterUnderTest, namespace: str, spec: Json, containers: list[Json], field: str
) -> None:
    with pytest.raises(StatusError) as caught:
        cluster.admin.create(DEPLOYMENTS, namespace, deployment("web", *containers, **spec))
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert caught.value.message.startswith(f'Deployment.apps "web" is invalid: {field}')


def test_selectors_choose_what_a_list_holds(cluster: ClusterUnderTest, namespace: str) -> None:
    for name, labels in {"one": {"app": "a"}, "two": {"app": "b", "old": "yes"}}.items():
        manifest = {"metadata": {"name": name, "labels": labels}}
        cluster.admin.create(SECRETS, namespace, manifest)

    def names(label_selector: str = "") -> list[str]:
        found = cluster.admin.list(SECRETS, namespace, label_selector=label_selector)
        return sorted(one["metadata"]["name"] for one in found)

    assert names("app=a") == ["one"]
    assert names("app in (a, b),!old") == ["one"]
    assert names("app!=a,old") == ["two"]
    assert names() == ["one", "two"]


def test_a_watch_tells_what_happens_after_its_version(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    made = cluster.admin.create(SECRETS, namespace, secret())
    version = made["metadata"]["resourceVersion"]
    cluster.admin.patch(SECRETS, namespace, "session-key", {"stringData": {"KEY": "one"}})
    cluster.admin.delete(SECRETS, namespace, "session-key")
    events = iter(cluster.admin.watch(SECRETS, namespace, version, seconds=1))
    assert [next(events)["type"], next(events)["type"]] == ["MODIFIED", "DELETED"]
    assert list(events) == []


def test_deleting_a_deployment_deletes_all_that_it_owns(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.admin.create(DEPLOYMENTS, namespace, deployment("web", container(), replicas=1))
    wait_for_rollout(cluster, namespace, "web")
    cluster.admin.delete(DEPLOYMENTS, namespace, "web")
    until(lambda: cluster.admin.list(PODS, namespace), lambda pods: not pods)


def test_a_deleted_namespace_takes_its_objects_along(cluster: ClusterUnderTest) -> None:
    namespace = cluster.new_namespace()
    cluster.admin.create(SECRETS, namespace, secret())
    cluster.admin.delete(NAMESPACES, "", namespace)
    until(lambda: cluster.admin.list(SECRETS, namespace), lambda left: not left)


def test_the_official_client_accepts_every_answer(
    cluster: ClusterUnderTest, namespace: str, tmp_path: Path
) -> None:
    web = deployment("web", web_container(), replicas=1)
    with official_client(cluster, tmp_path) as api:
        apps, core = kubernetes.client.AppsV1Api(api), kubernetes.client.CoreV1Api(api)
        apps.create_namespaced_deployment(
            namespace, {"apiVersion": "apps/v1", "kind": "Deployment", **web}
        )
        wait_for_rollout(cluster, namespace, "web")
        read = apps.read_namespaced_deployment("web", namespace)
        patched = apps.patch_namespaced_deployment("web", namespace, {"spec": {"paused": True}})
        pods = core.list_namespaced_pod(namespace, label_selector="app=web").items
        log = core.read_namespaced_pod_log(pods[0].metadata.name, namespace)
        with pytest.raises(kubernetes.client.ApiException) as caught:
            core.read_namespaced_secret("session-key", namespace)
    assert read.status.available_replicas == 1
    assert patched.spec.paused
    assert [one.status.container_statuses[0].ready for one in pods] == [True]
    assert "listening" in log
    assert caught.value.status == 404


def official_client(cluster: ClusterUnderTest, folder: Path) -> kubernetes.client.ApiClient:
    ca_file = folder / "ca.pem"
    ca_file.write_text(cluster.ca_pem)
    configuration = kubernetes.client.Configuration(host=cluster.url)
    configuration.ssl_ca_cert = str(ca_file)
    configuration.api_key["authorization"] = f"Bearer {cluster.running.admin_token}"
    return kubernetes.client.ApiClient(configuration)


def ask(
    cluster: ClusterUnderTest, method: str, path: str, body: Json, content_type: str
) -> urllib3.BaseHTTPResponse:
    headers = {
        "Authorization": f"Bearer {cluster.running.admin_token}",
        "Content-Type": content_type,
    }
    with urllib3.PoolManager(ssl_context=client_context(cluster.ca_pem)) as pool:
        return pool.request(method, cluster.url + path, headers=headers, json=body, timeout=5)
