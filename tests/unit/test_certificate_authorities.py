"""From the stack's own secret, and as it is now."""

import base64
import json
import ssl
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters import certificate_authorities
from keyturn.adapters.aws import client
from local.cluster.certificates import CertificateAuthority
from tests.conftest import AUTHORITIES

PEM = CertificateAuthority("cluster").pem


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Stored:
    """What the secret holds, in place of Secrets Manager, and how often it was read."""

    def __init__(self, **fields: str) -> None:
        self.fields: Any = {"cluster": encoded(PEM), "redis": "", "vault": "", **fields}
        self.reads = 0
        self.fault: Exception | None = None

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - boto3's own name
        assert SecretId == AUTHORITIES
        self.reads += 1
        if self.fault:
            raise self.fault
        return {"SecretString": json.dumps(self.fields)}


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(certificate_authorities, "time", made)
    return made


def reader(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> certificate_authorities.StoredAuthorities:
    monkeypatch.setattr(client, "client", lambda _service: stored)
    return certificate_authorities.StoredAuthorities(AUTHORITIES)


def denied(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetSecretValue")


def test_each_server_has_its_own_and_one_without_has_those_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = CertificateAuthority("redis").pem
    read = reader(Stored(redis=encoded(other)), monkeypatch)
    assert (read.of("cluster")(), read.of("redis")(), read.of("vault")()) == (PEM, other, "")


def test_nothing_is_read_before_a_connection_is_made_and_then_once_a_minute(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored()
    read = reader(stored, monkeypatch)
    cluster, redis = read.of("cluster"), read.of("redis")
    assert stored.reads == 0
    cluster()
    redis()
    assert stored.reads == 1
    stored.fields["redis"] = encoded(PEM)
    clock.seconds += certificate_authorities.KEPT_SECONDS
    assert redis() == PEM
    assert stored.reads == 2


def test_a_read_that_fails_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored()
    read = reader(stored, monkeypatch)
    stored.fault = denied("ThrottlingException")
    with pytest.raises(errors.SecretsManagerUnavailable):
        read.of("cluster")()
    stored.fault = None
    assert read.of("cluster")() == PEM


def test_a_secret_that_is_denied_or_gone_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for code, error in (
        ("AccessDeniedException", errors.AccessDenied),
        ("ResourceNotFoundException", errors.SettingsInvalid),
    ):
        stored = Stored()
        stored.fault = denied(code)
        with pytest.raises(error, match=AUTHORITIES):
            reader(stored, monkeypatch).of("vault")()


@pytest.mark.parametrize("text", ["no base64", encoded("é"), 7, None])
def test_what_is_no_base64_of_ascii_names_its_parameter(
    text: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reader(Stored(vault=text), monkeypatch)
    with pytest.raises(errors.SettingsInvalid, match=r"^VaultCertificateAuthority is not base64"):
        read.of("vault")()


@pytest.mark.parametrize("fields", [["cluster"], {}, "text", None])
def test_a_secret_of_another_form_names_the_parameter(
    fields: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored()
    stored.fields = fields
    with pytest.raises(errors.SettingsInvalid, match="ClusterCertificateAuthority"):
        reader(stored, monkeypatch).of("cluster")()


def test_without_an_authority_those_of_the_system_are_trusted_strictly() -> None:
    made = certificate_authorities.context(certificate_authorities.of_the_system(), "redis")
    assert made.verify_flags == ssl.create_default_context().verify_flags


def test_what_is_in_base64_and_no_certificate_names_its_parameter() -> None:
    with pytest.raises(errors.SettingsInvalid, match="RedisCertificateAuthority"):
        certificate_authorities.context("no certificate", "redis")
