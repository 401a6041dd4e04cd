"""The adapter's TLS: EKS's authority is trusted though strict checks refuse it, and no other is."""

import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyturn import errors
from keyturn.adapters.certificate_authorities import context
from keyturn.adapters.kubernetes.api import KubernetesApi
from keyturn.settings.loading import ClusterSettings
from keyturn.settings.types import SecretArn, Url
from tests.conftest import AUTHORITIES

PATH = "/api/v1/namespaces/web/pods"


@dataclass(frozen=True)
class Authority:
    """A certificate authority as EKS makes them: no key identifiers in its certificates."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, address: str, folder: Path) -> Path:
        """A server's certificate and key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        made = _builder("server", self.name, key.public_key()).add_extension(names, critical=False)
        path = folder / f"{address}.pem"
        path.write_bytes(
            made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
    )


def authority() -> Authority:
    name, key = _name("kubernetes"), ec.generate_private_key(ec.SECP256R1())
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    builder = _builder("kubernetes", name, key.public_key())
    made = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    return Authority(name, key, made)


class NoPods(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"items": []}')

    def log_message(self, *_: object) -> None:
        return


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that the client breaks off is what these tests are about."""


@contextmanager
def serving(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with QuietServer(("127.0.0.1", 0), NoPods) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def api(port: int, trusted: Authority) -> KubernetesApi:
    where = ("laptop", Url(f"https://127.0.0.1:{port}"), "web")
    return KubernetesApi(ClusterSettings(SecretArn(AUTHORITIES), *where), lambda: trusted.pem)


def test_the_clusters_own_authority_is_trusted_without_key_identifiers(tmp_path: Path) -> None:
    ours = authority()
    with serving(ours.issue("127.0.0.1", tmp_path)) as port:
        assert api(port, ours).get(PATH) == {"items": []}


def test_such_a_certificate_is_what_the_strict_check_refuses(tmp_path: Path) -> None:
    """Python 3.13 makes VERIFY_X509_STRICT the default; this is why the flag is cleared."""
    ours = authority()
    made = context(ours.pem, "cluster")
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        serving(ours.issue("127.0.0.1", tmp_path)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="Key Identifier"),
    ):
        made.wrap_socket(plain, server_hostname="127.0.0.1")


def test_another_authority_is_refused(tmp_path: Path) -> None:
    with (
        serving(authority().issue("127.0.0.1", tmp_path)) as port,
        pytest.raises(errors.ClusterNotTrusted),
    ):
        api(port, authority()).get(PATH)


def test_another_hosts_certificate_is_refused(tmp_path: Path) -> None:
    ours = authority()
    with (
        serving(ours.issue("127.0.0.2", tmp_path)) as port,
        pytest.raises(errors.ClusterNotTrusted),
    ):
        api(port, ours).get(PATH)


def test_only_the_strict_flag_is_cleared() -> None:
    pem = authority().pem
    ours, plain = context(pem, "cluster"), ssl.create_default_context(cadata=pem)
    assert ours.verify_flags == plain.verify_flags & ~ssl.VERIFY_X509_STRICT
    assert ours.verify_mode == ssl.CERT_REQUIRED
    assert ours.check_hostname
    assert ours.minimum_version == plain.minimum_version


def test_an_authority_that_is_no_certificate_is_an_invalid_setting() -> None:
    for malformed in ("no certificate", ""):
        settings = ClusterSettings(SecretArn(AUTHORITIES), "laptop", Url("https://x"), "web")
        with pytest.raises(errors.SettingsInvalid, match="ClusterCertificateAuthority"):
            KubernetesApi(settings, lambda pem=malformed: pem).get(PATH)  # type: ignore[misc]


def test_an_authority_that_is_replaced_is_trusted_by_what_runs(tmp_path: Path) -> None:
    """And the one before is trusted no more: nothing is kept beside it."""
    before, after = authority(), authority()
    trusted = [before]
    with serving(after.issue("127.0.0.1", tmp_path)) as port:
        where = ("laptop", Url(f"https://127.0.0.1:{port}"), "web")
        settings = ClusterSettings(SecretArn(AUTHORITIES), *where)
        running = KubernetesApi(settings, lambda: trusted[-1].pem)
        with pytest.raises(errors.ClusterNotTrusted):
            running.get(PATH)
        trusted.append(after)
        assert running.get(PATH) == {"items": []}
