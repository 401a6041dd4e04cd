"""The certificate authorities that sign for the cluster, Redis and Vault.

The stack creates a secret for them from its parameters: a certificate is
too long for a function's environment, of which Lambda permits 4,096 bytes (docs/decisions/0021).
They are read when a connection is made and kept for a minute, so that running functions follow a
deployment that replaces one.
"""

import base64
import json
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from keyturn import errors
from keyturn.adapters.aws import client, stored_credentials

KEPT_SECONDS = 60.0

Server = Literal["cluster", "redis", "vault"]
Authority = Callable[[], str]
"""Certificates in PEM; an empty text stands for those that the system trusts."""

PARAMETERS: dict[Server, str] = {
    "cluster": "ClusterCertificateAuthority",
    "redis": "RedisCertificateAuthority",
    "vault": "VaultCertificateAuthority",
}


def of_the_system() -> str:
    """The Authority of a server with a public certificate."""
    return ""


class StoredAuthorities:
    """The secret: a JSON object of certificates in PEM, in base64, by the server they are for."""

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._client = client.client("secretsmanager")
        self._stored = ""
        self._kept_until = 0.0

    def of(self, server: Server) -> Authority:
        """The Authority of a server. Raises SettingsInvalid and Secrets Manager's errors."""
        return partial(self._pem, server)

    def _pem(self, server: Server) -> str:
        if time.time() >= self._kept_until:
            self._stored = self._read()
            self._kept_until = time.time() + KEPT_SECONDS
        try:
            return base64.b64decode(json.loads(self._stored)[server], validate=True).decode("ascii")
        except (ValueError, KeyError, TypeError) as malformed:
            raise invalid(PARAMETERS[server]) from malformed

    def _read(self) -> str:
        missing = errors.SettingsInvalid(
            f"The secret {self._secret_arn} of the stack's certificate authorities does not exist"
            " or has no value. Nothing was done. Deploy the stack again."
        )
        return stored_credentials.read_credentials(self._client, self._secret_arn, missing)


def context(pem: str, server: Server) -> ssl.SSLContext:
    """Trust these authorities and no other, or those of the system. Raises SettingsInvalid.

    A private authority, EKS's among them, often has no Authority Key Identifier, which Python
    3.13's VERIFY_X509_STRICT refuses; that one flag is cleared. Certificate and host name are
    checked.
    """
    if not pem:
        return ssl.create_default_context()
    try:
        made = ssl.create_default_context(cadata=pem)
    except ssl.SSLError as malformed:
        raise invalid(PARAMETERS[server]) from malformed
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


def invalid(parameter: str) -> errors.SettingsInvalid:
    """The error of an authority that does not match its parameter."""
    return errors.SettingsInvalid(
        f"{parameter} is not base64 of certificates in PEM. Nothing was done. Correct it and"
        " deploy."
    )
