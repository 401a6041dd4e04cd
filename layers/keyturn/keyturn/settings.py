"""The environment, read once: the only module that looks at `os.environ`.

A function's settings are one frozen dataclass; a field's name in capitals is the variable's name.
All problems are reported at once, at init, so that a deployment is mended in one go.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from keyturn import errors


class SecretArn(str):
    """The ARN of the one secret that may be rotated."""

    __slots__ = ()


class Url(str):
    """An http(s) URL without a user, a query or a fragment."""

    __slots__ = ()


class Port(int):
    """A TCP port."""


class Names(tuple[str, ...]):
    """Names separated by commas; at least one."""

    __slots__ = ()


class Urls(tuple[Url, ...]):
    """URLs separated by commas; at least one."""

    __slots__ = ()


@dataclass(frozen=True)
class SecretSettings:
    """Which secret."""

    secret_arn: SecretArn


@dataclass(frozen=True)
class ClusterSettings:
    """Which cluster, which namespace, and how the key gets there."""

    cluster_name: str
    cluster_endpoint: Url
    cluster_certificate_authority: str
    namespace: str


@dataclass(frozen=True)
class DeliverySettings:
    """The Kubernetes Secret that the pods read the key from."""

    kubernetes_secret: str
    kubernetes_secret_key: str


@dataclass(frozen=True)
class RolloutSettings:
    """Which Deployments hold the key, and how long their rollouts may take."""

    services: Names
    rollout_seconds: int
    rollout_poll_seconds: int


@dataclass(frozen=True)
class SessionSettings:
    """Where the sessions are. Database and prefix are never guessed."""

    redis_host: str
    redis_port: Port
    redis_database: int
    redis_tls: bool
    session_prefix: str


@dataclass(frozen=True)
class ValidationSettings:
    """What has to answer before and after a rotation."""

    health_urls: Urls
    login_url: Url
    login_redirect_hosts: Names
    allow_http: bool


@dataclass(frozen=True)
class NotificationSettings:
    """Who is told. Empty means nobody."""

    topic_arn: str
    event_bus: str


@dataclass(frozen=True)
class RotateSecretSettings(
    SecretSettings,
    ClusterSettings,
    DeliverySettings,
    RolloutSettings,
    SessionSettings,
    ValidationSettings,
):
    """Of `rotate_secret`: it checks all that a run will need before anything changes."""

    state_machine_arn: str


@dataclass(frozen=True)
class BeginRotationSettings(SecretSettings, RolloutSettings, SessionSettings, NotificationSettings):
    """Of `begin_rotation`."""


@dataclass(frozen=True)
class DeliverKeySettings(SecretSettings, ClusterSettings, DeliverySettings):
    """Of `deliver_key`."""


@dataclass(frozen=True)
class RestartSettings(SecretSettings, ClusterSettings, RolloutSettings):
    """Of `restart_service` and `check_rollout`."""


@dataclass(frozen=True)
class PurgeSessionsSettings(SecretSettings, SessionSettings):
    """Of `purge_sessions`."""


@dataclass(frozen=True)
class ValidateRotationSettings(
    SecretSettings, ClusterSettings, RolloutSettings, ValidationSettings
):
    """Of `validate_rotation`."""


@dataclass(frozen=True)
class FinishRotationSettings(SecretSettings, NotificationSettings):
    """Of `finish_rotation`."""

    record_bucket: str


OPTIONAL = {"topic_arn", "event_bus", "record_bucket"}

Settings = TypeVar("Settings")


def load(kind: type[Settings], environment: Mapping[str, str] | None = None) -> Settings:
    """Read one function's settings from the environment.

    Raises SettingsInvalid with every missing or malformed variable in its message.
    """
    environment = os.environ if environment is None else environment
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]
        variable = field.name.upper()
        text = environment.get(variable, "")
        if not text.strip() and field.name not in OPTIONAL:
            problems.append(f"{variable} is missing")
            continue
        try:
            values[field.name] = PARSERS[types[field.name]](text)
        except ValueError as problem:
            problems.append(f"{variable} {problem}")
    problems += _contradictions(values)
    if problems:
        raise errors.SettingsInvalid(
            f"{'; '.join(problems)}. Nothing was done. Correct the stack's parameters and deploy."
        )
    return kind(**values)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """What is well-formed by itself and wrong together."""
    if values.get("allow_http", True):
        return []
    urls = [*values.get("health_urls", ()), values.get("login_url", "")]
    return [f"{url} is not https (ALLOW_HTTP is false)" for url in urls if url.startswith("http:")]


def _secret_arn(text: str) -> SecretArn:
    if not re.fullmatch(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+", text):
        raise ValueError("is not the ARN of a secret")
    return SecretArn(text)


def _url(text: str) -> Url:
    if not re.fullmatch(r"https?://([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?(/[^\s?#]*)?", text, re.ASCII):
        raise ValueError("is not an http(s) URL without a user, a query or a fragment")
    return Url(text)


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError(f"is not a whole number: {text!r}")
    return int(text)


def _port(text: str) -> Port:
    number = _number(text)
    if not 1 <= number <= 65535:
        raise ValueError("is not a port from 1 to 65535")
    return Port(number)


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"is neither true nor false: {text!r}")
    return text == "true"


def _names(text: str) -> Names:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError("has an empty name in its list")
    return Names(names)


def _urls(text: str) -> Urls:
    return Urls(_url(name) for name in _names(text))


PARSERS: Mapping[type, Callable[[str], Any]] = {
    str: str,
    int: _number,
    bool: _truth,
    SecretArn: _secret_arn,
    Url: _url,
    Port: _port,
    Names: _names,
    Urls: _urls,
}
