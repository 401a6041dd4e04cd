"""The VaultStaticSecret of HashiCorp's Vault Secrets Operator (secrets.hashicorp.com/v1beta1)."""

from typing import TYPE_CHECKING

from keyturn.adapters.kubernetes import objects
from keyturn.adapters.kubernetes.api import MERGE, KubernetesApi
from keyturn.delivery.vault_operator import StaticSecret

if TYPE_CHECKING:
    from keyturn.settings.loading import DeliverySettings

FORCE_SYNC = "keyturn/force-sync"


class KubernetesStaticSecret:
    """The VaultStaticSecret that fills the Kubernetes Secret."""

    def __init__(self, api: KubernetesApi, settings: "DeliverySettings") -> None:
        self._api = api
        self._path = (
            f"/apis/secrets.hashicorp.com/v1beta1/namespaces/{api.namespace}"
            f"/vaultstaticsecrets/{settings.vault_static_secret}"
        )
        self.name = f"VaultStaticSecret {api.namespace}/{settings.vault_static_secret}"

    def read(self) -> StaticSecret:
        """Read its specification."""
        return static_secret(self._api.get(self._path))

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        """Annotate it: a changed annotation makes the operator reconcile."""
        body = {"metadata": {"annotations": {FORCE_SYNC: token}}}
        self._api.patch(self._path, body, MERGE, dry_run=dry_run)


def static_secret(item: objects.Object) -> StaticSecret:
    """A VaultStaticSecret, with the operator's own defaults. Pure.

    The operator ignores its restart targets where `hmacSecretData` is false. It calls a Rollout
    `argo.Rollout`.
    """
    spec = item["spec"]
    targets = spec.get("rolloutRestartTargets") or [] if spec.get("hmacSecretData", True) else []
    return StaticSecret(
        writes=spec["destination"]["name"],
        engine=spec["type"],
        mount=spec["mount"],
        path=spec["path"],
        namespace=spec.get("namespace") or "",
        pinned=bool(spec.get("version")),
        restarts=tuple(_argument(target) for target in targets),
    )


def _argument(target: objects.Object) -> str:
    """A restart target as kubectl names it: 'deployment/web-console'."""
    return f"{target['kind'].removeprefix('argo.').lower()}/{target['name']}"
