"""HTTP/1.1 messages on a stream, as far as a proxy must understand them: heads and body lengths.

Source: RFC 9112.
"""

import asyncio
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
MAX_BODY = 8 * 1024 * 1024

_OF_ONE_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "upgrade"})


class MessageError(Exception):
    """What came is not a message that can be passed on."""


@dataclass(frozen=True)
class Head:
    """The first line and the header fields of a message."""

    first_line: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return a field's value in lower case, '' without it."""
        return next((value for key, value in self.fields if key.lower() == name), "").lower()

    @property
    def status(self) -> str:
        """The code of an answer, as text. Raises `MessageError`."""
        _, _, rest = self.first_line.partition(" ")
        if not rest[:3].isdigit():
            raise MessageError("the answer has no status code")
        return rest[:3]

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender lets the connection serve a further message."""
        if "HTTP/1.0" in self.first_line:
            return self.get("connection") == "keep-alive"
        return self.get("connection") != "close"

    @property
    def length(self) -> int | None:
        """The body's length in bytes, None if the head does not say.

        Raises `MessageError`, also for a body in chunks, which neither users nor services send.
        """
        if self.get("transfer-encoding"):
            raise MessageError("a body in chunks is not passed on")
        text = self.get("content-length")
        if text and not text.isdigit():
            raise MessageError("Content-Length is not a number")
        return int(text) if text else None

    def for_next_hop(self, connection: str) -> bytes:
        """Return the head to pass on, with its own `Connection` field."""
        kept = [f"{key}: {value}" for key, value in self.fields if key.lower() not in _OF_ONE_HOP]
        lines = [self.first_line, *kept, f"Connection: {connection}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a head; None if the other side ended before its first byte. Raises `MessageError`."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise MessageError("the head breaks off") from None
    except asyncio.LimitOverrunError:
        raise MessageError("the head is too long") from None
    first_line, *lines = text.rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    if not all(colon for _, colon, _ in pairs):
        raise MessageError("a header field has no colon")
    return Head(first_line, tuple((key.strip(), value.strip()) for key, _, value in pairs))


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """Read a request's whole body. Raises `MessageError`."""
    length = head.length or 0
    if length > MAX_BODY:
        raise MessageError("the body is too long")
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise MessageError("the body breaks off") from None
