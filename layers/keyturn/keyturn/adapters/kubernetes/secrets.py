"""The delivery's two objects in the cluster: the Kubernetes Secret, and the ExternalSecret."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keyturn import errors
from keyturn.adapters.kubernetes import objects
from keyturn.adapters.kubernetes.api import MERGE, KubernetesApi
from keyturn.delivery.external_secrets import ExternalSecret
from keyturn.delivery.kubernetes_secret import SecretContent

if TYPE_CHECKING:
    from keyturn.settings.loading import DeliverySettings

FORCE_SYNC = "force-sync"

# The versions that the operator serves: v1 since its 0.16, v1beta1 until then. All fields used are
# in both.
GROUP, VERSIONS = "external-secrets.io", ("v1", "v1beta1")

# Versions of a remoteRef that follow the promotion: none, and the label itself (the operator's AWS
# provider treats it as the default).
FOLLOWS_THE_KEY = {None, "", "AWSCURRENT"}


class KubernetesSecret:
    """One field of one Kubernetes Secret, the delivery target."""

    def __init__(self, api: KubernetesApi, settings: "DeliverySettings") -> None:
        self._api = api
        self._field = settings.kubernetes_secret_key
        self._path = f"/api/v1/namespaces/{api.namespace}/secrets/{settings.kubernetes_secret}"
        self.name = f"Kubernetes Secret {api.namespace}/{settings.kubernetes_secret}"

    def read(self) -> SecretContent:
        """Read the Secret's field, and the facts that decide whether Keyturn may write it."""
        item = self._api.get(self._path)
        return SecretContent(
            value=_decoded((item.get("data") or {}).get(self._field)),
            resource_version=item["metadata"]["resourceVersion"],
            immutable=bool(item.get("immutable")),
            owner=objects.owner(item),
        )

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        """Write the field if the Secret is unchanged since `resource_version`."""
        body = {
            "metadata": {"resourceVersion": resource_version},
            "data": {self._field: base64.b64encode(value.encode()).decode()},
        }
        self._api.patch(self._path, body, MERGE, dry_run=dry_run)


class KubernetesExternalSecret:
    """The ExternalSecret that fills the Kubernetes Secret."""

    def __init__(self, api: KubernetesApi, settings: "DeliverySettings") -> None:
        self._api = api
        self._field = settings.kubernetes_secret_key
        self._place = f"namespaces/{api.namespace}/externalsecrets/{settings.external_secret}"
        self._version = VERSIONS[0]
        self.name = f"ExternalSecret {api.namespace}/{settings.external_secret}"

    def read(self) -> ExternalSecret:
        """Read its specification and the result of its last sync."""
        return external_secret(self._ask(self._api.get), self._field)

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        """Annotate it: a changed annotation makes the operator sync at once."""
        body = {"metadata": {"annotations": {FORCE_SYNC: token}}}
        self._ask(lambda path: self._api.patch(path, body, MERGE, dry_run=dry_run))

    def _ask(self, call: Callable[[str], Any]) -> Any:
        """Call with its path in a version that the cluster serves, the first one found.

        Raises ResourceNotServed if it serves none of them.
        """
        for version in sorted(VERSIONS, key=lambda candidate: candidate != self._version):
            try:
                answer = call(f"/apis/{GROUP}/{version}/{self._place}")
            except errors.ResourceNotServed:
                continue
            self._version = version
            return answer
        raise errors.ResourceNotServed(
            f"{self.name}: the cluster does not serve ExternalSecrets of {GROUP}, neither as"
            f" {' nor as '.join(VERSIONS)}. Nothing was changed. Install the External Secrets"
            " Operator, or choose another DeliveryMode."
        )


def external_secret(item: objects.Object, field: str) -> ExternalSecret:
    """An ExternalSecret (external-secrets.io), with the operator's own defaults. Pure.

    `field` is the key of the Kubernetes Secret that it must fill.
    """
    spec, status = item["spec"], item.get("status") or {}
    target = spec.get("target") or {}
    refreshed = status.get("refreshTime")
    return ExternalSecret(
        name=item["metadata"]["name"],
        writes=target.get("name") or item["metadata"]["name"],
        refresh_policy=spec.get("refreshPolicy") or "Periodic",
        refresh_interval=spec.get("refreshInterval") or "1h",
        immutable=bool(target.get("immutable")),
        pinned=any(
            source.get("version") not in FOLLOWS_THE_KEY for source in _sources(spec, field)
        ),
        ready=objects.condition(status, "Ready").get("status") == "True",
        refreshed_at=datetime.fromisoformat(refreshed) if refreshed else None,
    )


def _sources(spec: objects.Object, field: str) -> list[Any]:
    """The references to the provider that may fill a field.

    As the operator merges them (`GetProviderSecretData`, `ApplyTemplate`): the last of `data` that
    names the field overrides all of `dataFrom`, of which any may hold it. A template may use the
    field of any of them.
    """
    data, extracts = spec.get("data") or [], spec.get("dataFrom") or []
    template = (spec.get("target") or {}).get("template") or {}
    if not (template.get("data") or template.get("templateFrom")):
        data = [entry for entry in data if entry.get("secretKey") == field][-1:]
        extracts = [] if data else extracts
    references = [entry.get("remoteRef") for entry in data] + [
        entry.get("extract") for entry in extracts
    ]
    return [reference or {} for reference in references]


def _decoded(data: str | None) -> str | None:
    try:
        return None if data is None else base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
