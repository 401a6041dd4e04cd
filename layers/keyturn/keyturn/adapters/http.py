"""Requests URLs: urllib3 with certificate checks, no redirects followed, time and size bounded."""

from functools import partial

import urllib3

from keyturn import errors
from keyturn.adapters import deadline
from keyturn.adapters.bounded_pools import bound
from keyturn.validation.endpoints import Answer

SECONDS = 10.0
CONNECT_SECONDS, READ_SECONDS = 3.0, 7.0  # to connect, and until the next byte
BODY_BYTES = 64 * 1024
HEADER_BYTES = 64 * 1024


class UrllibWeb:
    """One request to a URL, with a fresh connection so that a balancer may choose any pod."""

    def look(self, url: str) -> Answer:
        """GET the URL. Raises ServiceUnhealthy if there is no response in time."""
        try:
            return deadline.within(SECONDS, HEADER_BYTES + BODY_BYTES, partial(_get, url))
        except deadline.DeadlineExpired as late:
            raise errors.ServiceUnhealthy(
                f"{url} does not send a complete response within {SECONDS:g} s."
            ) from late
        except (urllib3.exceptions.HTTPError, OSError) as silent:
            raise errors.ServiceUnhealthy(
                f"{url} does not answer ({type(silent).__name__})."
            ) from silent


def _get(url: str) -> Answer:
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        bound(pool)
        response = pool.request("GET", url, redirect=False, preload_content=False)
        response.read(BODY_BYTES)
        location = response.headers.get("location", "")
        response.close()
    return Answer(url, response.status, location)
