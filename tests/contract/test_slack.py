"""`keyturn.adapters.slack`: a real web server takes the message, the local AWS keeps the URL."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from keyturn import channels, errors
from keyturn.adapters import slack
from keyturn.channels import Message
from tests.contract.secrets_manager_account import Account

MESSAGE = Message(
    kind="Session Key Rotation Failed",
    subject="Session key rotation FAILED",
    says="The rotation stopped at <!channel> & more.",
    fields={"When": "now", "Impact": "none"},
    todo="Run it again:",
    facts={},
    command="aws stepfunctions start-execution",
)
ANSWERS = {
    "/services/taken": (200, b"ok"),
    "/services/gone": (404, b"no_service"),
    "/services/odd": (500, b"<html>https://hooks.slack.com/services/gone</html>"),
    "/services/moved": (302, b""),
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
        status, said = ANSWERS[self.path]
        self.send_response(status)
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

    def post(stored: str, *, any_url: bool = True) -> None:
        account.put(stored)
        slack.Slack(account.arn, any_url=any_url).send(MESSAGE)

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
    ("path", "says"),
    [
        ("/services/gone", "HTTP 404, no_service."),
        ("/services/odd", "HTTP 500."),
        ("/services/moved", "HTTP 302."),
    ],
)
def test_a_refusal_is_told_without_the_url_and_a_redirect_is_not_followed(
    path: str, says: str, post: Callable[..., None], workspace: Workspace
) -> None:
    with pytest.raises(errors.NotificationFailed) as told:
        post(workspace.url(path))
    assert str(told.value) == f"Slack did not take the message: {says}"
    assert [asked for asked, _ in workspace.posted] == [path]


def test_a_workspace_that_says_nothing_is_not_waited_for_longer_than_the_time_allowed(
    monkeypatch: pytest.MonkeyPatch, post: Callable[..., None], workspace: Workspace
) -> None:
    monkeypatch.setattr(slack, "READ_SECONDS", 0.05)
    with pytest.raises(errors.NotificationFailed, match=r"not answer \(ReadTimeoutError\)") as told:
        post(workspace.url("/services/slow"))
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


@pytest.mark.parametrize(
    "stored",
    [
        "http://hooks.slack.com/services/hidden",
        "https://hooks.slack.com.evil.test/services/hidden",
        "https://hooks.slack.com@evil.test/services/hidden",
        "https://evil.test/hooks.slack.com/hidden",
        "https://hooks.slack.com:8443/services/hidden",
        "https://[/services/hidden",
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
        post(stored, any_url=False)
    assert "hidden" not in str(told.value)
    assert "Store it there." in str(told.value)


@pytest.mark.parametrize("stored", ["http:///", "http://[", "http://127.0.0.1:1/s"])
def test_what_cannot_be_called_is_our_error_and_nothing_of_it_is_shown(
    stored: str, account: Account
) -> None:
    account.put(stored)
    told = channels.tell([slack.Slack(account.arn, any_url=True)], MESSAGE)["slack"]
    assert told.startswith("NotificationFailed: Slack did not answer")
    assert stored not in told


def test_a_secret_that_is_not_there_keeps_nobody_from_being_told(account: Account) -> None:
    missing = f"{account.arn[:-6]}ZyXwVu"
    told = channels.tell([slack.Slack(missing)], MESSAGE)["slack"]
    assert told.startswith(f"NotificationFailed: secretsmanager:GetSecretValue on {missing} failed")
