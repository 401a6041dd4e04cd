"""A token that STS takes, by a signature that is computed here again."""

import base64
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from keyturn import errors
from keyturn.adapters.aws.eks import TOKEN_PREFIX, EksTokens
from local.cluster import timestamps
from local.cluster.eks_tokens import AccessEntry, user_of
from tests.aws_signatures import KEY_ID, SECRET_KEY, SESSION_TOKEN, Credentials, signature

CLUSTER = "production"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    return Credentials(monkeypatch)


def url_of(token: str) -> str:
    text = token.removeprefix(TOKEN_PREFIX)
    assert text != token
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


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
def test_a_function_without_credentials_is_denied_with_the_remedy(
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
