"""A hard total deadline for one network operation, and a limit of the bytes that it reads.

A socket's time-out ends one read: a server that sends a byte now and then never exceeds it, and
name resolution has no time-out at all. So an operation has a `Limit` as well; its callees ask the
limit how long they may still wait, and count the bytes that they read.

`within` also holds if no callee asks: the operation runs on a separate thread, and the caller waits
for its end no longer than the limit. Then the operation's sockets are shut down, wherever they are
in use, so that the thread ends soon and leaves nothing behind. `limited` is for many short
operations on a connection that asks before each read (Redis), and costs no thread.
"""

import contextlib
import contextvars
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

Found = TypeVar("Found")


class DeadlineExpired(TimeoutError):
    """The deadline has passed."""


class TooMuch(OSError):
    """The response is longer than any expected one."""


class Limit:
    """How long an operation may still take, and how many bytes it may still read.

    A limit within a limit ends no later than that one.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        outer = current()
        self._ends: float = time.monotonic() + min(seconds, outer.remaining() if outer else seconds)
        self._bytes = most_bytes
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """The remaining seconds. Raises DeadlineExpired if there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlineExpired
        return left

    def took(self, read: int) -> None:
        """Count bytes that were read. Raises TooMuch."""
        self._bytes -= read
        if self._bytes < 0:
            raise TooMuch

    def watch(self, used: socket.socket) -> None:
        """Shut a socket down when the limit ends the operation. Raises DeadlineExpired.

        It is watched through another descriptor: TLS takes over the socket's.
        """
        self.remaining()
        with self._lock:
            self._sockets.append(socket.fromfd(used.fileno(), used.family, used.type))

    def end(self, *, shut_down: bool) -> None:
        """Release the sockets; with `shut_down` a thread that waits for one of them fails."""
        with self._lock:
            for watched in self._sockets:
                if shut_down:
                    with contextlib.suppress(OSError):  # the server may have been quicker
                        watched.shutdown(socket.SHUT_RDWR)
                watched.close()
            self._sockets.clear()


_current: contextvars.ContextVar[Limit | None] = contextvars.ContextVar("limit", default=None)


def current() -> Limit | None:
    """The limit of the operation in progress on this thread."""
    return _current.get()


def within(seconds: float, most_bytes: int, look: Callable[[], Found]) -> Found:
    """The result or error of an operation. Raises DeadlineExpired if it is not done in time."""
    limit, ended = Limit(seconds, most_bytes), Future[Found]()

    def run() -> None:
        _current.set(limit)
        try:
            ended.set_result(look())
        except BaseException as failed:  # noqa: BLE001 - it is raised where the look is waited for
            ended.set_exception(failed)
        finally:
            limit.end(shut_down=False)

    thread = threading.Thread(target=run, name="look", daemon=True)
    left = limit.remaining()
    thread.start()
    thread.join(left)
    if not ended.done():
        limit.end(shut_down=True)
        raise DeadlineExpired
    return ended.result()


@contextmanager
def limited(seconds: float, most_bytes: int) -> Iterator[None]:
    """Set a limit for the callees of the block that ask for it."""
    token = _current.set(Limit(seconds, most_bytes))
    try:
        yield
    finally:
        _current.reset(token)
