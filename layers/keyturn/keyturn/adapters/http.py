"""Looks at URLs: urllib3 with certificate checks, no redirects followed, time and size bounded."""

import urllib3

from keyturn import errors
from keyturn.validation import Answer

CONNECT_SECONDS, READ_SECONDS = 3.0, 7.0
BODY_BYTES = 64 * 1024


class UrllibWeb:
    """One look at a URL, with a fresh connection so that a balancer may choose any pod."""

    def look(self, url: str) -> Answer:
        """GET the URL. Raises ServiceUnhealthy where nothing answers in time."""
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            try:
                response = pool.request("GET", url, redirect=False, preload_content=False)
                response.read(BODY_BYTES)
            except urllib3.exceptions.HTTPError as silent:
                raise errors.ServiceUnhealthy(
                    f"{url} does not answer ({type(silent).__name__})."
                ) from silent
            location = response.headers.get("location", "")
            response.close()
        return Answer(url, response.status, location)
