"""What a cluster offers the stack besides the API: manifests from files, an audit, its name."""

from pathlib import Path

import pytest
import yaml

from local.cluster.resources import SECRETS
from tests.contract.cluster_under_test import ROTATOR, ClusterUnderTest
from tests.contract.waiting import until


def test_a_manifest_is_created_then_patched(
    cluster: ClusterUnderTest, namespace: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.yaml"
    for value in ("one", "two"):
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "settings", "namespace": namespace},
            "stringData": {value: value},
        }
        manifest.write_text(yaml.safe_dump_all([document]))
        (applied,) = cluster.running.apply(manifest)
    assert applied["metadata"]["namespace"] == namespace
    assert applied["data"].keys() == {"one", "two"}


def test_a_manifest_without_a_namespace_goes_to_the_clusters_own(cluster: ClusterUnderTest) -> None:
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "settings"}}
    (applied,) = cluster.running.apply(document)
    assert applied["metadata"]["namespace"] == cluster.running.namespace


def test_a_kind_that_is_not_served_is_named(cluster: ClusterUnderTest) -> None:
    with pytest.raises(ValueError, match=r"batch/v1 Job is not served here; served: .*Deployment"):
        cluster.running.apply(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "audited"}}
        )


def test_the_audit_says_who_asked_for_what(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.admin.create(SECRETS, namespace, {"metadata": {"name": "session-key"}})
    cluster.rotator.patch(SECRETS, namespace, "session-key", {"data": {"KEY": "djE="}})
    entry = (ROTATOR, "patch", "secrets", "session-key")
    until(lambda: cluster.running.audit, lambda seen: entry in seen)


def test_the_server_says_what_it_is(cluster: ClusterUnderTest) -> None:
    kinds = ("emulated API server v1.", "kube-apiserver v1.")
    assert cluster.running.server.startswith(kinds)
