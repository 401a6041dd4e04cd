"""The Vault Secrets Operator on a cluster under test, before a real Vault.

It syncs as `vaultstaticsecret_controller.go` does: it reconciles whenever the object changes, its
annotations included, reads Vault then, and writes the Secret where that brings something else.
"""

import base64
import threading

import hvac

from local.cluster.client import MERGE
from local.cluster.errors import StatusError
from local.cluster.reflector import Reflector
from local.cluster.resources import SECRETS, STATUS, Json, Resource
from tests.contract.cluster_under_test import ClusterUnderTest

STATIC_SECRETS = Resource(
    "vaultstaticsecrets",
    "VaultStaticSecret",
    group="secrets.hashicorp.com",
    version="v1beta1",
    subresources=STATUS,
)


class VaultOperator:
    """Syncs the VaultStaticSecrets of a namespace until `close`, while `may_sync` is set."""

    def __init__(self, cluster: ClusterUnderTest, namespace: str, vault: hvac.Client) -> None:
        self.may_sync = threading.Event()
        self.may_sync.set()
        self._admin, self._namespace, self._vault = cluster.admin, namespace, vault
        self._reflector = Reflector(cluster.admin, STATIC_SECRETS, namespace, self._reconcile)

    def close(self) -> None:
        """Stop; a sync that is held back is let go."""
        self.may_sync.set()
        self._reflector.close()

    def _reconcile(self, kind: str, item: Json) -> None:
        if kind == "DELETED":
            return
        self.may_sync.wait()
        spec = item["spec"]
        read = self._vault.secrets.kv.v2.read_secret_version(
            spec["path"], mount_point=spec["mount"], raise_on_deleted_version=True
        )
        data = {
            name: base64.b64encode(str(value).encode()).decode()
            for name, value in read["data"]["data"].items()
        }
        name = spec["destination"]["name"]
        labels = {"app.kubernetes.io/managed-by": "hashicorp-vso"}
        body = {"metadata": {"name": name, "labels": labels}, "data": data}
        try:
            found = self._admin.get(SECRETS, self._namespace, name)
        except StatusError as error:
            if error.code != 404:
                raise
            self._admin.create(SECRETS, self._namespace, body)
            return
        if found.get("data") != data:
            self._admin.patch(SECRETS, self._namespace, name, body, content_type=MERGE)
