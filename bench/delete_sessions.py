"""`redis-cli --scan --pattern 'session:*' | xargs redis-cli del`, where there is no redis-cli.

The same commands in the same number, without loading a client library.
"""

import os
import socket
from typing import Any, BinaryIO

SECONDS = 30
SCAN_COUNT = "10"  # redis-cli's own


def command(*words: str) -> bytes:
    """A command in RESP, Redis' protocol."""
    parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
    return "".join(parts).encode()


def reply(answer: BinaryIO) -> Any:
    """Read one reply: text, number or a list of them. Raises ValueError for an error of Redis."""
    kind, rest = (line := answer.readline().decode())[:1], line[1:].strip()
    if kind == "*":
        return [reply(answer) for _ in range(int(rest))]
    if kind == "$":
        return answer.read(int(rest) + 2)[:-2].decode()
    if kind in {"+", ":"}:
        return rest
    raise ValueError(f"Redis answered {line!r}")


def delete_sessions(link: socket.socket, database: str) -> None:
    """Scan for the names of sessions, then delete them."""
    with link.makefile("rb") as answer:

        def ask(*words: str) -> Any:
            link.sendall(command(*words))
            return reply(answer)

        ask("SELECT", database)
        names: list[str] = []
        cursor, found = ask("SCAN", "0", "MATCH", "session:*", "COUNT", SCAN_COUNT)
        names += found
        while cursor != "0":
            cursor, found = ask("SCAN", cursor, "MATCH", "session:*", "COUNT", SCAN_COUNT)
            names += found
        if names:
            ask("DEL", *names)


if __name__ == "__main__":
    address = os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"])
    with socket.create_connection(address, timeout=SECONDS) as connection:
        delete_sessions(connection, os.environ["REDIS_DATABASE"])
