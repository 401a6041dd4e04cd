"""How the services start, fail to start, lose Redis, and end."""

import base64
import http.client
import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from local.users import log_in_once
from tests.local_services import DEADLINE_SECONDS, Stack, running_stack, wait_for

NOT_SET = "SESSION_ENCRYPTION_KEY environment variable not set"
NOT_32_BYTES = "SESSION_ENCRYPTION_KEY must decode to 32 bytes"
BOTH = pytest.mark.parametrize("name", ["auth_service", "web_console"])


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as stack:
        yield stack


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack for a test that breaks it."""
    with running_stack() as stack:
        yield stack


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=DEADLINE_SECONDS)


def health(url: str) -> tuple[int, str]:
    """The status of the health page, and what it says about the connection."""
    connection = connect(url)
    connection.request("GET", "/healthz")
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status, reply.headers.get("connection", "")


def fail_to_start(stack: Stack, name: str, changes: dict[str, str]) -> str:
    """Start a service that cannot start; gives the one line of its log."""
    environment = {**stack.environment(name), **changes}
    started = stack.launch(name, {key: value for key, value in environment.items() if value})
    assert started.child.process.wait(DEADLINE_SECONDS) == 1
    wait_for(lambda: bool(started.log), "line in the log")
    (line,) = started.log
    return line


@BOTH
def test_a_service_without_a_key_says_so_and_ends(stack: Stack, name: str) -> None:
    assert fail_to_start(stack, name, {"SESSION_ENCRYPTION_KEY": ""}).endswith(NOT_SET)


@BOTH
def test_a_service_with_a_short_key_says_so_and_does_not_show_it(stack: Stack, name: str) -> None:
    short = base64.b64encode(secrets.token_bytes(16)).decode()
    line = fail_to_start(stack, name, {"SESSION_ENCRYPTION_KEY": short})
    assert line.endswith(NOT_32_BYTES)
    assert short not in line


@pytest.mark.parametrize("variable", ["PORT", "REDIS_HOST", "REDIS_DB", "AUTH_SERVICE_URL"])
def test_a_service_without_another_setting_names_it(stack: Stack, variable: str) -> None:
    line = fail_to_start(stack, "web_console", {variable: ""})
    assert line.endswith(f"{variable} environment variable not set")


def test_a_port_that_is_no_number_is_named(stack: Stack) -> None:
    line = fail_to_start(stack, "web_console", {"PORT": "http"})
    assert line.endswith("PORT must be a whole number, not 'http'")


def test_no_log_line_shows_the_key(stack: Stack) -> None:
    log_in_once(stack.console)
    key = base64.b64encode(stack.key).decode()
    assert not any(started.logged(key) for started in stack.running.values())


def test_services_that_lose_redis_are_unhealthy_and_say_so_to_users(own_stack: Stack) -> None:
    cookie = log_in_once(own_stack.console)
    own_stack.redis.close()
    assert health(own_stack.console)[0] == 503
    assert health(own_stack.auth)[0] == 503
    connection = connect(own_stack.console)
    connection.request("GET", "/", headers={"cookie": f"session={cookie}"})
    reply = connection.getresponse()
    assert (reply.status, b"Redis does not answer" in reply.read()) == (503, True)
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_terminated_answers_requests_in_flight(
    own_stack: Stack, number: signal.Signals
) -> None:
    started = own_stack.running["auth_service"]
    in_flight = connect(own_stack.auth)
    in_flight.putrequest("POST", "/logout")
    in_flight.putheader("content-length", "1")
    in_flight.endheaders()
    os.kill(started.child.pid, number)
    wait_for(lambda: health(own_stack.auth) == (200, "close"), "sign of the drain")
    in_flight.send(b"x")
    assert in_flight.getresponse().status == 200
    in_flight.close()
    assert started.child.process.wait(DEADLINE_SECONDS) == 0
    wait_for(lambda: started.logged("ended"), "last line in the log")
    assert not started.logged("Traceback")


def test_all_services_end_with_exit_code_0(own_stack: Stack) -> None:
    assert [started.end() for started in own_stack.running.values()] == [0, 0, 0]
