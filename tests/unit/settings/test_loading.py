"""All problems at once, nothing guessed, nothing malformed believed."""

from dataclasses import dataclass

import pytest

from keyturn import errors
from keyturn.sessions.store import PACES
from keyturn.settings import loading
from keyturn.settings.types import (
    DELIVERY_MODES,
    PURGE_MODES,
    PURGE_PACES,
    REDIS_AUTHENTICATIONS,
    DeliveryMode,
    Names,
    Port,
    Prefixes,
    PurgePace,
    RedisAuthentication,
    Roles,
    SecretArn,
    Services,
    Url,
    Urls,
    VaultPath,
)
from tests.conftest import ARN, AUTHORITIES
from tests.every_case import every_case
from tests.project import template

REDIS = {
    "CERTIFICATE_AUTHORITIES_SECRET": AUTHORITIES,
    "REDIS_HOST": "redis.test",
    "REDIS_PORT": "6379",
    "REDIS_DATABASE": "1",
    "REDIS_TLS": "true",
    "REDIS_AUTHENTICATION": "none",
    "SESSION_PREFIXES": "session:",
    "PURGE_PACE": "gentle",
}
VALIDATION = {
    "HEALTH_URLS": "https://console.test/healthz, https://auth.test/healthz",
    "LOGIN_URL": "https://console.test/login",
    "LOGIN_REDIRECT_HOSTS": "idp.test,idp.test:8443",
}
DELIVERY = {
    "DELIVERY_MODE": "kubernetes-secret",
    "KUBERNETES_SECRET": "session-key",
    "KUBERNETES_SECRET_KEY": "SESSION_ENCRYPTION_KEY",
}


def test_a_field_is_read_from_the_variable_of_its_name() -> None:
    assert loading.load(loading.SessionSettings, REDIS) == loading.SessionSettings(
        redis_host="redis.test",
        redis_port=Port(6379),
        redis_database=1,
        redis_tls=True,
        certificate_authorities_secret=SecretArn(AUTHORITIES),
        redis_authentication=RedisAuthentication("none"),
        redis_user="",
        redis_password_secret="",
        redis_cache_name="",
        session_prefixes=Prefixes(["session:"]),
        purge_pace=PurgePace("gentle"),
    )


def test_lists_are_read_from_commas() -> None:
    found = loading.load(loading.ValidationSettings, VALIDATION)
    assert found.health_urls == Urls(
        (Url("https://console.test/healthz"), Url("https://auth.test/healthz"))
    )
    assert found.login_redirect_hosts == Names(("idp.test", "idp.test:8443"))


def test_settings_come_from_the_environment_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_ARN", ARN)
    assert loading.load(loading.SecretSettings).secret_arn == ARN


def test_all_problems_are_told_at_once() -> None:
    broken = {**REDIS, "REDIS_PORT": "0", "REDIS_TLS": "yes", "REDIS_DATABASE": "one"}
    del broken["SESSION_PREFIXES"], broken["REDIS_HOST"]
    with pytest.raises(errors.SettingsInvalid) as told:
        loading.load(loading.SessionSettings, broken)
    assert str(told.value) == (
        "REDIS_HOST is missing; REDIS_PORT is not a port from 1 to 65535;"
        " REDIS_DATABASE is not a whole number: 'one';"
        " REDIS_TLS is neither true nor false: 'yes'; SESSION_PREFIXES is missing."
        " Nothing was done. Correct the stack's parameters and deploy."
    )


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_variable_is_a_missing_one(blank: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match="SESSION_PREFIXES is missing"):
        loading.load(loading.SessionSettings, {**REDIS, "SESSION_PREFIXES": blank})


def test_prefixes_are_a_list() -> None:
    text = "session:,:1:django.contrib.sessions.cache,sess:"
    found = loading.load(loading.SessionSettings, {**REDIS, "SESSION_PREFIXES": text})
    assert found.session_prefixes == ("session:", ":1:django.contrib.sessions.cache", "sess:")


@every_case(
    ("text", "told"),
    [
        ("session:,", "empty prefix"),
        (",session:", "empty prefix"),
        ("session:,,sess:", "empty prefix"),
        ("session:, sess:", "with a space"),
        (" session:", "with a space"),
        ("sess ion:", "with a space"),
        ("session:\n", "with a space"),
        ("a" * 65, "more than 64 characters"),
        (",".join("abcdefghi"), "9 prefixes; at most 8"),
        ("session:,session:", "overlaps"),
        ("sess,cache:,session:", "overlaps: 'session:' begins with 'sess'"),
        ("spring:session:sessions:,a:,spring:session:", "overlaps"),
    ],
)
def test_prefixes_that_could_delete_more_than_is_meant_are_refused(text: str, told: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match=f"SESSION_PREFIXES .*{told}"):
        loading.load(loading.SessionSettings, {**REDIS, "SESSION_PREFIXES": text})


@dataclass(frozen=True)
class OneOfEach:
    arn: SecretArn
    url: Url
    urls: Urls
    number: int
    port: Port
    truth: bool
    names: Names
    services: Services
    roles: Roles
    mode: DeliveryMode
    path: VaultPath


GOOD = {
    "ARN": ARN,
    "URL": "https://console.test/login",
    "URLS": "https://console.test:8443/healthz",
    "NUMBER": "0",
    "PORT": "65535",
    "TRUTH": "false",
    "NAMES": "web-console",
    "SERVICES": "web-console",
    "ROLES": "eks-node,arn:aws:iam::123456789012:role/path/pods",
    "MODE": "none",
    "PATH": "trading-platform/web-console",
}


def test_one_of_each_type_is_read() -> None:
    assert loading.load(OneOfEach, GOOD).truth is False


@every_case(
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
        ("SERVICES", "web-console,"),
        ("SERVICES", "Web-Console"),
        ("SERVICES", "web_console"),
        ("SERVICES", "-web"),
        ("SERVICES", "web-"),
        ("SERVICES", "web console"),
        ("SERVICES", "daemonset/web"),
        ("SERVICES", "StatefulSet/db"),
        ("SERVICES", "statefulset/"),
        ("SERVICES", "rollout/"),
        ("SERVICES", "rollouts/web"),
        ("SERVICES", "argo.Rollout/web"),
        ("SERVICES", "/db"),
        ("SERVICES", "statefulset/web/db"),
        ("SERVICES", "web-console,../secrets/x"),
        ("ROLES", "eks node"),
        ("ROLES", "eks-node,"),
        ("ROLES", "arn:aws:iam::1234:role/eks-node"),
        ("ROLES", "arn:aws:iam::123456789012:user/alice"),
        ("MODE", "hashicorp-vault"),
        ("MODE", "Kubernetes-Secret"),
        ("MODE", "none "),
        ("MODE", "kubernetes-secret,none"),
        ("PATH", "/trading-platform/web-console"),
        ("PATH", "trading-platform/web-console/"),
        ("PATH", "trading-platform//web-console"),
        ("PATH", "trading-platform/../web-console"),
        ("PATH", "trading-platform/*"),
        ("PATH", "trading-platform/web console"),
        ("PATH", "trading-platform/web-console?version=1"),
    ],
)
def test_a_malformed_value_is_refused_by_its_variables_name(variable: str, text: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match=rf"^{variable} "):
        loading.load(OneOfEach, {**GOOD, variable: text})


def test_a_password_in_a_url_is_not_quoted() -> None:
    url = "https://user:hunter2@console.test"  # pragma: allowlist secret
    with pytest.raises(errors.SettingsInvalid) as told:
        loading.load(OneOfEach, {**GOOD, "URL": url})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("url", ["https://[::1]:8443/login", "https://10.0.0.7", "http://a-b.c/d"])
def test_a_url_may_name_an_address_and_a_port(url: str) -> None:
    assert loading.load(OneOfEach, {**GOOD, "URL": url}).url == url


@pytest.mark.parametrize("variable", ["HEALTH_URLS", "LOGIN_URL"])
def test_plain_http_is_refused_unless_it_is_allowed(variable: str) -> None:
    plain = {**VALIDATION, variable: "http://console.test/x"}
    with pytest.raises(errors.SettingsInvalid, match=r"http://console\.test/x is not https"):
        loading.load(loading.ValidationSettings, plain)
    local = {**VALIDATION, variable: "http://127.0.0.1:8080/x"}
    loading.load(loading.ValidationSettings, local)


def test_services_are_deployments_by_name_and_others_by_kind_and_name() -> None:
    named = "web-console, deployment/auth-service,statefulset/db.eu ,rollout/a"
    assert loading.load(OneOfEach, {**GOOD, "SERVICES": named}).services == Services(
        ("web-console", "deployment/auth-service", "statefulset/db.eu", "rollout/a")
    )


def test_a_service_that_is_none_is_named_with_what_it_should_be() -> None:
    with pytest.raises(errors.SettingsInvalid) as told:
        loading.load(OneOfEach, {**GOOD, "SERVICES": "web-console,daemonset/agent"})
    said = "no Deployment, statefulset/<name> or rollout/<name>: 'daemonset/agent'"
    assert said in str(told.value)


def test_a_delivery_mode_that_is_none_of_them_is_answered_with_all_of_them() -> None:
    with pytest.raises(errors.SettingsInvalid) as told:
        loading.load(OneOfEach, {**GOOD, "MODE": "consul"})
    assert "MODE is not one of kubernetes-secret, external-secrets, vault, none" in str(told.value)


def test_the_delivery_modes_of_the_template_are_those_that_are_known() -> None:
    assert tuple(template()["Parameters"]["DeliveryMode"]["AllowedValues"]) == DELIVERY_MODES


@pytest.mark.parametrize("mode", ["kubernetes-secret", "none"])
def test_an_external_secret_need_not_be_named_in_other_modes(mode: str) -> None:
    found = loading.load(loading.DeliverySettings, {**DELIVERY, "DELIVERY_MODE": mode})
    assert (found.delivery_mode, found.external_secret) == (mode, "")


@pytest.mark.parametrize("named", [{}, {"EXTERNAL_SECRET": ""}], ids=["absent", "empty"])
def test_in_mode_external_secrets_the_external_secret_has_to_be_named(
    named: dict[str, str],
) -> None:
    given = {**DELIVERY, "DELIVERY_MODE": "external-secrets", **named}
    with pytest.raises(
        errors.SettingsInvalid,
        match=r"EXTERNAL_SECRET is missing \(DELIVERY_MODE is external-secrets\)",
    ):
        loading.load(loading.DeliverySettings, given)
    given["EXTERNAL_SECRET"] = "session-key"
    assert loading.load(loading.DeliverySettings, given).external_secret == "session-key"


def test_a_missing_external_secret_is_told_with_all_other_problems() -> None:
    given = {"DELIVERY_MODE": "external-secrets", "KUBERNETES_SECRET": "session-key"}
    with pytest.raises(errors.SettingsInvalid) as told:
        loading.load(loading.DeliverySettings, given)
    assert "KUBERNETES_SECRET_KEY is missing; EXTERNAL_SECRET is missing" in str(told.value)


PASSWORD = {"REDIS_AUTHENTICATION": "password", "REDIS_PASSWORD_SECRET": ARN}
IAM = {"REDIS_AUTHENTICATION": "iam", "REDIS_USER": "keyturn", "REDIS_CACHE_NAME": "sessions"}


@pytest.mark.parametrize("login", [PASSWORD, {**PASSWORD, "REDIS_USER": "keyturn"}, IAM])
def test_a_login_to_redis_that_is_whole_is_taken(login: dict[str, str]) -> None:
    found = loading.load(loading.SessionSettings, {**REDIS, **login})
    assert found.redis_authentication == login["REDIS_AUTHENTICATION"]
    assert found.redis_password_secret == login.get("REDIS_PASSWORD_SECRET", "")
    assert found.redis_cache_name == login.get("REDIS_CACHE_NAME", "")
    assert found.redis_user == login.get("REDIS_USER", "")


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (
            {**PASSWORD, "REDIS_PASSWORD_SECRET": ""},
            ["REDIS_PASSWORD_SECRET is missing (REDIS_AUTHENTICATION is password)"],
        ),
        (
            {**PASSWORD, "REDIS_TLS": "false"},
            ["REDIS_TLS is false (REDIS_AUTHENTICATION is password, which needs TLS)"],
        ),
        ({**IAM, "REDIS_USER": ""}, ["REDIS_USER is missing (REDIS_AUTHENTICATION is iam)"]),
        (
            {**IAM, "REDIS_CACHE_NAME": ""},
            ["REDIS_CACHE_NAME is missing (REDIS_AUTHENTICATION is iam)"],
        ),
        (
            {**IAM, "REDIS_TLS": "false"},
            ["REDIS_TLS is false (REDIS_AUTHENTICATION is iam, which needs TLS)"],
        ),
        (
            {"REDIS_AUTHENTICATION": "iam", "REDIS_TLS": "false"},
            [
                "REDIS_USER is missing (REDIS_AUTHENTICATION is iam)",
                "REDIS_CACHE_NAME is missing (REDIS_AUTHENTICATION is iam)",
                "REDIS_TLS is false (REDIS_AUTHENTICATION is iam, which needs TLS)",
            ],
        ),
    ],
)
def test_a_login_to_redis_that_lacks_something_is_told(
    login: dict[str, str], told: list[str]
) -> None:
    with pytest.raises(errors.SettingsInvalid) as no:
        loading.load(loading.SessionSettings, {**REDIS, **login})
    assert str(no.value).startswith("; ".join(told) + ". Nothing was done.")


@pytest.mark.parametrize(
    ("variable", "choices"),
    [
        ("REDIS_AUTHENTICATION", REDIS_AUTHENTICATIONS),
        ("PURGE_MODE", PURGE_MODES),
        ("PURGE_PACE", PURGE_PACES),
    ],
)
def test_another_choice_than_those_that_are_known_is_refused(
    variable: str, choices: tuple[str, ...]
) -> None:
    purge = {**REDIS, **PASSWORD, **IAM, "PURGE_MODE": "scan", "SECRET_ARN": ARN}
    purge["STATE_MACHINE_ARN"] = "arn:aws:states:eu-central-1:123456789012:stateMachine:keyturn"
    for choice in choices:
        found = loading.load(loading.PurgeSessionsSettings, {**purge, variable: choice})
        assert getattr(found, variable.lower()) == choice
    for other in (choices[0].upper(), f"{choices[0]} ", "else"):
        with pytest.raises(errors.SettingsInvalid, match=f"{variable} is not one of {choices[0]}"):
            loading.load(loading.PurgeSessionsSettings, {**purge, variable: other})


def test_every_pace_that_may_be_configured_is_there() -> None:
    assert tuple(PACES) == PURGE_PACES


def test_who_is_told_and_where_records_go_may_be_left_out() -> None:
    machines = {"STATE_MACHINE_ARN": "arn:of-the-machine", "PREFLIGHT_ARN": "arn:of-another"}
    given = {"SECRET_ARN": ARN, "POWERTOOLS_SERVICE_NAME": "keyturn", **machines}
    found = loading.load(loading.FinishRotationSettings, given)
    assert (found.topic_arn, found.event_bus, found.record_bucket) == ("", "", "")
    assert found.slack_webhook_secret == ""


def test_roles_may_be_none_or_names_and_arns() -> None:
    arn = "arn:aws:iam::123456789012:role/path/pods"
    assert loading.load(OneOfEach, GOOD).roles == Roles(("eks-node", arn))
    given = {
        "SECRET_ARN": ARN,
        "CLUSTER_NAME": "production",
        "NAMESPACE": "web",
        "KEY_ROLES": "rotator",
        "FINDING_COOLDOWN_MINUTES": "60",
        "FINDING_DAILY_LIMIT": "3",
        "ALLOW_SAMPLE_FINDINGS": "false",
        "POWERTOOLS_SERVICE_NAME": "keyturn",
    }
    found = loading.load(loading.RespondToFindingSettings, given)
    assert (found.key_roles, found.finding_scope_roles) == (Roles(("rotator",)), Roles())


VAULT = {
    **DELIVERY,
    "SECRET_ARN": ARN,
    "CLUSTER_NAME": "production",
    "CLUSTER_ENDPOINT": "https://cluster.test",
    "CERTIFICATE_AUTHORITIES_SECRET": AUTHORITIES,
    "NAMESPACE": "web",
    "STATE_MACHINE_ARN": "arn:aws:states:eu-central-1:123456789012:stateMachine:keyturn",
    "DELIVERY_MODE": "vault",
    "VAULT_ADDRESS": "https://vault.test:8200",
    "VAULT_MOUNT": "secret",
    "VAULT_PATH": "trading-platform/web-console",
    "VAULT_FIELD": "SESSION_ENCRYPTION_KEY",
    "VAULT_AUTHENTICATION": "iam",
    "VAULT_AUTH_MOUNT": "aws",
    "VAULT_ROLE": "keyturn",
}
OTHER_LOGIN = {"VAULT_ROLE": "", "VAULT_CREDENTIALS_SECRET": ARN}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {**OTHER_LOGIN, "VAULT_AUTHENTICATION": "approle"},
        {**OTHER_LOGIN, "VAULT_AUTHENTICATION": "token"},
        {"VAULT_ADDRESS": "http://127.0.0.1:8200"},
        {"VAULT_ADDRESS": "http://localhost:8200/"},
        {"VAULT_ADDRESS": "http://[::1]:8200"},
    ],
    ids=["iam", "approle", "token", "this machine", "localhost", "IPv6"],
)
def test_what_vault_needs_and_is_there_is_taken(given: dict[str, str]) -> None:
    found = loading.load(loading.DeliverKeySettings, {**VAULT, **given})
    assert found.vault_path == "trading-platform/web-console"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"VAULT_ADDRESS": ""}, "VAULT_ADDRESS is missing (DELIVERY_MODE is vault)"),
        ({"VAULT_PATH": ""}, "VAULT_PATH is missing (DELIVERY_MODE is vault)"),
        ({"VAULT_ROLE": ""}, "VAULT_ROLE is missing (VAULT_AUTHENTICATION is iam)"),
        (
            {"VAULT_AUTHENTICATION": "token"},
            "VAULT_CREDENTIALS_SECRET is missing (VAULT_AUTHENTICATION is token)",
        ),
        (
            {"VAULT_ADDRESS": "http://vault.test:8200"},
            "VAULT_ADDRESS http://vault.test:8200 is not https, and not a loopback address",
        ),
        (
            {"VAULT_ADDRESS": "http://127.0.0.1.vault.test"},
            "VAULT_ADDRESS http://127.0.0.1.vault.test is not https",
        ),
        ({"VAULT_ADDRESS": "vault.test"}, "VAULT_ADDRESS is not an http(s) URL"),
    ],
)
def test_what_vault_needs_and_is_not_there_is_told(given: dict[str, str], told: str) -> None:
    with pytest.raises(errors.SettingsInvalid) as no:
        loading.load(loading.DeliverKeySettings, {**VAULT, **given})
    assert str(no.value).startswith(told)
    other = {**VAULT, **given, "DELIVERY_MODE": "none"}
    if "not an" not in told:
        loading.load(loading.DeliverKeySettings, other)


@pytest.mark.parametrize(
    ("mode", "static_secret", "expected"),
    [
        ("kubernetes-secret", "", True),
        ("external-secrets", "", True),
        ("vault", "", False),
        ("vault", "web-console", True),
        ("none", "web-console", False),
    ],
)
def test_whether_pods_read_the_kubernetes_secret(
    mode: str, static_secret: str, expected: bool
) -> None:
    given = {**DELIVERY, "DELIVERY_MODE": mode, "VAULT_STATIC_SECRET": static_secret}
    found = loading.load(loading.DeliverySettings, {**given, "EXTERNAL_SECRET": "session-key"})
    assert found.reads_kubernetes_secret is expected


def test_settings_cannot_be_changed() -> None:
    found = loading.load(loading.SessionSettings, REDIS)
    with pytest.raises(AttributeError):
        found.redis_database = 0  # type: ignore[misc]
