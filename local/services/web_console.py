"""The web console: one page, for users with a session; all others go to the auth service."""

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from local.services import startup
from local.services.asgi import Application, Request, Response, json_response, page, redirect
from local.services.session_store import COOKIE, SessionStore, UndecryptableError

logger = logging.getLogger(__name__)


class WebConsole:
    """The service's routes."""

    def __init__(self, store: SessionStore, auth_service: str) -> None:
        self._store = store
        self._auth_service = auth_service
        self._undecryptable = 0

    async def home(self, request: Request) -> Response:
        """Show the page; a user without a session that can be read is sent to log in."""
        session = await self._session(request.cookies.get(COOKIE, ""))
        if session is None:
            hint = request.query.get("login_hint", "")
            return redirect(f"{self._auth_service}/login", login_hint=hint)
        user = session.get("user")
        name = user.get("name") if isinstance(user, dict) else None
        logout = (
            f'<form method="post" action="{self._auth_service}/logout"><button>Log out</button>'
        )
        return page(f"Welcome, {name}.", markup=f"{logout}</form>")

    async def _session(self, session_id: str) -> dict[str, object] | None:
        try:
            return await self._store.load(session_id)
        except UndecryptableError:
            self._undecryptable += 1
            logger.warning("could not decrypt session (%d so far)", self._undecryptable)
            return None

    async def health(self, _request: Request) -> Response:
        """Tell whether users can be served: Redis answers; without a key we would not be here."""
        await self._store.ping()
        return json_response(
            {
                "status": "ok",
                "redis": "ok",
                "session_key": "loaded",
                "undecryptable_sessions": self._undecryptable,
            }
        )


@contextlib.asynccontextmanager
async def web_console(environ: Mapping[str, str]) -> AsyncIterator[Application]:
    """Open the service as its environment describes it."""
    async with SessionStore.from_environment(environ) as store:
        service = WebConsole(store, startup.address(environ, "AUTH_SERVICE_URL"))
        routes = {("GET", "/"): service.home, ("GET", "/healthz"): service.health}
        yield Application(routes, logs_access=True)


if __name__ == "__main__":
    startup.run("web-console", web_console)
