"""`keyturn.validation`: users can log in, and no new pod is without its key."""

from collections.abc import Iterable
from datetime import datetime

import pytest

from keyturn import errors, validation
from keyturn.validation import Answer, ContainerLog, Finding
from tests.conftest import NEW, NOON
from tests.fakes import FakeCluster, FakeWeb

CONSOLE, AUTH = "https://console.test/healthz", "https://auth.test/healthz"
LOGIN = "https://console.test/login"
HOSTS = ("idp.test", "idp.test:8443")


def web(**status: int) -> FakeWeb:
    urls = {"console": CONSOLE, "auth": AUTH}
    return FakeWeb({urls[name]: Answer(urls[name], code) for name, code in status.items()})


def test_every_health_url_answers_200() -> None:
    answers = validation.check_health(web(console=200, auth=200), (CONSOLE, AUTH))
    assert [(answer.url, answer.status) for answer in answers] == [(CONSOLE, 200), (AUTH, 200)]


@pytest.mark.parametrize("status", [201, 204, 301, 401, 404, 500, 503])
def test_a_health_url_that_answers_anything_else_is_unhealthy(status: int) -> None:
    with pytest.raises(errors.ServiceUnhealthy, match=f"{AUTH} answers {status}"):
        validation.check_health(web(console=200, auth=status), (CONSOLE, AUTH))


def test_all_unhealthy_services_are_told_at_once() -> None:
    with pytest.raises(errors.ServiceUnhealthy) as told:
        validation.check_health(web(auth=503), (CONSOLE, AUTH))
    assert f"{CONSOLE} does not answer." in str(told.value)
    assert f"{AUTH} answers 503" in str(told.value)


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (200, ""),
        (204, ""),
        (302, "https://idp.test/authorize?client_id=console"),
        (303, "https://idp.test:8443/authorize"),
        (302, "/oauth2/start"),
    ],
)
def test_a_login_url_that_answers_or_leads_to_an_allowed_host_works(
    status: int, location: str
) -> None:
    found = FakeWeb({LOGIN: Answer(LOGIN, status, location)})
    assert validation.check_login(found, LOGIN, HOSTS).status == status


@pytest.mark.parametrize(
    ("status", "location", "words"),
    [
        (302, "https://evil.test/authorize", "redirects to evil.test"),
        (302, "https://idp.test.evil.test/", "redirects to idp.test.evil.test"),
        (302, "https://idp.test:444/", "redirects to idp.test:444"),
        (302, "https://idp.test@evil.test/", "redirects to idp.test@evil.test"),
        (302, "//evil.test/authorize", "redirects to evil.test"),
        (302, "https://[", "not a URL"),
        (302, "", "redirects to nowhere"),
        (304, "", "redirects to nowhere"),
        (400, "", "answers 400"),
        (404, "", "answers 404"),
    ],
)
def test_a_login_url_that_leads_elsewhere_or_refuses_is_broken(
    status: int, location: str, words: str
) -> None:
    found = FakeWeb({LOGIN: Answer(LOGIN, status, location)})
    with pytest.raises(errors.LoginBroken) as told:
        validation.check_login(found, LOGIN, HOSTS)
    assert words in str(told.value)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_login_url_of_a_service_that_is_ill_may_get_well(status: int) -> None:
    with pytest.raises(errors.ServiceUnhealthy):
        validation.check_login(FakeWeb({LOGIN: Answer(LOGIN, status)}), LOGIN, HOSTS)


def test_a_login_url_that_does_not_answer_may_get_well() -> None:
    with pytest.raises(errors.ServiceUnhealthy):
        validation.check_login(FakeWeb(), LOGIN, HOSTS)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("FATAL SESSION_ENCRYPTION_KEY is not set", "key-not-set"),
        ('{"msg": "session_encryption_key environment variable not set"}', "key-not-set"),
        ("ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24", "key-not-32-bytes"),
        ("warning: could not decrypt session cookie", "old-session"),
        ("Failed to decrypt session abc", "old-session"),
        ("cannot decrypt", "old-session"),
    ],
)
def test_each_rule_knows_its_lines(line: str, rule: str) -> None:
    log = ContainerLog("pod-1", "app", ["started", line, "GET / 200", line])
    assert validation.search(log) == [Finding("pod-1", "app", rule, 2)]


@pytest.mark.parametrize(
    "line",
    ["", "SESSION_ENCRYPTION_KEY loaded", "the cache is not set", "32 bytes sent", "decrypted"],
)
def test_ordinary_lines_match_no_rule(line: str) -> None:
    assert validation.search(ContainerLog("pod-1", "app", [line])) == []


def test_old_sessions_that_cannot_be_decrypted_are_counted_and_not_fatal() -> None:
    lines = ["cannot decrypt session"] * 3
    cluster = FakeCluster(logs=[ContainerLog("web-console-1", "app", lines)])
    found = validation.read_logs(cluster, ["web-console"], NEW, NOON)
    assert found == [Finding("web-console-1", "app", "old-session", 3)]


def test_a_key_error_in_any_service_is_fatal_and_told_without_the_line() -> None:
    line = "SESSION_ENCRYPTION_KEY must decode to 32 bytes: c2VjcmV0"
    cluster = FakeCluster(
        logs=[
            ContainerLog("web-console-1", "app", ["fine"]),
            ContainerLog("auth-service-1", "proxy", [line, line]),
        ]
    )
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        validation.read_logs(cluster, ["web-console", "auth-service"], NEW, NOON)
    assert "auth-service-1/proxy: key-not-32-bytes x2" in str(told.value)
    assert "c2VjcmV0" not in str(told.value)


def test_logs_are_read_of_this_version_and_since_the_run_began() -> None:
    asked: list[tuple[str, str, datetime]] = []

    class Listening:
        def of_version(self, service: str, version: str, since: datetime) -> Iterable[ContainerLog]:
            asked.append((service, version, since))
            return []

    validation.read_logs(Listening(), ["web-console", "auth-service"], NEW, NOON)
    assert asked == [("web-console", NEW, NOON), ("auth-service", NEW, NOON)]


def test_the_entry_holds_the_facts_and_no_log_line() -> None:
    entry = validation.as_entry(
        [Answer(CONSOLE, 200)],
        Answer(LOGIN, 302, "https://idp.test/authorize?state=abc"),
        [Finding("web-console-1", "app", "old-session", 3)],
    )
    assert entry == {
        "health": [{"url": CONSOLE, "status": 200}],
        "login": {"url": LOGIN, "status": 302},
        "logs": [{"pod": "web-console-1", "container": "app", "rule": "old-session", "count": 3}],
    }
