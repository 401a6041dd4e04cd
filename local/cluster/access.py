"""Who sends a request: the stack's own parts by fixed tokens, everyone else by an EKS token.

A request without any token is `system:anonymous`, as on a real server; nothing is granted to it.
"""

import hmac
import logging
from collections.abc import Mapping

from local.cluster import eks_tokens, timestamps
from local.cluster.errors import unauthorized
from local.cluster.rbac import User

log = logging.getLogger(__name__)

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

_SCHEME = "Bearer "


class Authenticator:
    """Maps the `Authorization` header of a request to a user."""

    def __init__(
        self, cluster: str, tokens: Mapping[str, User], lookup: eks_tokens.CredentialsLookup
    ) -> None:
        self._cluster = cluster
        self._tokens = dict(tokens)
        self._lookup = lookup

    def user(self, authorization: str) -> User:
        """Return the user behind the header's bearer token. Raises `StatusError` 401."""
        if not authorization.startswith(_SCHEME):
            return ANONYMOUS
        token = authorization.removeprefix(_SCHEME).strip()
        if token.startswith(eks_tokens.PREFIX):
            return self._eks_user(token)
        for known, user in self._tokens.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return user
        raise unauthorized()

    def _eks_user(self, token: str) -> User:
        try:
            return eks_tokens.user_of(token, self._cluster, self._lookup, timestamps.now())
        except eks_tokens.TokenRefusedError as refusal:
            log.info("EKS token refused: %s", refusal)
            raise unauthorized() from None
