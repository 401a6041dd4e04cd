"""Moments as ledgers, records and log lines write them: UTC, milliseconds, ISO 8601."""

from datetime import UTC, datetime


def format_timestamp(moment: datetime) -> str:
    """A time as ledgers, records and log lines write it: UTC, milliseconds, ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """Read back what `format_timestamp` wrote."""
    return datetime.fromisoformat(text)


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)
