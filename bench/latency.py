"""Asks a Redis at a steady rate and says how long it took: a user's view of a server at work.

Runs in a process of its own. GET and SET of one key take turns, 500 a second, each at a time fixed
beforehand, whether or not the one before has been answered; what it took counts from that time. So
a server that stands still for a while is seen by all who would have asked meanwhile. Where it may,
the process goes before all others, as a client on another machine would. Says "ready" once it has
been answered, and when it is terminated, all answers in JSON: when each was due, and how many
milliseconds it took.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from types import FrameType

from bench.delete_sessions import command

PER_SECOND = 500
SECONDS = 30.0
VALUE = "x" * 16
VALUE_REPLY = f"${len(VALUE)}\r\n{VALUE}\r\n".encode()
NOTHING_REPLY = b"$-1\r\n"  # a flush takes the key along
SET_REPLY = b"+OK\r\n"


class Answers:
    """What was asked on one connection, and what it took to be answered."""

    def __init__(self, link: socket.socket, key: str) -> None:
        self._link = link
        self._turns = [command("SET", key, VALUE), command("GET", key)]
        self._waiting: deque[float] = deque()
        self._received = b""
        self._asked = 0
        self.taken: list[tuple[float, float]] = []

    def ask(self, due: float) -> None:
        """Send the next command, which was due at that time."""
        self._waiting.append(due)
        self._link.sendall(self._turns[self._asked % 2])
        self._asked += 1

    def wait(self, until: float) -> None:
        """Take what is answered until then; at least look."""
        if not select.select([self._link], [], [], max(0.0, until - time.monotonic()))[0]:
            return
        received = self._link.recv(65536)
        now = time.monotonic()
        if not received:
            raise ConnectionError("Redis closed the probe's connection.")
        self._received += received
        while length := whole_reply(self._received):
            due = self._waiting.popleft()
            self._received = self._received[length:]
            self.taken.append((due, (now - due) * 1000))

    def rest(self) -> None:
        """Wait for the answers that are still to come."""
        end = time.monotonic() + SECONDS
        while self._waiting and time.monotonic() < end:
            self.wait(end)


def whole_reply(received: bytes) -> int:
    """The length of the reply at the start; 0 if it is not all there. Raises ValueError."""
    for reply in (VALUE_REPLY, NOTHING_REPLY, SET_REPLY):
        if received.startswith(reply):
            return len(reply)
        if reply.startswith(received):
            return 0
    raise ValueError(f"Redis answered the probe {received[:60]!r}.")


def main() -> None:
    """Ask until terminated."""
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    host, port, key = sys.argv[1:]
    with socket.create_connection((host, int(port)), timeout=SECONDS) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(link, key)
        due = time.monotonic()
        answers.ask(due)
        answers.rest()
        say("ready")
        due = time.monotonic()
        while not ended:
            due += 1 / PER_SECOND
            while not ended and time.monotonic() < due:
                answers.wait(due)
            answers.ask(due)
        answers.rest()
        link.sendall(command("DEL", key))
    say(json.dumps(answers.taken))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
