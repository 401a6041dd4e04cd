"""The credentials of a function, and the signature that AWS computes with them."""

import hashlib
import hmac
import secrets
import string
from urllib.parse import quote

import pytest

KEY_ID = "AKIDEXAMPLE"
SECRET_KEY = secrets.token_urlsafe(30)
SESSION_TOKEN = "".join(secrets.choice(string.ascii_letters + "+/=") for _ in range(400))


class Credentials:
    """The function's credentials, as Lambda puts them into the environment."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        for name in ("AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, "/nonexistent")
        self.be_in("eu-central-1")
        self.be(KEY_ID, SECRET_KEY, SESSION_TOKEN)

    def be(self, key_id: str, secret_key: str, session_token: str | None = None) -> None:
        self.patch.setenv("AWS_ACCESS_KEY_ID", key_id)
        self.patch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        if session_token is not None:
            self.patch.setenv("AWS_SESSION_TOKEN", session_token)

    def be_in(self, region: str) -> None:
        self.patch.setenv("AWS_DEFAULT_REGION", region)

    def be_gone(self, *names: str) -> None:
        for name in names or ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            self.patch.delenv(name, raising=False)


def _hashed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(
    service: str,
    region: str,
    headers: dict[str, str],
    parameters: dict[str, str],
    session_token: str | None,
) -> str:
    """The signed query for noon, after AWS's "Create a signed AWS API request" and no SDK.

    Query-string signing: the parameters are signed but for the signature, and the headers are.
    """
    stamp, day = "20261124T120000Z", "20261124"
    scope = f"{day}/{region}/{service}/aws4_request"
    signed = ";".join(sorted(headers))
    parameters = {
        **parameters,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY_ID}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-SignedHeaders": signed,
    }
    if session_token is not None:
        parameters["X-Amz-Security-Token"] = session_token
    encoded = {name: quote(value, safe="-_.~") for name, value in parameters.items()}
    query = "&".join(f"{name}={encoded[name]}" for name in sorted(encoded))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    empty = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n/\n{query}\n{lines}\n{signed}\n{empty}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _hashed(key, part)
    return f"{query}&X-Amz-Signature={_hashed(key, to_sign).hex()}"
