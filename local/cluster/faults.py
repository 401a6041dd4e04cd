"""Faults on order: the API server answers the next requests of a kind with an error, or not at all.

For tests of what a client does then. Each fault is used up by the requests that it matches.
"""

import threading
from dataclasses import dataclass

from local.cluster.errors import StatusError
from local.cluster.requests import Request

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class DropConnectionError(Exception):
    """The connection ends without an answer."""


@dataclass
class _Fault:
    left: int
    code: int | None
    verb: str
    resource: str
    name: str
    after: bool

    def fits(self, request: Request) -> bool:
        wanted = (self.verb, self.resource, self.name)
        given = (request.verb, request.qualified_resource, request.name)
        return all(want in {"", have} for want, have in zip(wanted, given, strict=True))

    def happen(self) -> None:
        if self.code is None:
            raise DropConnectionError
        message = f"fault ordered by a test: {self.code}"
        raise StatusError(self.code, _REASONS.get(self.code, "InternalError"), message)


class Faults:
    """The faults that are still to happen; empty matches mean any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []

    def answer(
        self, code: int, *, times: int = 1, verb: str = "", resource: str = "", name: str = ""
    ) -> None:
        """Answer the next `times` requests that match with this HTTP code, and do nothing else.

        `resource` includes the subresource: 'pods/log'.
        """
        with self._lock:
            self._faults.append(_Fault(times, code, verb, resource, name, after=False))

    def drop(self, *, times: int = 1, verb: str = "", resource: str = "", name: str = "") -> None:
        """End the connection of the next `times` requests that match, before doing anything."""
        with self._lock:
            self._faults.append(_Fault(times, None, verb, resource, name, after=False))

    def lose_answer(
        self, *, times: int = 1, verb: str = "", resource: str = "", name: str = ""
    ) -> None:
        """Carry out the next `times` requests that match, then end the connection: no answer."""
        with self._lock:
            self._faults.append(_Fault(times, None, verb, resource, name, after=True))

    def before(self, request: Request) -> None:
        """Let a fault happen in place of the request. Raises it."""
        self._use(request, after=False)

    def after(self, request: Request) -> None:
        """Let a fault happen in place of the answer. Raises it."""
        self._use(request, after=True)

    def _use(self, request: Request, *, after: bool) -> None:
        with self._lock:
            fault = next(
                (one for one in self._faults if one.after == after and one.fits(request)), None
            )
            if fault is None:
                return
            fault.left -= 1
            if not fault.left:
                self._faults.remove(fault)
        fault.happen()
