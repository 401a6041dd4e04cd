"""EKS's bearer tokens: a presigned request to AWS STS, which proves who signed it.

A token is `k8s-aws-v1.` and the base64url of a presigned GetCallerIdentity URL whose signature
covers the header `x-k8s-aws-id: <cluster>`. EKS sends that request to STS; here the signature is
computed again instead, from the secret key that the local stack gave out. Sources:
aws-iam-authenticator, pkg/token; AWS, "Authenticating Requests (AWS Signature Version 4)".
"""

import base64
import binascii
import functools
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import botocore.session
from botocore.regions import EndpointResolver

from local.cluster.rbac import User

PREFIX = "k8s-aws-v1."
LIFETIME = timedelta(minutes=15)
MAX_LENGTH = 4096

_PARAMETERS = {
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "x-amz-user-agent",
}


@dataclass(frozen=True)
class AccessEntry:
    """An EKS access entry: the key that a principal signs with, and who it is in the cluster."""

    secret_key: str = field(repr=False)
    user: str
    groups: tuple[str, ...]


CredentialsLookup = Callable[[str], AccessEntry | None]


class TokenRefusedError(Exception):
    """Why a token is not accepted, without a word of the token."""


def user_of(token: str, cluster: str, lookup: CredentialsLookup, now: datetime) -> User:
    """Return the user that a token stands for; `lookup` maps an access key id to its access entry.

    Raises `TokenRefusedError` with what is wrong.
    """
    url = _presigned_url(token)
    query = _parameters(url)
    _check_time(query["X-Amz-Date"], query["X-Amz-Expires"], now)
    key_id, *scope = query["X-Amz-Credential"].split("/")
    entry = lookup(key_id)
    _require(entry is not None, "no access entry for the access key")
    _require(len(scope) == 4, "the credential scope has not four parts")
    _require(query["X-Amz-Date"].startswith(scope[0]), "the credential scope is of another day")
    _require(scope[2:] == ["sts", "aws4_request"], "the credential scope is not that of STS")
    assert entry is not None  # noqa: S101 - for the type checker: required just above
    signature = _signature(entry.secret_key, cluster, url.netloc, query, scope)
    accepted = hmac.compare_digest(signature, query["X-Amz-Signature"])
    _require(accepted, "the signature is wrong: another secret key or another cluster")
    return User(entry.user, entry.groups)


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise TokenRefusedError(otherwise)


def _presigned_url(token: str) -> SplitResult:
    _require(len(token) <= MAX_LENGTH, "the token is longer than 4096 bytes")
    text = token.removeprefix(PREFIX)
    try:
        url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    except (binascii.Error, ValueError):
        raise TokenRefusedError("the token is not the base64url of a URL") from None
    _require(url.scheme == "https", "the URL is not https")
    _require(url.netloc in sts_hosts(), "the URL's host is not STS")
    _require(url.path == "/" and not url.fragment, "the URL's path is not /")
    return url


@functools.cache
def sts_hosts() -> frozenset[str]:
    """STS of every Region, and the global one, from botocore's data: aws-iam-authenticator's list.

    https://github.com/kubernetes-sigs/aws-iam-authenticator, pkg/token, stsHostsForPartition
    """
    loader = botocore.session.get_session().get_component("data_loader")
    resolver = EndpointResolver(loader.load_data("endpoints"))
    return frozenset(
        resolver.construct_endpoint("sts", region, partition)["hostname"]
        for partition in resolver.get_available_partitions()
        for region in resolver.get_available_endpoints("sts", partition, allow_non_regional=True)
    )


def _parameters(url: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(url.query, keep_blank_values=True)
    query = dict(pairs)
    _require(len(query) == len(pairs), "a parameter is there twice")
    _require(query.keys() <= _PARAMETERS, "a parameter is not permitted")
    missing = _PARAMETERS - {"X-Amz-Security-Token", "x-amz-user-agent"} - query.keys()
    _require(not missing, "a parameter is missing")
    action = (query["Action"], query["Version"])
    _require(action == ("GetCallerIdentity", "2011-06-15"), "the action is not GetCallerIdentity")
    _require(query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256", "the algorithm is not SigV4")
    signed = query["X-Amz-SignedHeaders"].lower().split(";")
    _require(sorted(signed) == ["host", "x-k8s-aws-id"], "the cluster's name is not signed")
    return query


def _check_time(date: str, expires: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise TokenRefusedError("X-Amz-Date is not a time") from None
    _require(abs(now - signed_at) <= LIFETIME, "the token was not made in the last 15 minutes")
    _require(expires.isdigit() and int(expires) <= 900, "X-Amz-Expires is not 0 to 900 seconds")


def _signature(
    secret_key: str, cluster: str, host: str, query: dict[str, str], scope: list[str]
) -> str:
    canonical_query = "&".join(
        f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}"
        for key, value in sorted(query.items())
        if key != "X-Amz-Signature"
    )
    canonical_request = (
        f"GET\n/\n{canonical_query}\nhost:{host}\nx-k8s-aws-id:{cluster}\n\n"
        f"host;x-k8s-aws-id\n{hashlib.sha256(b'').hexdigest()}"
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{'/'.join(scope)}\n{digest}"
    key = f"AWS4{secret_key}".encode()
    for part in (*scope, to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()
