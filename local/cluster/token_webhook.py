"""Tells a real API server who an EKS token's owner is, as EKS's own webhook does.

The server posts a TokenReview for each bearer token that it does not know itself. Only a client
with a certificate of the cluster's authority is answered. Source: Kubernetes, "Webhook Token
Authentication".
"""

import json
import logging

from local.cluster import eks_tokens, timestamps
from local.cluster.certificates import CertificateAuthority, server_context
from local.cluster.https import HttpsHandler, HttpsServer
from local.cluster.resources import Json

log = logging.getLogger(__name__)


class TokenWebhook:
    """Serves token reviews for the cluster `name` at `url`, until `close`."""

    def __init__(
        self, name: str, lookup: eks_tokens.CredentialsLookup, authority: CertificateAuthority
    ) -> None:
        self._name = name
        self._lookup = lookup
        handler = type("Handler", (_Handler,), {"webhook": self})
        context = server_context(authority.issue("token-webhook"), authority.pem)
        self._server = HttpsServer(handler, context, "token-webhook")
        self.url = f"https://127.0.0.1:{self._server.port}/"

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def review(self, token: str) -> Json:
        """Return the status of a token's review: its user and groups, or that it is nobody's."""
        if not token.startswith(eks_tokens.PREFIX):
            return {"authenticated": False}
        try:
            user = eks_tokens.user_of(token, self._name, self._lookup, timestamps.now())
        except eks_tokens.TokenRefusedError as refusal:
            log.info("EKS token refused: %s", refusal)
            return {"authenticated": False}
        return {
            "authenticated": True,
            "user": {"username": user.name, "groups": list(user.groups)},
        }


class _Handler(HttpsHandler):
    webhook: TokenWebhook

    def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
        """Answer one review."""
        try:
            asked = json.loads(self.read_body())
            status = self.webhook.review(str(asked["spec"]["token"]))
        except (ValueError, KeyError, TypeError):
            self.answer(400, b"this is no TokenReview", "text/plain")
            return
        self.answer_json(
            200, {"apiVersion": asked["apiVersion"], "kind": "TokenReview", "status": status}
        )
