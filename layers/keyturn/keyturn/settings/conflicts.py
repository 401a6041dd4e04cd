"""Settings that are well-formed alone and conflict with each other. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from keyturn.settings.types import is_loopback

Values = Mapping[str, Any]


def find(values: Values) -> list[str]:
    """Each conflict as a sentence; `values` are the settings that could be read, by field."""
    return [*_of_delivery(values), *_of_vault(values), *_of_redis(values), *_of_urls(values)]


def _of_delivery(values: Values) -> Iterator[str]:
    if values.get("delivery_mode") == "external-secrets" and values.get("external_secret") == "":
        yield "EXTERNAL_SECRET is missing (DELIVERY_MODE is external-secrets)"


def _of_vault(values: Values) -> Iterator[str]:
    if values.get("delivery_mode") != "vault" or "vault_authentication" not in values:
        return
    for name in ("vault_address", "vault_path"):
        if name in values and not values[name]:
            yield f"{name.upper()} is missing (DELIVERY_MODE is vault)"
    authentication = values["vault_authentication"]
    needed = "vault_role" if authentication == "iam" else "vault_credentials_secret"
    if not values.get(needed):
        yield f"{needed.upper()} is missing (VAULT_AUTHENTICATION is {authentication})"
    address = values.get("vault_address", "")
    if address.startswith("http:") and not is_loopback(address):
        yield f"VAULT_ADDRESS {address} is not https, and not a loopback address"


def _of_redis(values: Values) -> Iterator[str]:
    authentication = values.get("redis_authentication")
    if authentication == "password" and not values.get("redis_password_secret"):
        yield "REDIS_PASSWORD_SECRET is missing (REDIS_AUTHENTICATION is password)"
    if authentication == "iam":
        for name in ("redis_user", "redis_cache_name"):
            if not values.get(name):
                yield f"{name.upper()} is missing (REDIS_AUTHENTICATION is iam)"
    if authentication in {"password", "iam"} and not values.get("redis_tls", True):
        yield f"REDIS_TLS is false (REDIS_AUTHENTICATION is {authentication}, which needs TLS)"


def _of_urls(values: Values) -> Iterator[str]:
    for url in (*values.get("health_urls", ()), values.get("login_url", "")):
        if url.startswith("http:") and not is_loopback(url):
            yield f"{url} is not https, and not this machine itself"
