"""A token that STS takes, by a signature that is computed here again."""

import base64
import hashlib
import hmac
import secrets
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from keyturn import errors
from keyturn.adapters.aws.eks import TOKEN_PREFIX, EksTokens
from local.cluster import timestamps
from local.cluster.eks_tokens import AccessEntry, user_of

CLUSTER = "production"
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


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    return Credentials(monkeypatch)


def url_of(token: str) -> str:
    text = token.removeprefix(TOKEN_PREFIX)
    assert text != token
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def hashed(key: bytes, text: str) -> bytes:
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
        key = hashed(key, part)
    return f"{query}&X-Amz-Signature={hashed(key, to_sign).hex()}"


def presigned(region: str, host: str, session_token: str | None) -> str:
    """The URL that a token for EKS is made of."""
    headers = {"host": host, "x-k8s-aws-id": CLUSTER}
    parameters = {"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Expires": "60"}
    return f"https://{host}/?{signature('sts', region, headers, parameters, session_token)}"


def parts(url: str) -> tuple[str, str, str, dict[str, str]]:
    """A URL's parts; the order of its parameters does not matter, their doubling does."""
    split = urlsplit(url)
    pairs = parse_qsl(split.query, strict_parsing=True, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return split.scheme, split.netloc, split.path, dict(pairs)


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("cn-northwest-1", "sts.cn-northwest-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"),
    ],
)
@pytest.mark.parametrize("session_token", [SESSION_TOKEN, None], ids=["role", "user"])
def test_a_token_is_the_presigned_url_that_a_signature_by_hand_gives(
    region: str, host: str, session_token: str | None, credentials: Credentials
) -> None:
    credentials.be_in(region)
    if session_token is None:
        credentials.be_gone("AWS_SESSION_TOKEN")
    token = EksTokens(CLUSTER).mint()
    assert parts(url_of(token)) == parts(presigned(region, host, session_token))


def test_a_token_is_what_eks_takes_and_only_for_its_own_cluster(credentials: Credentials) -> None:
    entry = AccessEntry(SECRET_KEY, "session-key-rotator", ())
    token = EksTokens(CLUSTER).mint()
    assert len(token) < 4096
    found = user_of(token, CLUSTER, {KEY_ID: entry}.get, timestamps.now())
    assert found.name == "session-key-rotator"
    assert SECRET_KEY not in url_of(token)


def key_id_of(token: str) -> str:
    *_, parameters = parts(url_of(token))
    return parameters["X-Amz-Credential"].split("/")[0]


def test_every_token_is_made_of_the_credentials_of_its_moment(credentials: Credentials) -> None:
    tokens = EksTokens(CLUSTER)
    assert key_id_of(tokens.mint()) == KEY_ID
    credentials.be("AKIDRENEWED", secrets.token_urlsafe(30), "renewed")
    token = tokens.mint()
    assert key_id_of(token) == "AKIDRENEWED"
    *_, parameters = parts(url_of(token))
    assert parameters["X-Amz-Security-Token"] == "renewed"
    credentials.be_gone()
    with pytest.raises(errors.AccessDenied):
        tokens.mint()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda credentials: credentials.be_gone(),
        lambda credentials: credentials.be_gone("AWS_SECRET_ACCESS_KEY"),
    ],
    ids=["none", "half of them"],
)
def test_a_function_without_credentials_is_denied_and_told_where_they_come_from(
    spoil: Callable[[Any], None], credentials: Credentials
) -> None:
    spoil(credentials)
    with pytest.raises(errors.AccessDenied, match="execution role") as denied:
        EksTokens(CLUSTER).mint()
    assert SECRET_KEY not in f"{denied.value!r} {denied.value.__cause__!r}"


def test_a_minter_shows_no_credentials(credentials: Credentials) -> None:
    tokens = EksTokens(CLUSTER)
    tokens.mint()
    assert SECRET_KEY not in f"{tokens!r} {vars(tokens)!r}"
