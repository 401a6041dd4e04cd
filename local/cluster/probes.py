"""A container's readiness probe: an HTTP request, and how many answers it takes to believe it."""

import http.client

from local.cluster.pod_environment import ConfigError
from local.cluster.resources import Json

_UNTIL_READY_SECONDS = 0.05


class ReadinessProbe:
    """The probe of a container's spec at the pod's port; a container without one is ready at once.

    Until it first succeeds it asks at short intervals, then every `periodSeconds`.
    Raises `ConfigError` for a kind of probe other than httpGet over plain HTTP.
    """

    def __init__(self, spec: Json | None, port: int, started: float) -> None:
        self._spec = spec or {}
        action = self._spec.get("httpGet")
        if spec and (not action or action.get("scheme", "HTTP") != "HTTP"):
            raise ConfigError("readinessProbe: only httpGet over HTTP is served by this kubelet")
        self._path = str((action or {}).get("path", "/"))
        self._port = port
        self._due = started + float(self._spec.get("initialDelaySeconds", 0))
        self._in_a_row = 0
        self.ready = not spec

    def advance(self, now: float) -> float | None:
        """Ask if it is time to; return the seconds until the next time, None if there is none."""
        if not self._spec:
            return None
        if now >= self._due:
            self._count(succeeded=self._ask())
            period = float(self._spec.get("periodSeconds", 10))
            self._due = now + (period if self.ready else min(period, _UNTIL_READY_SECONDS))
        return self._due - now

    def _count(self, *, succeeded: bool) -> None:
        self._in_a_row = 0 if succeeded == self.ready else self._in_a_row + 1
        enough = self._spec.get("failureThreshold", 3)
        if not self.ready:
            enough = self._spec.get("successThreshold", 1)
        if self._in_a_row >= int(enough):
            self.ready, self._in_a_row = succeeded, 0

    def _ask(self) -> bool:
        timeout = float(self._spec.get("timeoutSeconds", 1))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request("GET", self._path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
