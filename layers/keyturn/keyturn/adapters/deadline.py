"""A hard total deadline for one look at a network, and a bound on the bytes that it reads.

A socket's time-out ends one read: a server that sends a byte now and then is never late, and name
resolution has no time-out at all. So a look has a `Limit` as well, of which what it calls asks how
long it may still wait, and which it tells what it has read.

`within` also holds where nobody asks: the look runs on a thread of its own, whose end is not waited
for any longer than the limit says. Then the sockets of the look are shut down, wherever they are
used at the moment, so that the thread ends soon and leaves nothing behind. `limited` is for many
quick looks on a connection that asks before each read (Redis), and costs no thread.
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
    """The answer is longer than any that is expected."""


class Limit:
    """How long a look may still take, and how many bytes it may still read.

    A limit within a limit ends no later than that one.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        outer = current()
        self._ends: float = time.monotonic() + min(seconds, outer.remaining() if outer else seconds)
        self._bytes = most_bytes
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """The seconds that are left. Raises DeadlineExpired where none are."""
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
        """Have a socket shut down when the limit ends the look. Raises DeadlineExpired.

        It is watched through a descriptor of its own: TLS takes the socket's own one away.
        """
        self.remaining()
        with self._lock:
            self._sockets.append(socket.fromfd(used.fileno(), used.family, used.type))

    def end(self, *, shut_down: bool) -> None:
        """Let go of the sockets; with `shut_down` whoever waits for one of them fails at once."""
        with self._lock:
            for watched in self._sockets:
                if shut_down:
                    with contextlib.suppress(OSError):  # the server may have been quicker
                        watched.shutdown(socket.SHUT_RDWR)
                watched.close()
            self._sockets.clear()


_current: contextvars.ContextVar[Limit | None] = contextvars.ContextVar("limit", default=None)


def current() -> Limit | None:
    """The limit of the look that is under way on this thread."""
    return _current.get()


def within(seconds: float, most_bytes: int, look: Callable[[], Found]) -> Found:
    """What a look returns or raises. Raises DeadlineExpired where it has not ended in time."""
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
    """Give what is called in the block a limit, for those who ask for it."""
    token = _current.set(Limit(seconds, most_bytes))
    try:
        yield
    finally:
        _current.reset(token)
