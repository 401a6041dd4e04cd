"""`keyturn.adapters.slack`: a real web server takes the message, the local AWS keeps the URL."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from keyturn import errors
from keyturn.adapters import slack
from keyturn.reporting.notifications import Message, Notifications
from tests.contract.secrets_manager_account import Account

MESSAGE = Message(
    kind="Session Key Rotation Failed",
    subject="Session key rotation FAILED",
    summary="The rotation stopped at <!channel> & more.",
    fields={"When": "now", "Impact": "none"},
    next_steps="Run it again:",
    facts={},
    command="aws stepfunctions start-execution",
)
Answer = tuple[int, bytes, str]
TAKEN: Answer = (200, b"ok", "")
# What each path answers, one post after the other; the last of them from then on.
ANSWERS: dict[str, list[Answer]] = {
    "/services/taken": [TAKEN],
    "/services/gone": [(404, b"no_service", "")],
    "/services/odd": [(500, b"<html>https://hooks.slack.com/services/gone</html>", "")],
    "/services/moved": [(302, b"", "")],
    "/services/busy": [(429, b"rate_limited", "1"), TAKEN],
    "/services/busy-on": [(429, b"rate_limited", "0")],
    "/services/busy-for-long": [(429, b"rate_limited", "30"), TAKEN],
    "/services/busy-for-who-knows": [(429, b"rate_limited", "soon"), TAKEN],
    "/services/failing-once": [(503, b"", ""), TAKEN],
    "/services/silent-once": [(0, b"", ""), TAKEN],
}


class Workspace(ThreadingHTTPServer):
    """Answers by path, and remembers what was posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[str, dict[str, object]]] = []
        self.over = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Workspace

    def do_POST(self) -> None:
        """Answer as the path says."""
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/json"
        self.server.posted.append((self.path, json.loads(body)))
        if self.path == "/services/slow":
            self.server.over.wait(5)
            return
        answers = ANSWERS[self.path]
        before = sum(path == self.path for path, _ in self.server.posted[:-1])
        status, said, after = answers[min(before, len(answers) - 1)]
        if status == 0:
            return
        self.send_response(status)
        if after:
            self.send_header("Retry-After", after)
        self.send_header("Location", self.server.url("/services/taken"))
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    server = Workspace()
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def post(account: Account) -> Callable[..., None]:
    """Send the message to the webhook that is stored."""

    def post(stored: str) -> None:
        account.put(stored)
        slack.Slack(account.arn).send(MESSAGE)

    return post


@pytest.mark.parametrize("form", ["{}", '{{"url": "{}"}}', "{}\n"], ids=["text", "json", "line"])
def test_a_message_is_posted_to_the_url_of_the_secret(
    form: str, post: Callable[..., None], workspace: Workspace
) -> None:
    post(form.format(workspace.url("/services/taken")))
    ((path, body),) = workspace.posted
    assert path == "/services/taken"
    assert body == {"text": MESSAGE.subject, "blocks": slack.blocks(MESSAGE)}


@pytest.mark.parametrize(
    ("path", "summary"),
    [
        ("/services/gone", "HTTP 404, no_service."),
        ("/services/odd", "HTTP 500."),
        ("/services/moved", "HTTP 302."),
        ("/services/busy-on", "HTTP 429, rate_limited."),
        ("/services/busy-for-long", "HTTP 429, rate_limited."),
        ("/services/busy-for-who-knows", "HTTP 429, rate_limited."),
    ],
)
def test_a_refusal_is_told_without_the_url_and_a_redirect_is_not_followed(
    path: str, summary: str, post: Callable[..., None], workspace: Workspace
) -> None:
    with pytest.raises(errors.NotificationFailed) as told:
        post(workspace.url(path))
    assert str(told.value) == f"Slack rejected the message: {summary}"
    tries = 2 if path in {"/services/odd", "/services/busy-on"} else 1
    assert [asked for asked, _ in workspace.posted] == [path] * tries


@pytest.mark.parametrize("path", ["busy", "failing-once", "silent-once"])
def test_a_message_is_posted_once_more_where_slack_could_not_take_it_at_once(
    path: str, post: Callable[..., None], workspace: Workspace
) -> None:
    post(workspace.url(f"/services/{path}"))
    first, second = workspace.posted
    assert first == second


def test_a_silent_workspace_is_given_up_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch, post: Callable[..., None], workspace: Workspace
) -> None:
    monkeypatch.setattr(slack, "TRY_SECONDS", 0.05)
    with pytest.raises(errors.NotificationFailed, match=r"Slack did not answer \(\w+\)") as told:
        post(workspace.url("/services/slow"))
    assert told.value.__context__ is None


@pytest.mark.parametrize(
    "stored",
    [
        "http://hooks.slack.com/services/hidden",
        "https://hooks.slack.com.evil.test/services/hidden",
        "https://hooks.slack.com@evil.test/services/hidden",
        "https://evil.test/hooks.slack.com/hidden",
        "https://hooks.slack.com:8443/services/hidden",
        "https://[/services/hidden",
        "http://127.0.0.1@evil.test/hidden",
        "http://127.0.0.1.evil.test/hidden",
        "http://localhost.evil.test/hidden",
        "http://127.0.0.1\\@evil.test/hidden",
        "http://10.0.0.7/hidden",
        "https://127.0.0.1/hidden",
        '{"webhook": "https://hooks.slack.com/services/hidden"}',
        "[1]",
        "hidden",
    ],
)
def test_anything_but_a_webhook_of_slack_is_not_called_and_not_shown(
    stored: str, post: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib3, "PoolManager", None)  # nothing is connected to
    with pytest.raises(errors.NotificationFailed) as told:
        post(stored)
    assert "hidden" not in str(told.value)
    assert "Store it there." in str(told.value)


def notify(channel: slack.Slack) -> str:
    """What became of the message."""
    return Notifications([channel], "here").notify(MESSAGE)["slack"]


@pytest.mark.parametrize("stored", ["http://127.0.0.1:99999/s", "http://127.0.0.1:1/s"])
def test_what_cannot_be_called_is_our_error_and_nothing_of_it_is_shown(
    stored: str, account: Account
) -> None:
    account.put(stored)
    told = notify(slack.Slack(account.arn))
    assert told.startswith("NotificationFailed: Slack did not answer")
    assert stored not in told


def test_a_secret_that_is_not_there_keeps_nobody_from_being_told(account: Account) -> None:
    missing = f"{account.arn[:-6]}ZyXwVu"
    told = notify(slack.Slack(missing))
    assert told.startswith(f"AwsResourceNotFound: secretsmanager:GetSecretValue on {missing}")
