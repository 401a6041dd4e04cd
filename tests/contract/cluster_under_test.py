"""The clusters that the contract tests are run against.

A case must hold on any cluster, Kubernetes' own control plane included: it speaks to the API server
alone.
"""

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import botocore.session
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from local.cluster import AccessEntry, Cluster, RealCluster, RunningCluster
from local.cluster.client import ClusterClient
from local.cluster.control_plane_binaries import ASSETS, REMEDY
from local.cluster.ingress import Ingress
from local.cluster.resources import NAMESPACES
from local.processes import Processes
from tests.contract.manifests import IMAGE

NO_REAL_CLUSTER = f"no real control plane: {ASSETS} is not set. {REMEDY}"
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
- apiGroups: [secrets.hashicorp.com]
  resources: [vaultstaticsecrets]
  resourceNames: [web-session]
  verbs: [get, patch]
- apiGroups: [secrets.hashicorp.com]
  resources: [vaultstaticsecrets]
  resourceNames: [seen-only]
  verbs: [get]
- {{apiGroups: [argoproj.io], resources: [rollouts], resourceNames: [web], verbs: [get, patch]}}
- {{apiGroups: [argoproj.io], resources: [rollouts], resourceNames: [seen-only], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {GROUP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {GROUP}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: {GROUP}}}]
"""


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


@contextmanager
def open_ingress(cluster: ClusterUnderTest, namespace: str) -> Iterator[Ingress]:
    ingress = Ingress(cluster.admin, namespace)
    try:
        yield ingress
    finally:
        ingress.close()
