"""The clusters that the contract tests are run against, and what the tests do with one.

A case here must hold on any cluster, Kubernetes' own control plane included: it speaks to the API
server alone.
"""

import base64
import secrets
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import botocore.session
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from local.cluster import AccessEntry, Cluster, RealCluster, RunningCluster
from local.cluster.client import ClusterClient
from local.cluster.control_plane_binaries import ASSETS, REMEDY
from local.cluster.ingress import Ingress
from local.cluster.resources import DEPLOYMENTS, NAMESPACES, PODS, Json
from local.processes import Processes

T = TypeVar("T")

NO_REAL_CLUSTER = f"no real control plane: {ASSETS} is not set. {REMEDY}"
DEADLINE_SECONDS = 20.0
IMAGE = "keyturn/test:1"
NAME = "contract"
KEY_ID = "AKIDEXAMPLE"
GROUP = "contract-rotator"
ROTATOR = "arn:aws:sts::123456789012:assumed-role/rotator/session"

RBAC = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {GROUP}}}
rules:
- {{apiGroups: [apps], resources: [deployments], resourceNames: [web], verbs: [get, patch]}}
- {{apiGroups: [""], resources: [pods], verbs: [get, list]}}
- {{apiGroups: [""], resources: [pods/log], verbs: [get]}}
- {{apiGroups: [""], resources: [secrets], resourceNames: [session-key], verbs: [get, patch]}}
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  resourceNames: [web-session]
  verbs: [get, patch]
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  resourceNames: [seen-only]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {GROUP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {GROUP}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: {GROUP}}}]
"""

WEB_SERVER = textwrap.dedent(
    """
    import http.server, os, signal, threading

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            body = (os.environ["HOSTNAME"] + " " + os.environ.get("COLOUR", "")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = False
    end = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "STUBBORN" in os.environ else end)
    print("listening")
    server.serve_forever()
    server.server_close()
    """
)


@dataclass
class ClusterUnderTest:
    """A running cluster, its administrator, and the rotator that RBAC binds.

    `entries` are its access entries by access key: a test may add some.
    """

    running: RunningCluster
    entries: dict[str, AccessEntry]
    rotator: ClusterClient

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def ca_pem(self) -> str:
        return self.running.ca_pem

    @property
    def admin(self) -> ClusterClient:
        return self.running.admin

    @contextmanager
    def client(self, token: str) -> Iterator[ClusterClient]:
        """A client with any token."""
        client = ClusterClient(self.url, self.ca_pem, token)
        try:
            yield client
        finally:
            client.close()

    def new_namespace(self) -> str:
        """A namespace of a test's own."""
        made = self.admin.create(NAMESPACES, "", {"metadata": {"generateName": "test-"}})
        return str(made["metadata"]["name"])


@contextmanager
def start_cluster(kind: type[Cluster] | type[RealCluster]) -> Iterator[ClusterUnderTest]:
    entry = AccessEntry(secrets.token_urlsafe(30), ROTATOR, (GROUP,))
    entries = {KEY_ID: entry}
    with TemporaryDirectory() as folder, Processes() as processes:
        rbac = Path(folder, "rbac.yaml")
        rbac.write_text(RBAC)
        with kind(
            processes, name=NAME, credentials_lookup=entries.get, rbac=rbac, images=[IMAGE]
        ) as cluster:
            rotator = ClusterClient(
                cluster.url, cluster.ca_pem, eks_token(KEY_ID, entry.secret_key)
            )
            yield ClusterUnderTest(cluster, entries, rotator)
            rotator.close()


def eks_token(key_id: str, secret_key: str, cluster: str = NAME) -> str:
    """A token as `aws eks get-token` makes it, by botocore's own signer."""
    events = botocore.session.get_session().get_component("event_emitter")
    signer = RequestSigner(
        ServiceId("STS"), "eu-west-1", "sts", "v4", Credentials(key_id, secret_key), events
    )
    request = {
        "method": "GET",
        "url": "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster},
        "context": {},
    }
    url = signer.generate_presigned_url(
        request, region_name="eu-west-1", expires_in=60, operation_name=""
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def until(facts: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """Read facts until they hold; fail with the last ones."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds(found := facts()):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def container(code: str = WEB_SERVER, **more: object) -> Json:
    """A container that runs a Python program."""
    command = ["python", "-c", code]
    return {"name": "app", "image": IMAGE, "command": command, **more}


def web_container(**more: object) -> Json:
    """A container that serves HTTP and is probed for readiness."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return {**container(readinessProbe=probe), **more}


def pod(name: str, *containers: Json, grace_seconds: int = 5) -> Json:
    spec = {"containers": list(containers), "terminationGracePeriodSeconds": grace_seconds}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def deployment(name: str, *containers: Json, replicas: int = 2, **spec: object) -> Json:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 5},
    }
    selector = {"matchLabels": {"app": name}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def restart(stamp: str) -> Json:
    """The patch that restarts a deployment's pods."""
    annotations = {"kubectl.kubernetes.io/restartedAt": stamp}
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


def rolled_out(item: Json) -> bool:
    """Kubectl's rules, in kubectl's order (rollout_status.go)."""
    status, wanted = item["status"], item["spec"]["replicas"]
    updated = status.get("updatedReplicas", 0)
    rules = (
        status.get("observedGeneration", 0) >= item["metadata"]["generation"],
        updated >= wanted,
        status.get("replicas", 0) <= updated,
        status.get("availableReplicas", 0) >= updated,
    )
    return all(rules)


def wait_for_rollout(cluster: ClusterUnderTest, namespace: str, name: str) -> Json:
    return until(lambda: cluster.admin.get(DEPLOYMENTS, namespace, name), rolled_out)


def wait_for_pod(
    cluster: ClusterUnderTest, namespace: str, name: str, holds: Callable[[Json], bool]
) -> Json:
    return until(lambda: cluster.admin.get(PODS, namespace, name), holds)


def condition(item: Json, kind: str) -> Json:
    conditions = item["status"].get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {"status": "", "reason": ""})


def is_ready(item: Json) -> bool:
    status: str = condition(item, "Ready")["status"]
    return status == "True"


def waiting_reason(item: Json) -> str:
    statuses = item["status"].get("containerStatuses") or [{"state": {}}]
    return str(statuses[0]["state"].get("waiting", {}).get("reason", ""))


@contextmanager
def open_ingress(cluster: ClusterUnderTest, namespace: str) -> Iterator[Ingress]:
    ingress = Ingress(cluster.admin, namespace)
    try:
        yield ingress
    finally:
        ingress.close()
