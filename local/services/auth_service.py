"""The auth service: logs users in with OAuth2 and keeps their sessions.

The authorization code flow with PKCE and state (RFC 6749 section 4.1, RFC 7636, RFC 9700 section
2.1). What a login in progress needs later lies in a cookie, encrypted under the session key, so
that any process of the service can finish it and Redis holds sessions alone.
"""

import base64
import binascii
import contextlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlencode

from local.http_client import HttpClient, HttpError
from local.services import startup
from local.services.asgi import (
    Application,
    Request,
    Response,
    UnavailableError,
    json_response,
    page,
    redirect,
)
from local.services.oauth2_provider import CLIENT_ID, challenge_of
from local.services.session_store import (
    COOKIE,
    SESSION_SECONDS,
    SessionCipher,
    SessionStore,
    UndecryptableError,
)

LOGIN_COOKIE = "login"
LOGIN_SECONDS = 600

logger = logging.getLogger(__name__)


class LoginRefusedError(Exception):
    """The provider does not vouch for this login."""


def session_of(tokens: Mapping[str, object], *, now: float) -> dict[str, object]:
    """Return the session that a token response makes; its times and `now` are Unix seconds."""
    kept = ("user", "access_token", "refresh_token", "token_type", "scope")
    lifetime = tokens["expires_in"]
    return {
        **{name: tokens[name] for name in kept},
        "created_at": int(now),
        "expires_at": int(now) + (lifetime if isinstance(lifetime, int) else 0),
    }


class LoginInProgress:
    """The cookie that carries a login from `/login` to `/callback`: its state and verifier."""

    def __init__(self, cipher: SessionCipher) -> None:
        self._cipher = cipher

    def seal(self, state: str, verifier: str) -> str:
        """Return the cookie's value."""
        plaintext = json.dumps([state, verifier, time.time() + LOGIN_SECONDS]).encode()
        return base64.urlsafe_b64encode(self._cipher.encrypt(plaintext, b"login")).decode()

    def open(self, cookie: str) -> tuple[str, str]:
        """Return state and verifier; raises `UndecryptableError`, also after `LOGIN_SECONDS`."""
        try:
            value = base64.urlsafe_b64decode(cookie)
        except (binascii.Error, ValueError):
            raise UndecryptableError from None
        state, verifier, expires_at = json.loads(self._cipher.decrypt(value, b"login"))
        if expires_at <= time.time():
            raise UndecryptableError
        return state, verifier


class AuthService:
    """The service's routes."""

    def __init__(
        self, store: SessionStore, http: HttpClient, *, issuer: str, own: str, console: str
    ) -> None:
        self._store = store
        self._http = http
        self._login = LoginInProgress(store.cipher)
        self._issuer, self._own, self._console = issuer, own, console

    async def login(self, request: Request) -> Response:
        """Send the browser to the provider."""
        state, verifier = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
        response = redirect(
            f"{self._issuer}/authorize",
            response_type="code",
            client_id=CLIENT_ID,
            redirect_uri=f"{self._own}/callback",
            scope="profile email",
            state=state,
            code_challenge=challenge_of(verifier),
            code_challenge_method="S256",
            login_hint=request.query.get("login_hint", ""),
        )
        cookie = self._login.seal(state, verifier)
        return response.with_cookie(LOGIN_COOKIE, cookie, max_age=LOGIN_SECONDS)

    async def callback(self, request: Request) -> Response:
        """Take the browser back from the provider, and create the session."""
        if LOGIN_COOKIE not in request.cookies:
            return page("This login did not start here. Please log in again.", 400)
        try:
            state, verifier = self._login.open(request.cookies[LOGIN_COOKIE])
        except UndecryptableError:
            logger.info("a login began too long ago or under another key; it starts again")
            return redirect(f"{self._own}/login")
        if not hmac.compare_digest(request.query.get("state", "").encode(), state.encode()):
            return page("This is the answer to another login. Please log in again.", 400)
        try:
            tokens = await self._redeem(request.query.get("code", ""), verifier)
        except LoginRefusedError:
            return page("The provider refused this login. Please log in again.", 403)
        session_id = await self._store.create(session_of(tokens, now=time.time()))
        response = redirect(f"{self._console}/")
        response = response.with_cookie(COOKIE, session_id, max_age=SESSION_SECONDS)
        return response.with_cookie(LOGIN_COOKIE, "", max_age=0)

    async def _redeem(self, code: str, verifier: str) -> dict[str, object]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{self._own}/callback",
            "client_id": CLIENT_ID,
            "code_verifier": verifier,
        }
        try:
            reply = await self._http.post_form(f"{self._issuer}/token", urlencode(form))
        except HttpError as error:
            raise UnavailableError("The OAuth2 provider does not answer") from error
        if reply.status >= 500:
            raise UnavailableError("The OAuth2 provider has a problem")
        if reply.status != 200:
            raise LoginRefusedError
        tokens: dict[str, object] = json.loads(reply.body)
        return tokens

    async def logout(self, request: Request) -> Response:
        """Forget the session."""
        await self._store.delete(request.cookies.get(COOKIE, ""))
        return page("You are logged out.").with_cookie(COOKIE, "", max_age=0)

    async def health(self, _request: Request) -> Response:
        """Tell whether users can log in: Redis answers; without a key we would not be here."""
        await self._store.ping()
        return json_response({"status": "ok", "redis": "ok", "session_key": "loaded"})


@contextlib.asynccontextmanager
async def auth_service(environ: Mapping[str, str]) -> AsyncIterator[Application]:
    """Open the service as its environment describes it."""
    async with SessionStore.from_environment(environ) as store, HttpClient() as http:
        service = AuthService(
            store,
            http,
            issuer=startup.address(environ, "OAUTH2_ISSUER_URL"),
            own=startup.address(environ, "AUTH_SERVICE_URL"),
            console=startup.address(environ, "WEB_CONSOLE_URL"),
        )
        yield Application(
            {
                ("GET", "/login"): service.login,
                ("GET", "/callback"): service.callback,
                ("POST", "/logout"): service.logout,
                ("GET", "/healthz"): service.health,
            }
        )


if __name__ == "__main__":
    startup.run("auth-service", auth_service)
