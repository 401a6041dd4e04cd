"""The External Secrets Operator on a cluster under test.

It syncs as `externalsecret_controller.go` does: when the object's metadata has changed since the
last sync (`shouldRefresh`), by writing the Secret first and then how it went (`markAsDone`), with
the moment at which the sync began, in whole seconds. The resource itself is installed as its
CustomResourceDefinition has it, but for the schema.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3

from local.cluster import Cluster, timestamps
from local.cluster.certificates import client_context
from local.cluster.client import MERGE
from local.cluster.errors import StatusError
from local.cluster.reflector import Reflector
from local.cluster.resources import RESOURCES, SECRETS, STATUS, Json, Resource
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.waiting import until

EXTERNAL_SECRETS = Resource(
    "externalsecrets", "ExternalSecret", group="external-secrets.io", subresources=STATUS
)
DEFINITIONS = Resource(
    "customresourcedefinitions",
    "CustomResourceDefinition",
    group="apiextensions.k8s.io",
    namespaced=False,
)
LOSES_CUSTOM_RESOURCES = (
    "this kube-apiserver ends at its first custom resource: it is older than Kubernetes 1.24 and"
    " built with Go 1.18 or later. Take Kubernetes 1.24 or later."
)


class SecretsOperator:
    """Syncs the ExternalSecrets of a namespace until `close`, while `may_sync` is set.

    `provides` is what the provider answers for every reference, and None for no answer.
    """

    def __init__(self, cluster: ClusterUnderTest, namespace: str, provides: str) -> None:
        self.provides: str | None = provides
        self.may_sync = threading.Event()
        self.may_sync.set()
        self._admin = cluster.admin
        self._namespace = namespace
        self._reflector = Reflector(cluster.admin, EXTERNAL_SECRETS, namespace, self._reconcile)

    def close(self) -> None:
        """Stop; a sync that is held back is let go."""
        self.may_sync.set()
        self._reflector.close()

    def _reconcile(self, kind: str, item: Json) -> None:
        if kind == "DELETED":
            return
        self.may_sync.wait()
        name = item["metadata"]["name"]
        found = self._admin.get(EXTERNAL_SECRETS, self._namespace, name)
        if not _should_refresh(found):
            return
        began = timestamps.to_seconds(timestamps.now())
        if self.provides is None:
            self._tell(name, {"conditions": [_ready("False", "SecretSyncedError")]})
            return
        self._write_secret(found, self.provides)
        self._tell(
            name,
            {
                "conditions": [_ready("True", "SecretSynced")],
                "refreshTime": began,
                "syncedResourceVersion": resource_version(found),
            },
        )

    def _write_secret(self, owner: Json, value: str) -> None:
        name = owner["spec"]["target"]["name"]
        data = {
            one["secretKey"]: base64.b64encode(value.encode()).decode()
            for one in owner["spec"]["data"]
        }
        labels = {"reconcile.external-secrets.io/managed": "true"}
        body = {"metadata": {"name": name, "labels": labels}, "data": data}
        try:
            self._admin.create(SECRETS, self._namespace, body)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            self._admin.patch(SECRETS, self._namespace, name, body, content_type=MERGE)

    def _tell(self, name: str, status: Json) -> None:
        self._admin.patch(
            EXTERNAL_SECRETS,
            self._namespace,
            name,
            {"status": status},
            content_type=MERGE,
            subresource="status",
        )


@contextmanager
def external_secrets_installed(
    cluster: ClusterUnderTest, resource: Resource = EXTERNAL_SECRETS
) -> Iterator[None]:
    """Have the cluster serve ExternalSecrets, or another resource, in one version for a while."""
    if isinstance(cluster.running, Cluster):
        key = (resource.group, resource.version, resource.plural)
        with pytest.MonkeyPatch.context() as patches:
            patches.setitem(RESOURCES, key, resource)
            yield
        return
    if loses_custom_resources(version_of(cluster)):
        pytest.skip(LOSES_CUSTOM_RESOURCES)
    cluster.admin.create(DEFINITIONS, "", _definition(resource))
    until(lambda: _served(cluster, resource), lambda served: served)
    yield
    cluster.admin.delete(DEFINITIONS, "", resource.qualified_plural)
    until(lambda: _served(cluster, resource), lambda served: not served)


def version_of(cluster: ClusterUnderTest) -> Json:
    """What a real API server says of itself at `/version`."""
    with urllib3.PoolManager(ssl_context=client_context(cluster.ca_pem)) as pool:
        found: Json = pool.request("GET", f"{cluster.url}/version", timeout=5).json()
    return found


def loses_custom_resources(version: Json) -> bool:
    """Whether an API server of that `/version` ends at its first custom resource.

    Before Kubernetes 1.24 its JSON library (reflect2 before 1.0.2) iterates maps by an inner
    function of Go that Go 1.18 changed.
    """
    kubernetes = re.match(r"v1\.(\d+)\.", version["gitVersion"])
    go = re.match(r"go1\.(\d+)", version["goVersion"])
    return bool(kubernetes and go and int(kubernetes[1]) < 24 and int(go[1]) >= 18)


def resource_version(found: Json) -> str:
    """What the operator calls a state of an object: '<generation>-<hash of its metadata>'."""
    metadata = found["metadata"]
    hashed = {part: metadata.get(part) or {} for part in ("annotations", "labels")}
    digest = hashlib.sha3_224(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    return f"{metadata['generation']}-{digest}"


def _should_refresh(found: Json) -> bool:
    synced = (found.get("status") or {}).get("syncedResourceVersion")
    if synced and found["spec"].get("refreshPolicy") == "CreatedOnce":
        return False
    return bool(synced != resource_version(found))


def _ready(status: str, reason: str) -> Json:
    now = timestamps.to_seconds(timestamps.now())
    return {"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": now}


def _definition(resource: Resource) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    kind = resource.kind
    names = {"plural": resource.plural, "singular": kind.lower(), "kind": kind}
    spec = {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": resource.qualified_plural}, "spec": spec}


def _served(cluster: ClusterUnderTest, resource: Resource) -> bool:
    try:
        cluster.admin.list(resource)
    except StatusError as error:
        if error.code != 404:
            raise
        return False
    return True
