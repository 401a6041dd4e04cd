"""The Kubernetes API over HTTPS: who is it, may they, do it.

The order is the real server's: authentication, audit, authorisation, then the resource. What goes
wrong on the way is a `Status` object.
"""

import json
import logging
from collections.abc import Iterable

import urllib3

from local.cluster import verbs
from local.cluster.access import Authenticator
from local.cluster.audit import AuditEntry
from local.cluster.certificates import CertificateAuthority, client_context, server_context
from local.cluster.errors import StatusError, forbidden, unknown_path
from local.cluster.faults import DropConnectionError, Faults
from local.cluster.https import HttpsHandler, HttpsServer
from local.cluster.objects import ObjectStore
from local.cluster.pod_logs import read_log
from local.cluster.rbac import Grant, User, permits
from local.cluster.requests import Request, parse
from local.cluster.watches import watch

log = logging.getLogger(__name__)

VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0-keyturn"}
_OWN_GROUPS = frozenset({"", "apps"})
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


class ApiServer:
    """Serves a store at `url`; `audit` lists (user, verb, resource, name) of every request."""

    def __init__(
        self,
        store: ObjectStore,
        authenticator: Authenticator,
        grants: Iterable[Grant],
        authority: CertificateAuthority,
    ) -> None:
        self.store = store
        self.faults = Faults()
        self.audit: list[AuditEntry] = []
        self._authenticator = authenticator
        self._grants = list(grants)
        self.kubelets = urllib3.PoolManager(
            ssl_context=client_context(authority.pem, authority.issue("kube-apiserver-client"))
        )
        handler = type("Handler", (_Handler,), {"api": self})
        context = server_context(authority.issue("kube-apiserver"))
        self._server = HttpsServer(handler, context, "kube-apiserver")

    @property
    def url(self) -> str:
        """Where it serves: https, loopback."""
        return f"https://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """End watches and connections."""
        self.store.close()
        self._server.close()
        self.kubelets.clear()

    def admit(self, authorization: str, request: Request) -> User:
        """Return the user of a request that is permitted. Raises `StatusError` 401 or 403."""
        user = self._authenticator.user(authorization)
        self.audit.append((user.name, request.verb, request.qualified_resource, request.name))
        self.faults.before(request)
        asked = request.attributes
        if not permits(self._grants, user, asked):
            raise forbidden(request.resource, asked.name, asked.refusal(user))
        return user


class _Handler(HttpsHandler):
    api: ApiServer

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        """Answer one request, whatever its method."""
        try:
            self._serve(self.read_body())
        except StatusError as error:
            self.answer_json(error.code, error.body())
        except DropConnectionError:
            self.close_connection = True
        except OSError:  # the client went away
            self.close_connection = True
        except Exception as error:
            log.exception("the API server failed on %s %s", self.command, self.path)
            message = f"Internal error occurred: {type(error).__name__}"
            self.answer_json(500, StatusError(500, "InternalError", message).body())

    do_POST = do_GET  # noqa: N815 - the name is http.server's
    do_PUT = do_GET  # noqa: N815 - the name is http.server's
    do_PATCH = do_GET  # noqa: N815 - the name is http.server's
    do_DELETE = do_GET  # noqa: N815 - the name is http.server's

    def _serve(self, body: bytes) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if path in _HEALTH:
            return self.answer(200, b"ok", "text/plain")
        if path == "/version":
            return self.answer_json(200, VERSION)
        content_type = self.headers.get("Content-Type") or ""
        authorization = self.headers.get("Authorization") or ""
        accept, agent = self.headers.get("Accept") or "", self.headers.get("User-Agent") or ""
        request = parse(self.command, self.path, content_type, body, accept, agent)
        self.api.admit(authorization, request)
        if not request.served:
            return self._answer_unserved(request)
        if request.verb == "watch":
            return self._watch(request)
        if request.subresource == "log":
            text = read_log(self.api.store, self.api.kubelets, request)
            self.api.faults.after(request)
            return self.answer(200, text, "text/plain")
        code, document = verbs.execute(self.api.store, request)
        self.api.faults.after(request)
        return self.answer_json(code, document)

    def _answer_unserved(self, request: Request) -> None:
        """As the real server: a Status in a group of its own, plain text in any other."""
        if request.resource.group in _OWN_GROUPS:
            raise unknown_path()
        self.answer(404, b"404 page not found\n", "text/plain; charset=utf-8")

    def _watch(self, request: Request) -> None:
        events = watch(self.api.store, request)
        self.begin_stream()
        for event in events:
            self.stream(json.dumps(event).encode() + b"\n")
        self.stream(b"")
