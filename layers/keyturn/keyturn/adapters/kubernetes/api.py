"""The Kubernetes API, through the official client's generic part.

The typed API classes cost five times the start-up of the generic client (docs/decisions/0005), and
a rotation needs only five paths. Nothing is retried here; the state machine does that.
"""

import json
import ssl
from typing import TYPE_CHECKING, Any

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException

from keyturn import errors
from keyturn.adapters import certificate_authorities, deadline
from keyturn.adapters.aws.eks import EksTokens
from keyturn.adapters.bounded_pools import bound

if TYPE_CHECKING:
    from keyturn.adapters.certificate_authorities import Authority
    from keyturn.settings.loading import ClusterSettings

SECONDS = 15.0
TIMEOUTS = (3.0, 10.0)  # to connect, and until the next byte
ANSWER_BYTES = 32 * 1024 * 1024  # a page of pods, of which each has about 10 KiB
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
DRY_RUN = [("dryRun", "All")]
JSON = "application/json"
# The writer of a field in `metadata.managedFields`; the default is the client library's user agent.
FIELD_MANAGER = ("fieldManager", "keyturn")
# Kubernetes API concepts, "Metadata-only fetches": without the object's spec, status or data.
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

Query = list[tuple[str, str]]


class KubernetesApi:
    """Requests to one namespace of one cluster."""

    def __init__(self, settings: "ClusterSettings", authority: "Authority") -> None:
        self._endpoint = settings.cluster_endpoint.rstrip("/")
        self._authority, self._trusted = authority, ""
        self._tokens = EksTokens(settings.cluster_name)
        self._where = f"cluster {settings.cluster_name}, namespace {settings.namespace}"
        self.namespace = settings.namespace

    def get(self, path: str, query: Query | None = None) -> Any:
        """GET a path as JSON. Raises as `request` does."""
        return self._parsed(self.request("GET", path, query or []))

    def metadata(self, path: str) -> Any:
        """GET an object's metadata alone: nothing of a Secret's data is sent."""
        return self._parsed(self.request("GET", path, [], accept=METADATA))

    def patch(self, path: str, body: dict[str, Any], kind: str, *, dry_run: bool) -> Any:
        """PATCH a path; with `dry_run` the server validates and stores nothing."""
        query = DRY_RUN if dry_run else []
        return self._parsed(self.request("PATCH", path, query, body, kind))

    def request(
        self,
        method: str,
        path: str,
        query: Query,
        body: dict[str, Any] | None = None,
        kind: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        """One request. Raises the error of the response's status, see `_refusal`."""
        client = self._connected()
        parameters = query if method == "GET" else [FIELD_MANAGER, *query]

        def ask() -> tuple[int, bytes]:
            headers = {
                "Accept": accept,
                "Authorization": f"Bearer {self._tokens.mint()}",
                "Content-Type": kind,
            }
            prepared = client.param_serialize(
                method, path, query_params=parameters, header_params=headers, body=body
            )
            response = client.call_api(*prepared, _request_timeout=TIMEOUTS)
            return response.status, response.read()

        try:
            status, content = deadline.within(SECONDS, ANSWER_BYTES, ask)
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as silent:
            if _is_untrusted(silent):
                raise errors.ClusterNotTrusted(
                    f"The certificate of the API server of {self._where} is not signed by the"
                    " configured authority for that address. Nothing was sent. Check"
                    " ClusterEndpoint and ClusterCertificateAuthority."
                ) from silent
            raise self._unavailable("does not answer") from silent
        if status >= 400:
            raise self._refusal(status, content, method, path)
        return content

    def _connected(self) -> ApiClient:
        """The client, which trusts the cluster's authority as it is now, and nothing else."""
        pem = self._authority()
        if not pem:
            raise certificate_authorities.invalid("ClusterCertificateAuthority")
        if pem != self._trusted:
            self._client = ApiClient(Configuration(host=self._endpoint, retries=0))
            pool = self._client.rest_client.pool_manager
            pool.connection_pool_kw["ssl_context"] = certificate_authorities.context(pem, "cluster")
            bound(pool)
            self._trusted = pem
        return self._client

    def _parsed(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as malformed:
            raise self._unavailable("returned a response that is not JSON") from malformed

    def _unavailable(self, what: str) -> errors.ClusterUnavailable:
        return errors.ClusterUnavailable(
            f"The API server of {self._where} {what}. It is safe to try again."
        )

    def _refusal(self, status: int, content: bytes, method: str, path: str) -> errors.KeyturnError:
        """Keyturn's error for a status, without the server's text, which may quote the object."""
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
            return self._missing(content, what, path)
        if status == 409:
            return errors.DeliveryConflict(
                f"{what}: the object was changed by another writer. Retrying."
            )
        if status in {410, 429} or status >= 500:  # 410: a list's page was requested too late
            return errors.ClusterUnavailable(f"{what} answers {status}. It is safe to try again.")
        return errors.ClusterRefused(f"The cluster refuses {what} ({status}). Nothing was changed.")

    def _missing(self, content: bytes, what: str, path: str) -> errors.KeyturnError:
        if _names_object(content):
            return errors.ServiceNotFound(
                f"{what}: the object does not exist. Nothing was changed."
            )
        served, _, place = path.partition("/namespaces/")
        return errors.ResourceNotServed(
            f"{self._where} does not serve {place.split('/')[1]} at {served} (404). Nothing was"
            " changed. Install the operator that provides them, in a version that serves this API."
        )


def _permission(method: str, path: str) -> str:
    """Return RBAC's name of a request: '`get pods/log` (web-1)' or '`list pods`'."""
    plural, name, subresource = [*path.rsplit("/namespaces/", 1)[-1].split("/")[1:], "", ""][:3]
    verb = "list" if method == "GET" and not name else method.lower()
    resource = f"{plural}/{subresource}" if subresource else plural
    return f"`{verb} {resource}`" + (f" ({name})" if name else "")


def _names_object(content: bytes) -> bool:
    """Whether a 404 is about an object: then it names it.

    A 404 about the API itself is a Status without a name, or, for an unknown group, plain text.
    """
    try:
        return bool(json.loads(content)["details"]["name"])
    except (ValueError, KeyError, TypeError):
        return False


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether a failed request failed on the server's certificate, however deep it is wrapped."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, Exception) else error.__cause__ or error.__context__
    return error is not None
