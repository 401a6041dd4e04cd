"""Times as Kubernetes writes them: RFC 3339, in UTC."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def to_seconds(moment: datetime) -> str:
    """Return the time in whole seconds, as in `creationTimestamp`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_nanoseconds(moment: datetime) -> str:
    """Return the time with nine digits after the point, as in a container's log."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def parse(text: str) -> datetime:
    """Read either form. Raises `ValueError` for anything that is not RFC 3339 with a zone."""
    head, point, rest = text.partition(".")
    if point:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, such as Z")
    return moment
