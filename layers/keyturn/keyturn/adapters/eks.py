"""The bearer token of an EKS cluster: a presigned STS call, minted for each request.

EKS sends the presigned `GetCallerIdentity` to STS and so learns which role we are. Signing is
offline and takes about a millisecond, so nothing is cached that could outlive its credentials.
Source: aws-cli `eks get-token`; aws-iam-authenticator, "API Authorization from Outside a Cluster".
"""

import base64

import botocore.session
from botocore.exceptions import BotoCoreError
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from keyturn import errors

TOKEN_PREFIX = "k8s-aws-v1."  # noqa: S105 - the token format's name, not a secret
CLUSTER_HEADER = "x-k8s-aws-id"
URL_LIFETIME_SECONDS = 60


class EksTokens:
    """Mints tokens for one cluster with the function's own credentials."""

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._session = botocore.session.get_session()

    def mint(self) -> str:
        """A token that the cluster takes for 15 minutes. Raises AccessDenied."""
        region = self._session.get_config_variable("region")
        try:
            # Not `session.get_credentials()`, which keeps what it found first.
            credentials = self._session.get_component("credential_provider").load_credentials()
        except BotoCoreError as error:
            raise _no_credentials() from error
        if credentials is None:
            raise _no_credentials()
        signer = RequestSigner(
            ServiceId("sts"),
            region,
            "sts",
            "v4",
            credentials,
            self._session.get_component("event_emitter"),
        )
        url = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"{_sts_endpoint(region)}/?Action=GetCallerIdentity&Version=2011-06-15",
                "body": {},
                "headers": {CLUSTER_HEADER: self._cluster_name},
                "context": {},
            },
            operation_name="GetCallerIdentity",
            region_name=region,
            expires_in=URL_LIFETIME_SECONDS,
        )
        return TOKEN_PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _sts_endpoint(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sts.{region}.{suffix}"


def _no_credentials() -> errors.AccessDenied:
    return errors.AccessDenied("The function has no AWS credentials. Check its execution role.")
