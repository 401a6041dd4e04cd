"""The real control plane's beginning and end: what is missing is named, nothing is left behind."""

import os
import ssl
from pathlib import Path

import pytest
import urllib3

from local.cluster import ControlPlaneError, RealCluster
from local.cluster.certificates import CertificateAuthority, client_context
from local.cluster.control_plane import ControlPlane
from local.cluster.control_plane_binaries import ASSETS, Binaries, find_binaries
from local.cluster.control_plane_flags import controller_manager_flags
from local.cluster.resources import PODS
from local.cluster.token_webhook import TokenWebhook
from local.processes import Processes
from tests.contract.cluster_under_test import NO_REAL_CLUSTER
from tests.contract.manifests import IMAGE, pod, web_container
from tests.contract.waiting import is_ready, until

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager")
SLEEPS = "exec /bin/sleep 60"


def script(folder: Path, name: str, does: str = SLEEPS) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def start(binaries: Binaries, processes: Processes) -> ControlPlane:
    authority = CertificateAuthority("test")
    return ControlPlane(
        processes, binaries, authority=authority, users={}, webhook_url="https://127.0.0.1:1/"
    )


def test_without_the_variable_the_error_says_what_to_install() -> None:
    with pytest.raises(ControlPlaneError, match=f"{ASSETS} is not set. Put kube-apiserver") as told:
        find_binaries({})
    assert all(name in str(told.value) for name in NAMES)


def test_programs_that_are_missing_are_named_with_the_folder(tmp_path: Path) -> None:
    script(tmp_path, "kube-apiserver")
    missing = f"etcd and kube-controller-manager not found in {tmp_path}"
    with pytest.raises(ControlPlaneError, match=missing):
        find_binaries({ASSETS: str(tmp_path), "PATH": ""})


def test_etcd_may_be_anywhere_on_the_path(tmp_path: Path) -> None:
    assets, elsewhere = tmp_path / "assets", tmp_path / "elsewhere"
    assets.mkdir()
    elsewhere.mkdir()
    for name in NAMES[1:]:
        script(assets, name)
    etcd = script(elsewhere, "etcd")
    assert find_binaries({ASSETS: str(assets), "PATH": str(elsewhere)}).etcd == etcd


def test_a_program_that_ends_at_its_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    refuses = "echo starting; echo Error: unknown flag: --colour; exit 1"
    binaries = Binaries(
        script(tmp_path, "etcd"), script(tmp_path, "kube-apiserver", refuses), "unused"
    )
    said = "kube-apiserver ended with exit code 1. It said last: Error: unknown flag: --colour"
    with Processes() as processes:
        with pytest.raises(ControlPlaneError, match=said):
            start(binaries, processes)
        until(processes.running, lambda left: not left)


@pytest.mark.parametrize(("version", "port"), [("v1.20.2", True), ("v1.33.0", False)])
def test_the_open_port_of_old_controllers_is_switched_off(
    tmp_path: Path, version: str, port: bool
) -> None:
    manager = script(tmp_path, "kube-controller-manager", f"echo Kubernetes {version}")
    minor = Binaries("", "", manager).minor_version()
    assert ("--port=0" in controller_manager_flags(minor)) == port


def test_only_the_api_server_may_have_tokens_reviewed() -> None:
    authority = CertificateAuthority("test")
    webhook = TokenWebhook("test", lambda _: None, authority)
    review = {"apiVersion": "authentication.k8s.io/v1", "spec": {"token": "k8s-aws-v1.x"}}
    try:
        with (
            urllib3.PoolManager(ssl_context=client_context(authority.pem)) as anyone,
            pytest.raises((urllib3.exceptions.HTTPError, ssl.SSLError)),
        ):
            anyone.request("POST", webhook.url, json=review, retries=False, timeout=5)
        ours = client_context(authority.pem, authority.issue("kube-apiserver"))
        with urllib3.PoolManager(ssl_context=ours) as api_server:
            answer = api_server.request("POST", webhook.url, json=review, timeout=5)
    finally:
        webhook.close()
    assert answer.json()["status"] == {"authenticated": False}


@pytest.mark.exhaustive
@pytest.mark.skipif(not os.environ.get(ASSETS), reason=NO_REAL_CLUSTER)
def test_closing_a_cluster_ends_all_its_processes_and_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Processes() as processes:
        with RealCluster(
            processes, name="test", credentials_lookup=lambda _: None, rbac=None, images=[IMAGE]
        ) as cluster:
            cluster.admin.create(PODS, "default", pod("app", web_container()))
            until(lambda: cluster.admin.get(PODS, "default", "app"), is_ready)
            assert {child.name for child in processes.running()} == {*NAMES, "container app"}
        until(processes.running, lambda left: not left)
    assert list(tmp_path.iterdir()) == []
