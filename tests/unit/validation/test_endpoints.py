"""Users can log in, and what proves it is on record."""

import json

import pytest

from keyturn import errors
from keyturn.run.times import format_timestamp
from keyturn.validation import endpoints
from keyturn.validation.endpoints import Answer
from keyturn.validation.log_report import LogMatch, PodCount, Report
from tests.conftest import NOON
from tests.every_case import every_case
from tests.fakes import FakeWeb

CONSOLE, AUTH = "https://console.test/healthz", "https://auth.test/healthz"
LOGIN = "https://console.test/login"
HOSTS = ("idp.test", "idp.test:8443")


def web(**status: int) -> FakeWeb:
    urls = {"console": CONSOLE, "auth": AUTH}
    return FakeWeb({urls[name]: Answer(urls[name], code) for name, code in status.items()})


def test_every_health_url_answers_200() -> None:
    answers = endpoints.check_health(web(console=200, auth=200), (CONSOLE, AUTH))
    assert [(answer.url, answer.status) for answer in answers] == [(CONSOLE, 200), (AUTH, 200)]


@pytest.mark.parametrize("status", [201, 204, 301, 401, 404, 500, 503])
def test_a_health_url_that_answers_anything_else_is_unhealthy(status: int) -> None:
    with pytest.raises(errors.ServiceUnhealthy, match=f"{AUTH} answers {status}"):
        endpoints.check_health(web(console=200, auth=status), (CONSOLE, AUTH))


def test_all_unhealthy_services_are_told_at_once() -> None:
    with pytest.raises(errors.ServiceUnhealthy) as told:
        endpoints.check_health(web(auth=503), (CONSOLE, AUTH))
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
    assert endpoints.check_login(found, LOGIN, HOSTS).status == status


@every_case(
    ("status", "location", "words"),
    [
        (302, "https://evil.test/authorize", "redirects to evil.test"),
        (302, "https://idp.test.evil.test/", "redirects to idp.test.evil.test"),
        (302, "https://idp.test:444/", "redirects to idp.test:444"),
        (302, "https://idp.test@evil.test/", "redirects to evil.test with a user in the URL,"),
        # pragma: allowlist nextline secret
        (302, "https://hunter2:hunter2@idp.test/", "redirects to idp.test with a user in the URL"),
        (302, "https://hunter2 now.test/", "redirects to a host whose name is malformed,"),
        (302, f"https://{'hunter2' * 9000}/", "redirects to a host whose name is malformed,"),
        (302, "https://evil.test:hunter2/", "redirects to a host whose name is malformed,"),
        (302, "https://[hunter2]/", "an invalid URL"),
        (302, "https://[2001:db8::7]:8443/", "redirects to [2001:db8::7]:8443,"),
        (302, "https://evil.test:80/hunter2?hunter2#hunter2", "redirects to evil.test:80,"),
        (302, "/\\evil.test/authorize", "redirects to evil.test"),
        (302, "\\\\evil.test/authorize", "redirects to evil.test"),
        (302, "//evil.test/authorize", "redirects to evil.test"),
        (302, "https://[", "an invalid URL"),
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
        endpoints.check_login(found, LOGIN, HOSTS)
    assert words in str(told.value)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_login_url_of_a_service_that_is_ill_may_get_well(status: int) -> None:
    with pytest.raises(errors.ServiceUnhealthy):
        endpoints.check_login(FakeWeb({LOGIN: Answer(LOGIN, status)}), LOGIN, HOSTS)


def test_a_login_url_that_does_not_answer_may_get_well() -> None:
    with pytest.raises(errors.ServiceUnhealthy):
        endpoints.check_login(FakeWeb(), LOGIN, HOSTS)


def test_the_entry_holds_the_facts_and_no_log_line() -> None:
    found = LogMatch("web-console-1", "app", "old-session", 3, format_timestamp(NOON))
    entry = endpoints.validation_entry(
        [Answer(CONSOLE, 200)],
        Answer(LOGIN, 302, "https://idp.test/authorize?state=abc"),
        Report((found,), 4, (PodCount("web-console", 4, 4, 4),)),
    )
    assert entry == {
        "health": [{"url": CONSOLE, "status": 200}],
        "login": {"url": LOGIN, "status": 302},
        "logs": {
            "findings": [
                {
                    "pod": "web-console-1",
                    "container": "app",
                    "rule": "old-session",
                    "count": 3,
                    "firstAt": "2026-11-24T12:00:00.000Z",
                    "note": "",
                }
            ],
            "lines": {"old-session": 3},
            "logs": 4,
            "pods": [{"service": "web-console", "pods": 4, "stamped": 4, "read": 4}],
            "complete": True,
            "reason": "",
            "says": "",
        },
    }
    assert json.loads(json.dumps(entry)) == entry
