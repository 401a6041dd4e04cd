"""The bearer token of an EKS cluster: a presigned STS call, minted for each request.

EKS sends the presigned `GetCallerIdentity` to STS and so learns the role of the caller.
Source: aws-cli `eks get-token`; aws-iam-authenticator, "API Authorization from Outside a Cluster".
"""

import base64

from keyturn.adapters.aws.presign import Presigner, sts_endpoint

TOKEN_PREFIX = "k8s-aws-v1."  # nosec B105  # noqa: S105 - the token format's name, not a secret
CLUSTER_HEADER = "x-k8s-aws-id"
URL_LIFETIME_SECONDS = 60


class EksTokens:
    """Mints tokens for one cluster with the function's own credentials."""

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._presigner = Presigner("sts")

    def mint(self) -> str:
        """A token that the cluster accepts for 15 minutes. Raises AccessDenied."""
        url = self._presigner.sign(
            f"{sts_endpoint(self._presigner.region)}/?Action=GetCallerIdentity&Version=2011-06-15",
            URL_LIFETIME_SECONDS,
            {CLUSTER_HEADER: self._cluster_name},
        )
        return TOKEN_PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
