"""An OAuth2 provider for the local stack: the authorization code flow with PKCE.

It approves whoever `login_hint` names, without asking. Everything else follows RFC 6749 section
4.1 and RFC 7636: a registered redirect address, S256 challenges only, codes that live for a minute
and work once. Its one client is public: the PKCE verifier takes the place of a client secret.
"""

import base64
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from local.services import startup
from local.services.asgi import Application, Request, Response, json_response, page, redirect

CLIENT_ID = "web-console"
CODE_SECONDS = 60.0
TOKEN_SECONDS = 3600
DEFAULT_USER = "demo-user"


class InvalidGrantError(Exception):
    """The code is unknown, used, expired, or not this client's."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for until it is redeemed."""

    user: str
    challenge: str
    expires_at: float


class Grants:
    """The codes that were issued and not yet redeemed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._grants: dict[str, Grant] = {}

    def issue(self, user: str, challenge: str) -> str:
        """Make a new code for a user who approved."""
        self._forget_expired()
        code = secrets.token_urlsafe(24)
        self._grants[code] = Grant(user, challenge, self._clock() + CODE_SECONDS)
        return code

    def redeem(self, code: str, verifier: str) -> str:
        """Return the user a code stands for; the code is used up, whatever the outcome.

        Raises `InvalidGrantError`.
        """
        grant = self._grants.pop(code, None)
        if grant is None or grant.expires_at <= self._clock():
            raise InvalidGrantError
        if not hmac.compare_digest(challenge_of(verifier), grant.challenge):
            raise InvalidGrantError
        return grant.user

    def _forget_expired(self) -> None:
        now = self._clock()
        for code, grant in list(self._grants.items()):
            if grant.expires_at > now:
                return  # codes are kept in the order of their issue
            del self._grants[code]


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def new_tokens(user: str) -> dict[str, object]:
    """Make a token response (RFC 6749 section 5.1), with who the user is besides."""
    return {
        "access_token": secrets.token_urlsafe(180),
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "refresh_token": secrets.token_urlsafe(96),
        "scope": "profile email",
        "user": {"id": user, "name": user, "email": f"{user}@example.com"},
    }


class Provider:
    """The provider's routes. `redirect_uri` is the client's one registered address."""

    def __init__(self, grants: Grants, redirect_uri: str) -> None:
        self._grants = grants
        self._redirect_uri = redirect_uri

    async def authorize(self, request: Request) -> Response:
        """Approve the user and send the browser back with a code."""
        query = request.query
        if (query.get("client_id"), query.get("redirect_uri")) != (CLIENT_ID, self._redirect_uri):
            return page("Unknown client or redirect address", 400)
        state, challenge = query.get("state", ""), query.get("code_challenge", "")
        sound = query.get("response_type") == "code" and challenge
        if not sound or query.get("code_challenge_method") != "S256":
            return redirect(self._redirect_uri, error="invalid_request", state=state)
        code = self._grants.issue(query.get("login_hint", DEFAULT_USER), challenge)
        return redirect(self._redirect_uri, code=code, state=state)

    async def token(self, request: Request) -> Response:
        """Exchange a code for tokens."""
        form = request.form
        if form.get("grant_type") != "authorization_code":
            return json_response({"error": "unsupported_grant_type"}, 400)
        if (form.get("client_id"), form.get("redirect_uri")) != (CLIENT_ID, self._redirect_uri):
            return json_response({"error": "invalid_client"}, 401)
        try:
            user = self._grants.redeem(form.get("code", ""), form.get("code_verifier", ""))
        except InvalidGrantError:
            return json_response({"error": "invalid_grant"}, 400)
        return json_response(new_tokens(user))

    async def health(self, _request: Request) -> Response:
        """Whether the provider is there."""
        return json_response({"status": "ok"})


@contextlib.asynccontextmanager
async def oauth2_provider(environ: Mapping[str, str]) -> AsyncIterator[Application]:
    """Open the provider as its environment describes it."""
    provider = Provider(Grants(), f"{startup.address(environ, 'AUTH_SERVICE_URL')}/callback")
    yield Application(
        {
            ("GET", "/authorize"): provider.authorize,
            ("POST", "/token"): provider.token,
            ("GET", "/healthz"): provider.health,
        }
    )


if __name__ == "__main__":
    startup.run("oauth2-provider", oauth2_provider)
