"""What a container has written, and the part of it that a log request asks for."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from local.cluster import timestamps

MAX_LINES = 10_000


@dataclass(frozen=True)
class LogLine:
    """A line, without its end, and when it was written."""

    at: datetime
    text: str


class ContainerLog:
    """The latest lines of one run of a container."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)

    def append(self, text: str) -> None:
        """Add a line that was written just now."""
        self._lines.append(LogLine(timestamps.now(), text))

    def lines(self) -> list[LogLine]:
        """Return the lines so far."""
        return list(self._lines)


@dataclass(frozen=True)
class LogOptions:
    """Kubernetes' PodLogOptions, as far as they choose lines."""

    since: datetime | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    previous: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "LogOptions":
        """Read them from a query. Raises `ValueError`."""
        since = timestamps.parse(query["sinceTime"]) if "sinceTime" in query else None
        return cls(
            since=since,
            limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
            timestamps=query.get("timestamps", "").lower() in {"1", "true"},
            previous=query.get("previous", "").lower() in {"1", "true"},
        )


def render(lines: Iterable[LogLine], options: LogOptions) -> bytes:
    """Return the chosen lines as text, cut at `limit_bytes`."""
    chosen = [line for line in lines if options.since is None or line.at >= options.since]
    stamped = (
        f"{timestamps.to_nanoseconds(line.at)} {line.text}\n"
        if options.timestamps
        else f"{line.text}\n"
        for line in chosen
    )
    return "".join(stamped).encode()[: options.limit_bytes]
