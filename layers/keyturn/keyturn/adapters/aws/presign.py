"""A signed AWS request that another service sends: proof of the caller's identity.

Signing is offline and takes about a millisecond, so nothing is cached that could outlive its
credentials.
"""

import functools
from collections.abc import Mapping

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.model import ServiceId
from botocore.regions import EndpointResolver
from botocore.signers import RequestSigner

from keyturn import errors


class Presigner:
    """Signs requests of one service with the function's own credentials."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._session = botocore.session.get_session()

    @property
    def region(self) -> str:
        """The function's own Region."""
        return str(self._session.get_config_variable("region"))

    def sign(self, url: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
        """The URL with a signature that is valid for so many seconds. Raises AccessDenied."""
        signer = RequestSigner(
            ServiceId(self._service),
            self.region,
            self._service,
            "v4",
            self._credentials(),
            self._session.get_component("event_emitter"),
        )
        request = {
            "method": "GET",
            "url": url,
            "body": {},
            "headers": dict(headers or {}),
            "context": {},
        }
        signed: str = signer.generate_presigned_url(
            request, operation_name="", region_name=self.region, expires_in=seconds
        )
        return signed

    def sign_post(self, url: str, body: str, headers: Mapping[str, str]) -> dict[str, str]:
        """All headers of a POST, those given and its signature over them. Raises AccessDenied."""
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(headers))
        SigV4Auth(self._credentials(), self._service, self.region).add_auth(request)
        return dict(request.headers.items())

    def _credentials(self) -> Credentials:
        """Not `session.get_credentials()`, which keeps its first result."""
        try:
            credentials = self._session.get_component("credential_provider").load_credentials()
        except BotoCoreError as error:
            raise _no_credentials() from error
        if credentials is None:
            raise _no_credentials()
        return credentials


@functools.cache
def sts_endpoint(region: str) -> str:
    """The URL of the Security Token Service in a Region, from botocore's endpoint data.

    A Region that is newer than the data is assumed to be in the partition `aws`, as in botocore's
    clients. The data is used instead of a client, because `AWS_ENDPOINT_URL` names another host.
    """
    loader = botocore.session.get_session().get_component("data_loader")
    resolver = EndpointResolver(loader.load_data("endpoints"))
    endpoint = resolver.construct_endpoint("sts", region) or resolver.construct_endpoint(
        "sts", region, "aws"
    )
    return f"https://{endpoint['hostname']}"


def _no_credentials() -> errors.AccessDenied:
    return errors.AccessDenied("The function has no AWS credentials. Check its execution role.")
