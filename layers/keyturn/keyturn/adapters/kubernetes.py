"""The Kubernetes API, through the official client's generic part.

The typed API classes cost five times the start-up of the generic client (docs/decisions/0005), and
five paths are all that a rotation needs. Nothing is retried here; the state machine does that.
"""

import base64
import binascii
import json
import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException

from keyturn import errors
from keyturn.adapters import kubernetes_facts as facts
from keyturn.adapters.eks import EksTokens
from keyturn.delivery import Delivered
from keyturn.rollout import Deployment, Pod
from keyturn.validation import ContainerLog

if TYPE_CHECKING:
    from keyturn.settings import ClusterSettings, DeliverySettings

TIMEOUTS = (3.0, 10.0)
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
LOG_BYTES = 1024 * 1024
DRY_RUN = [("dryRun", "All")]

Query = list[tuple[str, str]]


class KubernetesApi:
    """Requests to one namespace of one cluster."""

    def __init__(self, settings: "ClusterSettings") -> None:
        configuration = Configuration(host=settings.cluster_endpoint.rstrip("/"), retries=0)
        self._client = ApiClient(configuration)
        pool = self._client.rest_client.pool_manager
        pool.connection_pool_kw["ssl_context"] = _trust(settings.cluster_certificate_authority)
        self._tokens = EksTokens(settings.cluster_name)
        self._where = f"cluster {settings.cluster_name}, namespace {settings.namespace}"
        self.namespace = settings.namespace

    def get(self, path: str, query: Query | None = None) -> Any:
        """GET a path as JSON. Raises as `request` does."""
        return json.loads(self.request("GET", path, query or []))

    def patch(self, path: str, body: dict[str, Any], kind: str, *, dry_run: bool) -> Any:
        """PATCH a path; with `dry_run` the server checks and keeps nothing."""
        query = DRY_RUN if dry_run else []
        return json.loads(self.request("PATCH", path, query, body, kind))

    def request(
        self,
        method: str,
        path: str,
        query: Query,
        body: dict[str, Any] | None = None,
        kind: str = "application/json",
    ) -> bytes:
        """One request. Raises the error that the answer's status stands for, see `_refusal`."""
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._tokens.mint()}",
            "Content-Type": kind,
        }
        prepared = self._client.param_serialize(
            method, path, query_params=query, header_params=headers, body=body
        )
        try:
            response = self._client.call_api(*prepared, _request_timeout=TIMEOUTS)
            content: bytes = response.read()
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as silent:
            raise errors.ClusterUnavailable(
                f"The API server of {self._where} does not answer. It is safe to try again."
            ) from silent
        if response.status >= 400:
            raise self._refusal(response.status, method, path)
        return content

    def _refusal(self, status: int, method: str, path: str) -> errors.KeyturnError:
        """Our error for a status; the server's text stays out, it may quote the object."""
        what = f"{method} {path.rsplit('/namespaces/', 1)[-1]} in {self._where}"
        if status == 401:
            return errors.AccessDenied(
                f"The token of the function's role is not accepted by {self._where} (401). Nothing"
                " was changed by this call. Give the role an EKS access entry."
            )
        if status == 403:
            return errors.AccessDenied(
                f"The function's role may not {_permission(method, path)} in {self._where} (403)."
                " Nothing was changed by this call. Apply kubernetes/rbac.yaml with your names, and"
                " check the group in the role's EKS access entry."
            )
        if status == 404:
            return errors.ServiceNotFound(f"{what}: there is no such object. Nothing was changed.")
        if status == 409:
            return errors.DeliveryConflict(f"{what}: someone else wrote it first. Trying again.")
        if status == 429 or status >= 500:
            return errors.ClusterUnavailable(f"{what} answers {status}. It is safe to try again.")
        return errors.ClusterRefused(f"The cluster refuses {what} ({status}). Nothing was changed.")


class KubernetesCluster:
    """Deployments, their pods and their logs."""

    def __init__(self, api: KubernetesApi, delivery: "DeliverySettings | None" = None) -> None:
        self._api = api
        self._delivery = delivery
        self._apps = f"/apis/apps/v1/namespaces/{api.namespace}/deployments"
        self._core = f"/api/v1/namespaces/{api.namespace}"

    def deployment(self, name: str) -> Deployment:
        """Read a Deployment. Raises ServiceNotFound."""
        return self._facts(self._api.get(f"{self._apps}/{name}"))

    def pods(self, name: str) -> list[Pod]:
        """Read the pods that a Deployment's selector matches and that may hold a key."""
        return [facts.pod(found) for found in self._pods(name) if not facts.ended(found)]

    def restart(self, name: str, annotations: dict[str, str], *, dry_run: bool) -> Deployment:
        """Patch the annotations of the pod template."""
        body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        path = f"{self._apps}/{name}"
        return self._facts(self._api.patch(path, body, STRATEGIC, dry_run=dry_run))

    def of_version(self, service: str, version: str, since: datetime) -> Iterator[ContainerLog]:
        """Every container of every pod of a key version, its last crash's log included."""
        for found in self._pods(service):
            if facts.pod(found).key_version != version:
                continue
            for container, restarted in facts.containers(found):
                for previous in [False, True] if restarted else [False]:
                    lines = self._log(
                        found["metadata"]["name"], container, since, previous=previous
                    )
                    yield ContainerLog(found["metadata"]["name"], container, lines)

    def _pods(self, name: str) -> list[dict[str, Any]]:
        deployment = self._api.get(f"{self._apps}/{name}")
        selector = facts.selector_text(deployment["spec"]["selector"])
        listed = self._api.get(f"{self._core}/pods", [("labelSelector", selector)])
        items: list[dict[str, Any]] = listed["items"]
        return items

    def _log(self, pod: str, container: str, since: datetime, *, previous: bool) -> Iterable[str]:
        query = [
            ("container", container),
            ("limitBytes", str(LOG_BYTES)),
            ("sinceTime", since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            *([("previous", "true")] if previous else []),
        ]
        content = self._api.request("GET", f"{self._core}/pods/{pod}/log", query)
        return content.decode("utf-8", "replace").splitlines()

    def _facts(self, found: dict[str, Any]) -> Deployment:
        return facts.deployment(found, self._delivery)


class KubernetesSecret:
    """One field of one Kubernetes Secret, the delivery target."""

    def __init__(self, api: KubernetesApi, settings: "DeliverySettings") -> None:
        self._api = api
        self._field = settings.kubernetes_secret_key
        self._path = f"/api/v1/namespaces/{api.namespace}/secrets/{settings.kubernetes_secret}"
        self.name = f"Kubernetes Secret {api.namespace}/{settings.kubernetes_secret}"

    def read(self) -> Delivered:
        """Read the Secret's field, and what decides whether we may write it."""
        found = self._api.get(self._path)
        return Delivered(
            value=_decoded(found.get("data", {}).get(self._field)),
            resource_version=found["metadata"]["resourceVersion"],
            immutable=bool(found.get("immutable")),
            owner=facts.owner(found),
        )

    def write(self, value: str, resource_version: str, *, dry_run: bool) -> None:
        """Write the field if the Secret is unchanged since `resource_version`."""
        body = {
            "metadata": {"resourceVersion": resource_version},
            "data": {self._field: base64.b64encode(value.encode()).decode()},
        }
        self._api.patch(self._path, body, MERGE, dry_run=dry_run)


def _permission(method: str, path: str) -> str:
    """Return what RBAC calls a request: '`get pods/log` (web-1)' or '`list pods`'."""
    plural, name, subresource = [*path.rsplit("/namespaces/", 1)[-1].split("/")[1:], "", ""][:3]
    verb = "list" if method == "GET" and not name else method.lower()
    resource = f"{plural}/{subresource}" if subresource else plural
    return f"`{verb} {resource}`" + (f" ({name})" if name else "")


def _decoded(data: str | None) -> str | None:
    try:
        return None if data is None else base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _trust(certificate_authority: str) -> ssl.SSLContext:
    """Trust the cluster's own authority, and nothing else.

    EKS's authority has no Authority Key Identifier, which Python 3.13's VERIFY_X509_STRICT refuses;
    that one flag is cleared. The certificate and the host name are still checked.
    """
    try:
        pem = base64.b64decode(certificate_authority, validate=True).decode()
        context = ssl.create_default_context(cadata=pem)
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as malformed:
        raise errors.SettingsInvalid(
            "CLUSTER_CERTIFICATE_AUTHORITY is not base64 of a PEM certificate, as"
            " `aws eks describe-cluster` shows it. Nothing was done."
        ) from malformed
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
