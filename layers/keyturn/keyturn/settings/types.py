"""The types of environment variables, and how each is read.

A reader raises ValueError with words that follow the variable's name: "PORT is not a port ...".
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

DELIVERY_MODES = ("kubernetes-secret", "external-secrets", "vault", "none")
VAULT_AUTHENTICATIONS = ("iam", "approle", "token")
MANUAL_ROTATION_MODES = ("emergency", "scheduled")
REDIS_AUTHENTICATIONS = ("none", "password", "iam")
PURGE_MODES = ("scan", "flush")
PURGE_PACES = ("fast", "gentle")
MOST_PREFIXES, PREFIX_CHARACTERS = 8, 64  # each scanned key is compared with them
SERVICE = r"((deployment|statefulset|rollout)/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
LOOPBACK = re.compile(
    r"http://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?(/[^\s\\]*)?", re.ASCII
)


class SecretArn(str):
    """The ARN of the one secret that may be rotated."""

    __slots__ = ()

    @property
    def place(self) -> str:
        """The account and the Region that it is in."""
        _, _, _, region, account, *_ = self.split(":")
        return f"account {account}, {region}"


class Url(str):
    """An http(s) URL without a user, a query or a fragment."""

    __slots__ = ()


class OptionalUrl(str):
    """A Url, or nothing."""

    __slots__ = ()


class Port(int):
    """A TCP port."""


class Names(tuple[str, ...]):
    """Names separated by commas; at least one."""

    __slots__ = ()


class Urls(tuple[Url, ...]):
    """URLs separated by commas; at least one."""

    __slots__ = ()


class Prefixes(tuple[str, ...]):
    """Prefixes of session keys, separated by commas; at least one."""

    __slots__ = ()


class Services(tuple[str, ...]):
    """Deployments by name, others as `statefulset/<name>` or `rollout/<name>`; at least one."""

    __slots__ = ()


class Roles(tuple[str, ...]):
    """Names or ARNs of IAM roles, separated by commas; may be none."""

    __slots__ = ()


class DeliveryMode(str):
    """How the key is delivered to the pods."""

    __slots__ = ()


class VaultAuthentication(str):
    """How Keyturn logs in to Vault."""

    __slots__ = ()


class VaultPath(str):
    """A path in Vault without a slash at its ends and the API's `data/`, or nothing."""

    __slots__ = ()


class ManualRotationMode(str):
    """Mode of a manual rotation outside the window with no `planned-` or `emergency-` token."""

    __slots__ = ()

    @property
    def mode(self) -> Literal["scheduled", "emergency"]:
        """The mode of such a run."""
        return "emergency" if self == "emergency" else "scheduled"


class RedisAuthentication(str):
    """How Keyturn logs in to Redis."""

    __slots__ = ()


class PurgeMode(str):
    """Whether a purge deletes sessions one page after the other, or empties their database."""

    __slots__ = ()


class PurgePace(str):
    """The pace of a purge."""

    __slots__ = ()


def is_loopback(url: str) -> bool:
    """Whether a URL is plain http to a loopback address."""
    return LOOPBACK.fullmatch(url) is not None


def _secret_arn(text: str) -> SecretArn:
    if not re.fullmatch(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+", text):
        raise ValueError("is not the ARN of a secret")
    return SecretArn(text)


def _url(text: str) -> Url:
    if not re.fullmatch(r"https?://([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?(/[^\s?#]*)?", text, re.ASCII):
        raise ValueError("is not an http(s) URL without a user, a query or a fragment")
    return Url(text)


def _optional_url(text: str) -> OptionalUrl:
    return OptionalUrl(_url(text) if text else "")


def _vault_path(text: str) -> VaultPath:
    segments = text.split("/") if text else []
    if not all(re.fullmatch(r"[\w.@=:,-]+", segment, re.ASCII) for segment in segments):
        raise ValueError("is not a path such as trading-platform/web-console, without /data/")
    if {".", ".."} & {*segments}:
        raise ValueError("has a segment of dots")
    return VaultPath(text)


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


def _prefixes(text: str) -> Prefixes:
    """Each as it stands, spaces refused and not removed: a shorter prefix would delete more."""
    prefixes = text.split(",")
    if not all(prefixes):
        raise ValueError("has an empty prefix in its list, which would be every key")
    for prefix in prefixes:
        if not re.fullmatch(rf"\S{{1,{PREFIX_CHARACTERS}}}", prefix):
            raise ValueError(
                f"has a prefix with a space or of more than {PREFIX_CHARACTERS} characters:"
                f" {prefix!r}"
            )
    if len(prefixes) > MOST_PREFIXES:
        raise ValueError(f"has {len(prefixes)} prefixes; at most {MOST_PREFIXES} are allowed")
    # In order, what begins with a prefix comes right after it.
    for shorter, longer in itertools.pairwise(sorted(prefixes)):
        if longer.startswith(shorter):
            raise ValueError(f"overlaps: {longer!r} begins with {shorter!r}, so name one alone")
    return Prefixes(prefixes)


def _services(text: str) -> Services:
    names = _names(text)
    for name in names:
        if not re.fullmatch(SERVICE, name):
            raise ValueError(f"names no Deployment, statefulset/<name> or rollout/<name>: {name!r}")
    return Services(names)


def _roles(text: str) -> Roles:
    names = _names(text) if text.strip() else ()
    for name in names:
        if not re.fullmatch(r"(arn:aws[a-z-]*:iam::\d{12}:role/)?[\w+=,.@/-]+", name, re.ASCII):
            raise ValueError(f"names no IAM role: {name!r}")
    return Roles(names)


def _one_of(kind: type[str], *choices: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return kind(text)

    return read


def _urls(text: str) -> Urls:
    return Urls(_url(name) for name in _names(text))


PARSERS: Mapping[type, Callable[[str], Any]] = {
    str: str,
    int: _number,
    bool: _truth,
    SecretArn: _secret_arn,
    Url: _url,
    OptionalUrl: _optional_url,
    Port: _port,
    Names: _names,
    Urls: _urls,
    Prefixes: _prefixes,
    Services: _services,
    Roles: _roles,
    DeliveryMode: _one_of(DeliveryMode, *DELIVERY_MODES),
    VaultAuthentication: _one_of(VaultAuthentication, *VAULT_AUTHENTICATIONS),
    VaultPath: _vault_path,
    ManualRotationMode: _one_of(ManualRotationMode, *MANUAL_ROTATION_MODES),
    RedisAuthentication: _one_of(RedisAuthentication, *REDIS_AUTHENTICATIONS),
    PurgeMode: _one_of(PurgeMode, *PURGE_MODES),
    PurgePace: _one_of(PurgePace, *PURGE_PACES),
}
