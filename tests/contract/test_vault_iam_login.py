"""The AWS IAM login, against a stub at HTTP level: OpenBao has no AWS auth method.

The stub does what Vault's documentation and source (`builtin/credential/aws/path_login.go`) say
that Vault does with `auth/aws/login`: it decodes the request, wants the server id in a signed
header and no other X-Amz header than those it knows, and would then send the call to STS. In place
of STS, the stub checks the signature itself, as AWS documents it (Signature Version 4). What a real
Vault and a real STS say has not been seen here.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.certificate_authorities import of_the_system
from keyturn.adapters.vault.connection import connect
from keyturn.adapters.vault.login import IamLogin, login_of
from keyturn.settings.types import VaultAuthentication, VaultPath
from tests.contract.vault_secret import settings

KEY_ID, SECRET_KEY = "AKIDEXAMPLE", secrets.token_urlsafe(30)
SESSION_TOKEN = secrets.token_urlsafe(60)
SERVER_ID, ROLE = "vault.example.com", "keyturn"
# `defaultAllowedSTSRequestHeaders` of Vault's `backend.go`.
KNOWN = {
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-Signedheaders",
    "X-Amz-User-Agent",
}


class Refused(Exception):
    """What Vault or STS would say no to."""


def judge(path: str, call: dict[str, str]) -> str:
    """The login as Vault and STS judge it; returns the region that the call was signed for."""
    if path != "/v1/auth/aws/eu/login" or call["role"] != ROLE:
        raise Refused("no such auth method or role")
    if call["iam_http_request_method"] != "POST":
        raise Refused("the method has to be POST")
    url, body, spelt = (
        base64.b64decode(call[f"iam_request_{name}"]).decode()
        for name in ("url", "body", "headers")
    )
    headers: dict[str, str] = json.loads(spelt)
    for name in headers:
        if name.title().startswith("X-Amz-") and name.title() not in KNOWN:
            raise Refused(f"invalid request header: {name}")
    if headers.get("X-Vault-AWS-IAM-Server-ID") != SERVER_ID:
        raise Refused("another server id, or none")
    if body != "Action=GetCallerIdentity&Version=2011-06-15":
        raise Refused("another call")
    return signed_region(url, body, headers)


def signed_region(url: str, body: str, headers: dict[str, str]) -> str:
    """Check Signature Version 4 of a POST to the root of its host."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sts/aws4_request,"
        r" SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        headers["Authorization"],
    )
    if not found or found[1] != KEY_ID:
        raise Refused("no signature of the role")
    _, day, region, names, signature = found.groups()
    lower = {name.lower(): value for name, value in headers.items()}
    if url != f"https://{lower['host']}/" or lower["host"] != f"sts.{region}.amazonaws.com":
        raise Refused("signed for another host than it is sent to")
    if not {"host", "x-vault-aws-iam-server-id", "x-amz-date"} <= {*names.split(";")}:
        raise Refused("the server id is not signed")
    if lower["x-amz-security-token"] != SESSION_TOKEN:
        raise Refused("another session")
    canonical = "\n".join(
        [
            "POST",
            "/",
            "",
            *(f"{name}:{lower[name]}" for name in names.split(";")),
            "",
            names,
            hashlib.sha256(body.encode()).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/sts/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{lower['x-amz-date']}\n{scope}\n{hashed}"
    derived = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    if hmac.new(derived, text.encode(), hashlib.sha256).hexdigest() != signature:
        raise Refused("SignatureDoesNotMatch")
    return region


class Stub:
    """The HTTP side of it: 200 with a token, or 400 with the reason, as Vault answers."""

    def __init__(self) -> None:
        self.judged: list[str] = []
        self.bodies: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.bodies.append(text)
                status, answer = outer.answer(self.path, json.loads(text))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, call: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            self.judged.append(judge(path, call))
        except Refused as no:
            return 400, {"errors": [str(no)]}
        return 200, {"auth": {"client_token": "hvs.given", "lease_duration": 300}}


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    thread = Thread(target=stub.server.serve_forever)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's credentials, as Lambda puts them into the environment."""
    for name in ("AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION_TOKEN)


def log_in(stub: Stub, **changes: Any) -> Any:
    given = {
        "vault_authentication": VaultAuthentication("iam"),
        "vault_auth_mount": VaultPath("aws/eu"),
        "vault_role": ROLE,
        "vault_server_id": SERVER_ID,
        "vault_credentials_secret": "",
    }
    configured = settings(stub.address, **{**given, **changes})
    client = connect(configured, of_the_system)
    login_of(configured).log_in(client)
    return client


def test_the_signed_call_is_taken_and_its_token_is_used(stub: Stub) -> None:
    assert log_in(stub).token == "hvs.given"
    assert stub.judged == ["eu-central-1"]


def test_it_is_signed_for_the_functions_own_region(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    log_in(stub)
    assert stub.judged == ["us-east-2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"vault_server_id": "another-vault"},
        {"vault_server_id": ""},
        {"vault_role": "somebody-else"},
        {"vault_auth_mount": VaultPath("aws")},
    ],
    ids=["another server", "no server", "another role", "another mount"],
)
def test_a_login_that_vault_refuses_is_named(changes: dict[str, Any], stub: Stub) -> None:
    with pytest.raises(errors.VaultLoginRefused, match="VaultServerId"):
        log_in(stub, **changes)
    assert stub.judged == []


def test_a_call_that_was_changed_on_its_way_is_refused(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    with pytest.raises(errors.VaultLoginRefused):
        log_in(stub)


def test_no_secret_of_the_role_goes_over_the_wire(stub: Stub) -> None:
    log_in(stub)
    (sent,) = stub.bodies
    assert SECRET_KEY not in sent
    assert SECRET_KEY not in base64.b64decode(json.loads(sent)["iam_request_headers"]).decode()


def test_without_credentials_nothing_is_sent(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(errors.AccessDenied, match="no AWS credentials"):
        log_in(stub)
    assert stub.bodies == []


def test_each_login_is_the_one_that_is_configured(stub: Stub) -> None:
    configured = settings(stub.address, vault_authentication=VaultAuthentication("iam"))
    assert isinstance(login_of(configured), IamLogin)
