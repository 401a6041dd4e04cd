"""EKS tokens, made by botocore's own signer, taken or refused."""

import base64
import secrets
from datetime import timedelta

import pytest

from local.cluster import timestamps
from local.cluster.eks_tokens import AccessEntry, TokenRefusedError, user_of
from tests.contract.cluster_under_test import KEY_ID, NAME, ROTATOR, eks_token
from tests.every_case import every_case

SECRET_KEY = secrets.token_urlsafe(30)
ENTRY = AccessEntry(SECRET_KEY, ROTATOR, ("session-key-rotator",))


def judge(token: str, later: timedelta = timedelta()) -> str:
    """The user's name, or why there is none."""
    try:
        return user_of(token, NAME, {KEY_ID: ENTRY}.get, timestamps.now() + later).name
    except TokenRefusedError as refusal:
        return str(refusal)


def changed(old: str, new: str) -> str:
    token = eks_token(KEY_ID, SECRET_KEY).removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert old in url
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.replace(old, new).encode()).decode()


def test_a_token_of_botocores_signer_is_taken() -> None:
    user = user_of(eks_token(KEY_ID, SECRET_KEY), NAME, {KEY_ID: ENTRY}.get, timestamps.now())
    assert (user.name, user.groups) == (ROTATOR, ("session-key-rotator",))


def test_a_token_lives_for_15_minutes() -> None:
    token = eks_token(KEY_ID, SECRET_KEY)
    assert judge(token, timedelta(minutes=14)) == ROTATOR
    assert judge(token, timedelta(minutes=16)) == "the token was not made in the last 15 minutes"


def test_a_token_for_another_cluster_is_refused() -> None:
    assert "another cluster" in judge(eks_token(KEY_ID, SECRET_KEY, "other"))


def test_a_token_signed_with_another_key_is_refused() -> None:
    assert "another secret key" in judge(eks_token(KEY_ID, secrets.token_urlsafe(30)))


def test_a_key_without_an_access_entry_is_refused() -> None:
    assert judge(eks_token("AKIDOTHER", SECRET_KEY)) == "no access entry for the access key"


@every_case(
    ("old", "new", "why"),
    [
        ("https://", "http://", "the URL is not https"),
        ("sts.eu-west-1.amazonaws.com", "sts.example.com", "the URL's host is not STS"),
        ("amazonaws.com/?", "amazonaws.com/other?", "the URL's path is not /"),
        ("GetCallerIdentity", "AssumeRole", "the action is not GetCallerIdentity"),
        ("host%3Bx-k8s-aws-id", "host", "the cluster's name is not signed"),
        ("X-Amz-Expires=60", "X-Amz-Expires=901", "X-Amz-Expires is not 0 to 900 seconds"),
        ("Version=", "Extra=1&Version=", "a parameter is not permitted"),
        ("Version=", "Version=1&Version=", "a parameter is there twice"),
        ("X-Amz-Expires=60&", "", "a parameter is missing"),
        ("X-Amz-Expires=60", "X-Amz-Expires=59", "the signature is wrong"),
    ],
)
def test_a_changed_token_is_refused(old: str, new: str, why: str) -> None:
    assert judge(changed(old, new)).startswith(why)


@pytest.mark.parametrize("token", ["k8s-aws-v1.", "k8s-aws-v1.!!", "k8s-aws-v1." + "A" * 5000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert judge(token) != ROTATOR


def test_an_access_entry_does_not_show_its_key() -> None:
    assert SECRET_KEY not in repr(ENTRY)
