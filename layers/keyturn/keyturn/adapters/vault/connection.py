"""A connection to Vault: hvac over a hardened session.

By default hvac and requests would read an address, a token, certificates, proxies and passwords
from the environment and from files, and follow a redirect with the token. Here only the settings
are used, a redirect is an error, and each call has a deadline.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import hvac
import requests
from hvac.adapters import JSONAdapter
from hvac.exceptions import (
    Forbidden,
    InvalidPath,
    InvalidRequest,
    Unauthorized,
    VaultDown,
    VaultError,
)
from requests.adapters import HTTPAdapter

from keyturn import errors
from keyturn.adapters import deadline
from keyturn.adapters.bounded_pools import bound
from keyturn.adapters.certificate_authorities import Authority, context

if TYPE_CHECKING:
    from keyturn.settings.loading import VaultSettings

SECONDS = 12.0
CONNECT_SECONDS = 3.0
ANSWER_BYTES = 4 * 1024 * 1024  # more than Vault keeps in one entry
SAFE = "It is safe to try again."


def connect(settings: "VaultSettings", authority: Authority) -> hvac.Client:
    """A client that is not logged in yet, and has opened no connection."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.mount("http://", _Bounded())
    if settings.vault_address.startswith("https:"):
        session.mount("https://", _Trusting(context(authority(), "vault")))
    return hvac.Client(
        url=settings.vault_address.rstrip("/"),
        token="",  # nosec B106 - none yet, and none from the environment
        cert=(),
        verify=True,
        timeout=(CONNECT_SECONDS, SECONDS),
        proxies={},
        allow_redirects=False,
        session=session,
        adapter=_Here,
        namespace=settings.vault_namespace or None,
    )


@contextmanager
def translate_errors(where: str, capability: str, path: str) -> Iterator[None]:
    """Translate the failures of one request; the caller catches those that it can name better.

    Errors of requests are not chained: they contain the request, and so its token and its body.
    """
    try:
        yield
    except (requests.RequestException, deadline.DeadlineExpired) as failed:
        raise _unanswered(failed, where) from None
    except Forbidden as error:
        raise errors.AccessDenied(
            f"Vault {where} does not permit the token to `{capability}` {path} (403). Nothing was"
            " changed by this call. Give the role the policy of vault/policy.hcl, with your names."
        ) from error
    except InvalidPath as error:
        raise errors.VaultSecretNotFound(
            f"Vault {where} has no secret at {path}. Nothing was changed by this call."
        ) from error
    except VaultDown as error:
        raise _down(error, where) from error
    except (InvalidRequest, Unauthorized) as error:
        raise errors.VaultRefused(
            f"Vault {where} refuses the request to `{capability}` {path}. Nothing was changed by"
            " this call. Vault's log has the reason."
        ) from error
    except VaultError as error:
        raise errors.VaultUnavailable(
            f"Vault {where} cannot `{capability}` {path} now ({type(error).__name__}). {SAFE}"
        ) from error


def _unanswered(failed: Exception, where: str) -> errors.KeyturnError:
    if isinstance(failed, requests.exceptions.SSLError):
        return errors.VaultNotTrusted(
            f"The certificate of the server at {where} is not trusted for that address. No token"
            " and no key was sent. Check VaultAddress and VaultCertificateAuthority."
        )
    if isinstance(failed, _Elsewhere):
        return errors.VaultUnavailable(
            f"Vault {where} is a standby and redirected the request; redirects are not followed, so"
            f" that the token stays with the configured host. {SAFE} Set VaultAddress to the active"
            " node, or to a load balancer that finds it."
        )
    if isinstance(failed, deadline.DeadlineExpired):
        return errors.VaultUnavailable(
            f"Vault {where} does not answer within {SECONDS:g} s. {SAFE}"
        )
    return errors.VaultUnavailable(
        f"Vault {where} does not answer ({type(failed).__name__}). {SAFE}"
    )


def _down(error: VaultDown, where: str) -> errors.KeyturnError:
    if any("sealed" in str(message) for message in error.errors or ()):
        return errors.VaultSealed(
            f"Vault {where} is sealed and serves no requests. Nothing was changed by this call."
            " Unseal it: vault operator unseal"
        )
    return errors.VaultUnavailable(f"Vault {where} is unavailable (503). {SAFE}")


class _Elsewhere(requests.RequestException):  # type: ignore[misc]
    """Vault answered with a redirect."""


class _Here(JSONAdapter):  # type: ignore[misc]
    """hvac's own adapter; a request has a deadline, and a redirect is never a response."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """The response's JSON, or nothing; anything else is not a response of Vault."""
        answer = deadline.within(SECONDS, ANSWER_BYTES, partial(super().request, *args, **kwargs))
        if not isinstance(answer, requests.Response):
            return answer
        if 300 <= answer.status_code < 400:
            raise _Elsewhere
        if answer.content:
            raise requests.exceptions.InvalidJSONError
        return {}


class _Bounded(HTTPAdapter):  # type: ignore[misc]
    """HTTP whose connections keep the deadline of the request that uses them."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager, as requests asks for it."""
        super().init_poolmanager(*args, **kwargs)
        bound(self.poolmanager)


class _Trusting(_Bounded):
    """HTTPS with a given context, to which requests adds no authorities."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to set: the context is complete."""
