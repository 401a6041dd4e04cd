"""`keyturn.settings`: all problems at once, nothing guessed, nothing malformed believed."""

from dataclasses import dataclass

import pytest

from keyturn import errors, settings
from keyturn.settings import Names, Port, SecretArn, Url, Urls
from tests.conftest import ARN

REDIS = {
    "REDIS_HOST": "redis.test",
    "REDIS_PORT": "6379",
    "REDIS_DATABASE": "1",
    "REDIS_TLS": "true",
    "SESSION_PREFIX": "session:",
}
VALIDATION = {
    "HEALTH_URLS": "https://console.test/healthz, https://auth.test/healthz",
    "LOGIN_URL": "https://console.test/login",
    "LOGIN_REDIRECT_HOSTS": "idp.test,idp.test:8443",
    "ALLOW_HTTP": "false",
}


def test_a_field_is_read_from_the_variable_of_its_name() -> None:
    assert settings.load(settings.SessionSettings, REDIS) == settings.SessionSettings(
        "redis.test", Port(6379), 1, redis_tls=True, session_prefix="session:"
    )


def test_lists_are_read_from_commas() -> None:
    found = settings.load(settings.ValidationSettings, VALIDATION)
    assert found.health_urls == Urls(
        (Url("https://console.test/healthz"), Url("https://auth.test/healthz"))
    )
    assert found.login_redirect_hosts == Names(("idp.test", "idp.test:8443"))


def test_settings_come_from_the_environment_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_ARN", ARN)
    assert settings.load(settings.SecretSettings).secret_arn == ARN


def test_all_problems_are_told_at_once() -> None:
    broken = {**REDIS, "REDIS_PORT": "0", "REDIS_TLS": "yes", "REDIS_DATABASE": "one"}
    del broken["SESSION_PREFIX"], broken["REDIS_HOST"]
    with pytest.raises(errors.SettingsInvalid) as told:
        settings.load(settings.SessionSettings, broken)
    assert str(told.value) == (
        "REDIS_HOST is missing; REDIS_PORT is not a port from 1 to 65535;"
        " REDIS_DATABASE is not a whole number: 'one';"
        " REDIS_TLS is neither true nor false: 'yes'; SESSION_PREFIX is missing."
        " Nothing was done. Correct the stack's parameters and deploy."
    )


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_variable_is_a_missing_one(blank: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match="SESSION_PREFIX is missing"):
        settings.load(settings.SessionSettings, {**REDIS, "SESSION_PREFIX": blank})


def test_a_prefix_is_taken_as_it_stands_for_a_shorter_one_would_delete_more() -> None:
    found = settings.load(settings.SessionSettings, {**REDIS, "SESSION_PREFIX": " session "})
    assert found.session_prefix == " session "


@dataclass(frozen=True)
class OneOfEach:
    arn: SecretArn
    url: Url
    urls: Urls
    number: int
    port: Port
    truth: bool
    names: Names


GOOD = {
    "ARN": ARN,
    "URL": "https://console.test/login",
    "URLS": "https://console.test:8443/healthz",
    "NUMBER": "0",
    "PORT": "65535",
    "TRUTH": "false",
    "NAMES": "web-console",
}


def test_one_of_each_type_is_read() -> None:
    assert settings.load(OneOfEach, GOOD).truth is False


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ARN", "session-key"),
        ("ARN", "arn:aws:ssm:eu-central-1:123456789012:parameter/session-key"),
        ("ARN", ARN.replace("123456789012", "1234")),
        ("ARN", ARN + " "),
        ("URL", "console.test"),
        ("URL", "ftp://console.test"),
        ("URL", "HTTP://console.test"),
        ("URL", "https://"),
        ("URL", "https:///login"),
        ("URL", "https://[::1"),
        ("URL", "https://console.test:port/"),
        ("URL", "https://user@console.test"),
        ("URL", "https://:password@console.test"),
        ("URL", "https://console.test/?next=/"),
        ("URL", "https://console.test/#top"),
        ("URL", "https://console.test/\nx"),
        ("URLS", "https://console.test,,https://auth.test"),
        ("URLS", "https://console.test,auth.test"),
        ("NUMBER", "-1"),
        ("NUMBER", "1.5"),
        ("NUMBER", "1e3"),
        ("NUMBER", "1234567890"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("TRUTH", "True"),
        ("TRUTH", "1"),
        ("NAMES", "web-console,"),
        ("NAMES", ","),
    ],
)
def test_a_malformed_value_is_refused_by_its_variables_name(variable: str, text: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match=rf"^{variable} "):
        settings.load(OneOfEach, {**GOOD, variable: text})


def test_a_password_in_a_url_is_not_quoted() -> None:
    with pytest.raises(errors.SettingsInvalid) as told:
        settings.load(OneOfEach, {**GOOD, "URL": "https://user:hunter2@console.test"})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("url", ["https://[::1]:8443/login", "https://10.0.0.7", "http://a-b.c/d"])
def test_a_url_may_name_an_address_and_a_port(url: str) -> None:
    assert settings.load(OneOfEach, {**GOOD, "URL": url}).url == url


@pytest.mark.parametrize("variable", ["HEALTH_URLS", "LOGIN_URL"])
def test_plain_http_is_refused_unless_it_is_allowed(variable: str) -> None:
    plain = {**VALIDATION, variable: "http://console.test/x"}
    with pytest.raises(errors.SettingsInvalid, match=r"http://console\.test/x is not https"):
        settings.load(settings.ValidationSettings, plain)
    settings.load(settings.ValidationSettings, {**plain, "ALLOW_HTTP": "true"})


def test_who_is_told_and_where_records_go_may_be_left_out() -> None:
    found = settings.load(settings.FinishRotationSettings, {"SECRET_ARN": ARN})
    assert (found.topic_arn, found.event_bus, found.record_bucket) == ("", "", "")


def test_settings_cannot_be_changed() -> None:
    found = settings.load(settings.SessionSettings, REDIS)
    with pytest.raises(AttributeError):
        found.redis_database = 0  # type: ignore[misc]
