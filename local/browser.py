"""A user's browser, as far as a login needs one: cookies, and redirects followed one by one."""

from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit

from local.http_client import HttpClient, HttpError, Reply
from local.services.session_store import COOKIE

MAX_REDIRECTS = 20  # as many as Chrome and Firefox follow


class UnexpectedAnswerError(Exception):
    """A service gave no answer, or one that no user should see; the message says what."""


class LoginLoopError(UnexpectedAnswerError):
    """The login was sent in circles, as a browser says "too many redirects".

    It happens while pods of two keys serve side by side: what one pod sealed, the next cannot open,
    and it begins the login anew. The user tries again and gets in.
    """


class Browser:
    """One user's cookies, over connections that browsers may share.

    All services share one host, and cookies do not keep ports apart (RFC 6265 section 8.5), so one
    jar does for all of them.
    """

    def __init__(self, http: HttpClient, console_url: str, *, user: str, cookie: str = "") -> None:
        self._http = http
        self._home = f"{console_url.rstrip('/')}/?{urlencode({'login_hint': user})}"
        self._cookies = {COOKIE: cookie} if cookie else {}

    @property
    def cookie(self) -> str:
        """The session cookie, or an empty string while logged out."""
        return self._cookies.get(COOKIE, "")

    async def open_page(self) -> bool:
        """Whether the console shows its page; False if it asks to log in instead.

        Raises `UnexpectedAnswerError` for any other answer, or none.
        """
        reply = await self._get(self._home)
        if reply.status == 200:
            return True
        if reply.status == 302 and urlsplit(reply.header("location")).path == "/login":
            return False
        raise UnexpectedAnswerError(f"{reply.status} from /")

    async def log_in(self) -> str:
        """Go through the whole login and return the new session's cookie.

        Starts at the console and ends where the auth service sends the user back to it. Raises
        `UnexpectedAnswerError`, and `LoginLoopError` for a login that goes in circles.
        """
        self._cookies.pop(COOKIE, None)
        url = self._home
        for _ in range(MAX_REDIRECTS):
            reply = await self._get(url)
            if self.cookie:
                return self.cookie
            if reply.status != 302:
                raise UnexpectedAnswerError(f"{reply.status} from {urlsplit(url).path}")
            url = urljoin(url, reply.header("location"))
        raise LoginLoopError(f"more than {MAX_REDIRECTS} redirects during the login")

    async def _get(self, url: str) -> Reply:
        jar = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            reply = await self._http.get(url, {"cookie": jar} if jar else None)
        except HttpError as error:
            raise UnexpectedAnswerError(f"{error}, from {urlsplit(url).path}") from error
        for header, value in reply.headers:
            if header == "set-cookie":
                self._keep(value)
        return reply

    def _keep(self, set_cookie: str) -> None:
        for name, morsel in SimpleCookie(set_cookie).items():
            if morsel["max-age"] == "0":
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = morsel.value
