"""The two services and their provider, as processes on a real Redis: logins, keys, health."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from local.browser import Browser
from local.http_client import HttpClient, Reply
from local.services.oauth2_provider import CLIENT_ID, challenge_of
from local.services.session_store import SessionCipher
from local.users import can_open_page, log_in_once
from tests.local_services import Stack, new_key, running_stack, wait_for

Step = Callable[[HttpClient], Awaitable[Reply]]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as stack:
        yield stack


def fetch(step: Step) -> Reply:
    async def run() -> Reply:
        async with HttpClient() as http:
            return await step(http)

    return asyncio.run(run())


def get(url: str, cookie: str = "") -> Reply:
    return fetch(lambda http: http.get(url, {"cookie": cookie} if cookie else None))


def post(url: str, form: dict[str, str], cookie: str = "") -> Reply:
    return fetch(
        lambda http: http.post_form(url, urlencode(form), {"cookie": cookie} if cookie else None)
    )


def cookie_of(reply: Reply) -> str:
    return reply.header("set-cookie").partition(";")[0]


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def approved_login(stack: Stack) -> tuple[dict[str, str], str]:
    """Log in up to the callback; gives its query and the login's cookie."""
    login = get(f"{stack.auth}/login?login_hint=alice")
    callback = get(login.header("location")).header("location")
    assert callback.startswith(f"{stack.auth}/callback?")
    return query_of(callback), cookie_of(login)


def call_back(stack: Stack, query: dict[str, str], cookie: str) -> Reply:
    return get(f"{stack.auth}/callback?{urlencode(query)}", cookie)


def test_a_user_without_a_session_is_sent_to_log_in_and_then_to_the_provider(stack: Stack) -> None:
    page = get(f"{stack.console}/?login_hint=alice")
    assert (page.status, page.header("location")) == (302, f"{stack.auth}/login?login_hint=alice")
    login = get(page.header("location"))
    assert (login.status, login.header("location").partition("?")[0]) == (
        302,
        f"{stack.provider}/authorize",
    )
    asked = query_of(login.header("location"))
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["login_hint"] == "alice"


def test_a_login_ends_at_the_console_with_a_session_cookie(stack: Stack) -> None:
    reply = call_back(stack, *approved_login(stack))
    assert (reply.status, reply.header("location")) == (302, f"{stack.console}/")
    session, login = [value for name, value in reply.headers if name == "set-cookie"]
    assert session.startswith("session=")
    assert "HttpOnly; SameSite=Lax" in session
    assert login.startswith("login=; ")
    assert "Max-Age=0" in login


def test_the_page_shows_the_user_by_name_and_escapes_it(stack: Stack) -> None:
    cookie = log_in_once(stack.console, user="Zoë <b>")
    reply = get(f"{stack.console}/", f"session={cookie}")
    assert reply.status == 200
    assert "Welcome, Zoë &lt;b&gt;." in reply.body.decode()


def test_a_session_lies_encrypted_in_database_1_and_expires(stack: Stack) -> None:
    cookie = log_in_once(stack.console, user="alice")
    with stack.redis.client(db=1) as redis:
        value = redis.get(f"session:{cookie}")
        assert isinstance(value, bytes)
        assert 8 * 3600 - 60 < int(str(redis.ttl(f"session:{cookie}"))) <= 8 * 3600
    with stack.redis.client(db=0) as redis:
        assert redis.dbsize() == 0
    assert b"alice" not in value
    session = json.loads(SessionCipher(stack.key).decrypt(value, cookie.encode()))
    assert session["user"]["name"] == "alice"


def test_a_login_in_progress_leaves_nothing_in_redis(stack: Stack) -> None:
    with stack.redis.client(db=1) as redis:
        before = redis.dbsize()
        approved_login(stack)
        assert redis.dbsize() == before


def test_a_wrong_state_is_refused(stack: Stack) -> None:
    query, cookie = approved_login(stack)
    assert call_back(stack, {**query, "state": "another"}, cookie).status == 400
    assert call_back(stack, {"code": query["code"]}, cookie).status == 400


def test_an_answer_to_a_login_of_another_browser_is_refused(stack: Stack) -> None:
    query, _ = approved_login(stack)
    _, cookie_of_another = approved_login(stack)
    assert call_back(stack, query, cookie_of_another).status == 400
    assert call_back(stack, query, "").status == 400


def test_a_forged_code_is_refused(stack: Stack) -> None:
    query, cookie = approved_login(stack)
    assert call_back(stack, {**query, "code": "forged"}, cookie).status == 403
    assert call_back(stack, {"state": query["state"]}, cookie).status == 403


def test_a_code_is_refused_the_second_time(stack: Stack) -> None:
    query, cookie = approved_login(stack)
    assert call_back(stack, query, cookie).status == 302
    assert call_back(stack, query, cookie).status == 403


def test_a_login_whose_cookie_cannot_be_read_starts_again(stack: Stack) -> None:
    query, _ = approved_login(stack)
    reply = call_back(stack, query, "login=forged")
    assert (reply.status, reply.header("location")) == (302, f"{stack.auth}/login")


@pytest.mark.parametrize(
    "change", [{"client_id": "another"}, {"redirect_uri": "http://127.0.0.1:1/callback"}, {}]
)
def test_the_provider_redirects_to_its_registered_client_alone(
    stack: Stack, change: dict[str, str]
) -> None:
    url, _, query = get(f"{stack.auth}/login").header("location").partition("?")
    reply = get(f"{url}?{urlencode({**dict(parse_qsl(query)), **change})}")
    assert reply.status == (400 if change else 302)


@pytest.mark.parametrize("change", [{"code_challenge_method": "plain"}, {"response_type": "token"}])
def test_the_provider_gives_a_code_only_for_a_sound_request(
    stack: Stack, change: dict[str, str]
) -> None:
    url, _, query = get(f"{stack.auth}/login").header("location").partition("?")
    asked = {**dict(parse_qsl(query)), **change}
    answer = query_of(get(f"{url}?{urlencode(asked)}").header("location"))
    assert answer == {"error": "invalid_request", "state": asked["state"]}


def test_the_provider_gives_tokens_only_to_the_holder_of_the_verifier(stack: Stack) -> None:
    redirect_uri = f"{stack.auth}/callback"
    asked = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": redirect_uri,
        "code_challenge": challenge_of("verifier"),
        "code_challenge_method": "S256",
    }
    approved = get(f"{stack.provider}/authorize?{urlencode(asked)}")
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": redirect_uri,
        "code": query_of(approved.header("location"))["code"],
        "code_verifier": "guessed",
    }
    reply = post(f"{stack.provider}/token", form)
    assert (reply.status, json.loads(reply.body)) == (400, {"error": "invalid_grant"})


def test_a_user_who_logs_out_is_asked_to_log_in(stack: Stack) -> None:
    cookie = log_in_once(stack.console)
    assert can_open_page(stack.console, cookie)
    reply = post(f"{stack.auth}/logout", {}, f"session={cookie}")
    assert (reply.status, cookie_of(reply)) == (200, "session=")
    assert not can_open_page(stack.console, cookie)


@pytest.mark.parametrize("cookie", ["x", "../../1", "a" * 32, "a" * 5000])
def test_a_forged_session_cookie_opens_nothing(stack: Stack, cookie: str) -> None:
    assert not can_open_page(stack.console, cookie)


def test_unknown_paths_and_wrong_methods_are_refused(stack: Stack) -> None:
    assert get(f"{stack.console}/admin").status == 404
    assert get(f"{stack.auth}/logout").status == 405
    assert post(f"{stack.auth}/logout", {"x": "y" * 20_000}).status == 413


def test_a_healthy_service_says_so(stack: Stack) -> None:
    for url in (stack.console, stack.auth):
        reply = get(f"{url}/healthz")
        assert reply.status == 200
        assert json.loads(reply.body)["status"] == "ok"


def test_a_new_key_logs_users_out_and_they_can_log_in_again(
    stack: Stack,
) -> None:
    old = log_in_once(stack.console)
    stack.restart_with(new_key(), "auth_service", "web_console")
    assert get(f"{stack.console}/", f"session={old}").status == 302
    log = stack.running["web_console"]
    wait_for(lambda: log.logged("could not decrypt session"), "line in the log")
    health = json.loads(get(f"{stack.console}/healthz").body)
    assert health["undecryptable_sessions"] == 1
    assert can_open_page(stack.console, log_in_once(stack.console))


def test_a_login_that_spans_a_change_of_key_succeeds(stack: Stack) -> None:
    async def log_in() -> bool:
        async with HttpClient() as http:
            browser = Browser(http, stack.console, user="alice", cookie="")
            browser._cookies["login"] = cookie_before
            assert await browser.log_in()
            return await browser.open_page()

    query, cookie = approved_login(stack)
    cookie_before = cookie.partition("=")[2]
    stack.restart_with(new_key(), "auth_service", "web_console")
    assert call_back(stack, query, cookie).header("location") == f"{stack.auth}/login"
    assert asyncio.run(log_in())
