"""A presigned AWS request: proof of who we are that another service checks.

Signing is offline and takes about a millisecond, so nothing is cached that could outlive its
credentials.
"""

from collections.abc import Mapping

import botocore.session
from botocore.exceptions import BotoCoreError
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from keyturn import errors


class Presigner:
    """Signs GET requests of one service with the function's own credentials."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._session = botocore.session.get_session()

    @property
    def region(self) -> str:
        """The function's own region."""
        return str(self._session.get_config_variable("region"))

    def sign(self, url: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
        """The URL with a signature that is good for so many seconds. Raises AccessDenied."""
        try:
            # Not `session.get_credentials()`, which keeps what it found first.
            credentials = self._session.get_component("credential_provider").load_credentials()
        except BotoCoreError as error:
            raise _no_credentials() from error
        if credentials is None:
            raise _no_credentials()
        signer = RequestSigner(
            ServiceId(self._service),
            self.region,
            self._service,
            "v4",
            credentials,
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


def _no_credentials() -> errors.AccessDenied:
    return errors.AccessDenied("The function has no AWS credentials. Check its execution role.")
