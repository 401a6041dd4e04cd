"""Marks of exposure: which versions of the secret hold a key that others may know.

A mark is a tag on the secret, `keyturn:exposed:<VersionId>`, so that it is read with DescribeSecret
and without the key, and outlives the version's staging labels, its run and its record. Its value
says when, which key (its fingerprint, never the key) and why. The fingerprint recognises the same
key under another version id. See docs/decisions/0016.

Secrets Manager allows 50 tags on a secret. Of the marks at most `MARKS_KEPT` stay, and fewer where
other tags need the room; the oldest mark of a version without a staging label is dropped first.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, cast, get_args

from keyturn.labels import Labels
from keyturn.run import ROTATION_ID, moment, timestamp

PREFIX = "keyturn:exposed:"
MARKS_KEPT = 30
TAGS_ALLOWED = 50
RESERVED = "aws:"  # AWS's own tags do not count
VALUE = re.compile(r"(?P<at>\S+) (?P<fingerprint>[0-9a-f]{16}|-) (?P<reason>[a-z]+)")

Reason = Literal["emergency", "finding", "unknown"]


@dataclass(frozen=True)
class Mark:
    """The key of a version is exposed: since when it is marked, and why."""

    version: str
    at: datetime
    reason: Reason
    fingerprint: str | None = None

    @property
    def tag_key(self) -> str:
        """The tag's key."""
        return PREFIX + _name(self.version)

    @property
    def tag_value(self) -> str:
        """The tag's value, of characters that every AWS service allows in one."""
        return f"{timestamp(self.at)} {self.fingerprint or '-'} {self.reason}"


class MarkStore(Protocol):
    """The one secret, as it keeps marks."""

    def marks(self) -> Sequence[Mark]:
        """Every mark, the oldest first."""

    def mark_exposed(self, mark: Mark) -> None:
        """Write a mark, and drop what has to make room for it."""


def exposed_versions(tags: Mapping[str, str]) -> list[Mark]:
    """The marks among the tags of the secret, the oldest first. Pure.

    The key alone marks a version: a value that nobody can read makes it no less exposed.
    """
    found = [_read(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted(found, key=lambda mark: mark.at)


def find_mark(marks: Sequence[Mark], version: str, fingerprint: str | None = None) -> Mark | None:
    """The mark of a version, or of any other version that held the same key. Pure."""
    for mark in marks:
        if mark.version in {version, _name(version)}:
            return mark
        if fingerprint is not None and mark.fingerprint == fingerprint:
            return mark
    return None


def fingerprints(marks: Sequence[Mark]) -> frozenset[str]:
    """The fingerprints of all exposed keys that are known. Pure."""
    return frozenset(mark.fingerprint for mark in marks if mark.fingerprint)


def tags_to_drop(mark: Mark, tags: Mapping[str, str], labels: Labels) -> list[str]:
    """The tag keys of the marks that make room for a new one, the oldest first. Pure."""
    if mark.tag_key in tags:
        return []
    marks = exposed_versions(tags)
    others = sum(not key.startswith((PREFIX, RESERVED)) for key in tags)
    too_many = len(marks) + 1 - min(MARKS_KEPT, TAGS_ALLOWED - others)
    labelled = {_name(version) for version, stages in labels.items() if stages}
    spare = [one.tag_key for one in marks if one.version not in labelled]
    return spare[: max(too_many, 0)]


def _name(version: str) -> str:
    """How a tag names a version: by its id, or by a hash of an id that no run can have.

    Whoever stores a version chooses its id, of any characters; tags allow few.
    """
    if ROTATION_ID.fullmatch(version):
        return version
    return f"={hashlib.sha256(version.encode()).hexdigest()[:40]}"


def _read(key: str, value: str) -> Mark:
    version, found = key.removeprefix(PREFIX), VALUE.fullmatch(value)
    at = _moment(found["at"]) if found else None
    if found is None or at is None:
        return Mark(version, datetime.fromtimestamp(0, UTC), "unknown")
    known = found["reason"] in get_args(Reason)
    reason = cast("Reason", found["reason"]) if known else "unknown"
    return Mark(version, at, reason, None if found["fingerprint"] == "-" else found["fingerprint"])


def _moment(text: str) -> datetime | None:
    try:
        at = moment(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
