"""How Vault refuses, and how each refusal is named; on real servers wherever OpenBao does it.

A server that is silent, or sends clients elsewhere, is a few lines of sockets here.
"""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import hvac
import pytest

from keyturn import errors
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.certificate_authorities import of_the_system
from keyturn.adapters.vault import connection
from keyturn.settings.types import VaultAuthentication, VaultPath
from local.cluster.certificates import CertificateAuthority
from local.processes import Processes
from local.vault_server import VaultServer
from tests.contract.vault_secret import FIELD, MOUNT, NOW, PATH, POLICY, Site, Stored, settings, use


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as found:
        yield found


@pytest.fixture(scope="module")
def server(processes: Processes) -> Iterator[VaultServer]:
    with VaultServer(processes) as server:
        yield server


@pytest.fixture(scope="module")
def tls_server(processes: Processes) -> Iterator[VaultServer]:
    with VaultServer(processes, tls=True) as server:
        yield server


def prepared(server: VaultServer, patch: pytest.MonkeyPatch) -> Site:
    """A site whose secret holds the old key."""
    site = Site(server)
    patch.setattr(aws_client, "client", use(Stored(site.credentials)))
    site.grant()
    site.kept.put({FIELD: site.old.base64})
    return site


@pytest.fixture
def site(server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    return prepared(server, monkeypatch)


def refused(site: Site, error: type[errors.KeyturnError], match: str, **changes: Any) -> None:
    """Both the checks and the delivery meet the error, and its words are neither key nor token."""
    for call in (
        lambda: site.delivery(**changes).check_ready(),
        lambda: site.delivery(**changes).deliver(site.promoted(), {}, NOW),
    ):
        with pytest.raises(error, match=match) as told:
            call()
        shown = f"{told.value!r} {told.value} {told.value.__cause__!r} {told.value.__cause__}"
        for hidden in (site.new.base64, site.old.base64, *site.credentials.values()):
            assert hidden not in shown


def test_a_sealed_server_is_named_and_one_that_is_unsealed_is_written(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VaultServer(processes) as server:
        site = prepared(server, monkeypatch)
        server.seal()
        refused(site, errors.VaultSealed, "is sealed and serves no requests")
        server.unseal()
        assert site.delivery().deliver(site.promoted(), {}, NOW)["written"]


def test_a_server_that_is_gone_is_unavailable(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VaultServer(processes) as server:
        site = prepared(server, monkeypatch)
    refused(site, errors.VaultUnavailable, "does not answer")


def test_a_mount_of_version_1_is_refused_before_anything_is_promoted(site: Site) -> None:
    client = site.server.client()
    client.sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret(PATH, {FIELD: site.old.base64}, mount_point="old")
    site.grant(POLICY.replace(f'"{MOUNT}/', '"old/'))
    with pytest.raises(errors.VaultNotVersioned, match="kv enable-versioning old"):
        site.delivery(vault_mount=VaultPath("old")).check_ready()
    with pytest.raises(errors.VaultSecretNotFound):
        site.delivery(vault_mount=VaultPath("old")).deliver(site.promoted(), {}, NOW)
    found = client.secrets.kv.v1.read_secret(PATH, mount_point="old")
    assert found["data"] == {FIELD: site.old.base64}


def test_another_engine_is_refused(site: Site) -> None:
    site.grant('path "cubbyhole/*" { capabilities = ["read"] }')
    with pytest.raises(errors.VaultNotVersioned):
        site.delivery(vault_mount=VaultPath("cubbyhole")).check_ready()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"vault_mount": VaultPath("nowhere")}, "no mount at nowhere"),
        ({"vault_path": VaultPath("trading-platform/other")}, "other does not exist"),
        ({"vault_field": "KEY_OF_SESSIONS"}, "has no text KEY_OF_SESSIONS"),
    ],
    ids=["mount", "path", "field"],
)
def test_what_does_not_exist_is_named(changes: dict[str, Any], match: str, site: Site) -> None:
    everywhere = POLICY.replace(f'"{MOUNT}/', '"+/').replace("web-console", "*")
    site.grant(everywhere)
    before = site.kept.version()
    refused(site, errors.VaultSecretNotFound, match, **changes)
    assert site.kept.version() == before


def test_a_role_without_rights_is_denied_by_path_and_capability(site: Site) -> None:
    site.grant('path "sys/capabilities-self" { capabilities = ["update"] }')
    refused(site, errors.AccessDenied, f"`read` {MOUNT}/data/{PATH}")


def test_a_login_that_is_wrong_is_refused(site: Site) -> None:
    site.credentials["secret_id"] = "00000000-0000-0000-0000-000000000000"
    refused(site, errors.VaultLoginRefused, "refuses the login at auth/approle")


def test_an_auth_method_that_is_not_there_is_a_refused_login(site: Site) -> None:
    refused(
        site, errors.VaultLoginRefused, "auth/elsewhere", vault_auth_mount=VaultPath("elsewhere")
    )


def test_a_token_that_is_good_no_more_is_denied(site: Site) -> None:
    site.credentials.clear()
    site.credentials["token"] = "s.revoked-long-ago"
    token = VaultAuthentication("token")
    refused(site, errors.AccessDenied, f"{MOUNT}/data/{PATH}", vault_authentication=token)


@pytest.mark.parametrize(
    "fields", [{}, {"role_id": "x"}, {"role_id": "x", "secret_id": ""}, {"token": "x"}]
)
def test_credentials_that_are_not_whole_are_not_sent(fields: dict[str, str], site: Site) -> None:
    site.credentials.clear()
    site.credentials.update(fields)
    with pytest.raises(errors.VaultLoginRefused, match="text fields role_id, secret_id"):
        site.delivery().check_ready()


def test_a_private_authority_is_trusted_and_no_other_is(
    tls_server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = prepared(tls_server, monkeypatch)
    own = {"authority": tls_server.ca_pem}
    site.delivery(**own).check_ready()
    assert site.delivery(**own).deliver(site.promoted(), {}, NOW)["written"]
    other = CertificateAuthority("somebody else").pem
    for authority in ("", other):
        refused(
            site,
            errors.VaultNotTrusted,
            "is not trusted",
            authority=authority,
        )


def test_a_private_authority_does_not_bring_in_those_of_the_system(
    tls_server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And requests adds none of its own to the context, which its adapter else would."""
    site = prepared(tls_server, monkeypatch)
    secret = site.secret(authority=tls_server.ca_pem)
    secret.check_access()
    context = secret._connection.session.get_adapter("https://vault.test")._context
    assert len(context.get_ca_certs()) == 1


def test_an_authority_that_is_none_is_told_before_vault_is_asked(site: Site) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"
    with pytest.raises(errors.SettingsInvalid, match="VaultCertificateAuthority"):
        site.secret(address="https://vault.test", authority=broken).read()


def test_a_secret_in_a_namespace_is_found_with_its_name_and_not_without(
    site: Site, server: VaultServer
) -> None:
    server.client().adapter.post("/v1/sys/namespaces/team")
    client = server.client(namespace="team")
    client.sys.enable_secrets_engine("kv", path=MOUNT, options={"version": "2"})
    role = server.enable_approle(POLICY, namespace="team")
    site.credentials.update(role_id=role.role_id, secret_id=role.secret_id)
    there = {"vault_namespace": "team"}
    with pytest.raises(errors.VaultSecretNotFound):
        site.delivery(**there).check_ready()
    client.secrets.kv.v2.create_or_update_secret(PATH, {FIELD: site.old.base64})
    before = site.kept.version()
    site.delivery(**there).check_ready()
    delivered = site.delivery(**there).deliver(site.promoted(), {}, NOW)
    assert delivered["target"] == f"Vault team/{MOUNT}/{PATH}"
    assert site.kept.version() == before
    refused(site, errors.VaultLoginRefused, "VaultNamespace")
    refused(site, errors.VaultLoginRefused, "VaultNamespace", vault_namespace="other")


def test_nothing_is_taken_from_the_environment_or_from_files(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """What hvac and requests would read: it leads nowhere, and is not looked at."""
    for name in ("VAULT_ADDR", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "s.of-somebody-else")
    monkeypatch.setenv("VAULT_NAMESPACE", "nowhere")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    (tmp_path / ".vault-token").write_text("s.of-somebody-else")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("VAULT_CLIENT_CERT", "VAULT_CACERT", "VAULT_CAPATH"):  # read when it is imported
        monkeypatch.setattr(hvac.v1, name, str(tmp_path / "none.pem"))
    secret = site.secret()
    unused = connection.connect(settings(site.server.address), of_the_system)
    assert unused.token == ""
    secret.check_access()
    assert site.delivery().deliver(site.promoted(), {}, NOW)["written"]


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """A server that answers every request so; yields its address, and the headers that came."""
    seen: list[Mapping[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(dict(self.headers.items()))
            answer(self)

        do_GET = do_POST = handle_one  # noqa: N815 - as http.server calls them

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def with_status(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_a_standby_that_sends_us_elsewhere_is_not_followed(site: Site) -> None:
    with answering(with_status(200)) as (elsewhere, arrived):
        sent = with_status(307, Location=f"{elsewhere}/v1/secret")
        with answering(sent) as (address, _):
            refused(site, errors.VaultUnavailable, "standby and redirected", address=address)
    assert arrived == []


@pytest.mark.parametrize("status", [412, 429, 500, 502, 504])
def test_a_server_that_cannot_now_is_tried_again(status: int, site: Site) -> None:
    with answering(with_status(status, b'{"errors": ["not now"]}')) as (address, _):
        refused(site, errors.VaultUnavailable, "cannot `update`", address=address)


def test_what_is_no_vault_is_unavailable(site: Site) -> None:
    with answering(with_status(200, b"<html>It works!</html>")) as (address, _):
        refused(site, errors.VaultUnavailable, "does not answer", address=address)


def test_a_server_that_is_silent_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # The socket's time-out and the total deadline are the same here: either may be first.
        silence = r"does not answer (within 0\.2 s|\(ReadTimeout\))"
        refused(site, errors.VaultUnavailable, silence, address=address)


def test_another_refusal_of_a_write_is_no_conflict(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = site.secret().read()
    with answering(with_status(400, b'{"errors": ["too large"]}')) as (address, _):
        secret = site.secret(address=address)
        monkeypatch.setattr(secret._login, "log_in", lambda _client: None)
        with pytest.raises(errors.VaultRefused, match=f"`update` {MOUNT}/data/{PATH}"):
            secret.write(kept, site.new.base64)
