"""A resource of a CustomResourceDefinition, on both kinds of cluster."""

from collections.abc import Iterator

import pytest

from local.cluster.client import MERGE, STRATEGIC
from local.cluster.custom_resources import installed
from local.cluster.errors import StatusError
from local.cluster.resources import STATUS, Resource
from tests.contract.cluster_under_test import ClusterUnderTest

WIDGETS = Resource("widgets", "Widget", group="example.com", subresources=STATUS)
PLACED = {"metadata": {"name": "one"}, "spec": {"parts": [{"name": "a"}]}}


@pytest.fixture(scope="module")
def cluster(each_cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Both kinds of cluster, with a resource that they did not have."""
    with installed(each_cluster.running, WIDGETS):
        yield each_cluster


def test_a_strategic_merge_patch_of_a_custom_object_is_refused_with_415(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    made = cluster.admin.create(WIDGETS, namespace, PLACED)
    change = {"spec": {"parts": [{"name": "b"}]}}
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(WIDGETS, namespace, "one", change, content_type=STRATEGIC)
    assert (caught.value.code, caught.value.reason) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in caught.value.message
    assert STRATEGIC not in caught.value.message
    assert cluster.admin.get(WIDGETS, namespace, "one") == made


def test_a_json_merge_patch_of_a_custom_object_replaces_its_lists(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    made = cluster.admin.create(WIDGETS, namespace, PLACED)
    change = {"spec": {"parts": [{"name": "b"}]}}
    patched = cluster.admin.patch(WIDGETS, namespace, "one", change, content_type=MERGE)
    assert patched["spec"] == change["spec"]
    assert patched["metadata"]["generation"] == made["metadata"]["generation"] + 1


def test_a_patch_from_a_stale_version_of_a_custom_object_is_a_409(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    made = cluster.admin.create(WIDGETS, namespace, PLACED)
    version = {"resourceVersion": made["metadata"]["resourceVersion"]}
    change = {"metadata": version, "spec": {"size": 2}}
    cluster.admin.patch(WIDGETS, namespace, "one", change, content_type=MERGE)
    with pytest.raises(StatusError) as caught:
        cluster.admin.patch(
            WIDGETS, namespace, "one", {**change, "spec": {"size": 3}}, content_type=MERGE
        )
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")


def test_a_patch_of_a_custom_objects_status_leaves_its_spec_and_its_generation(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    made = cluster.admin.create(WIDGETS, namespace, PLACED)
    change = {"spec": {"size": 2}, "status": {"phase": "Ready"}}
    patched = cluster.admin.patch(
        WIDGETS, namespace, "one", change, content_type=MERGE, subresource="status"
    )
    assert (patched["spec"], patched["status"]) == (made["spec"], {"phase": "Ready"})
    assert patched["metadata"]["generation"] == made["metadata"]["generation"]
