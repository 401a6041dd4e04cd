"""Marks of exposure: which versions of the secret hold a key that others may know.

A mark is a tag on the secret, `keyturn:exposed:<VersionId>`, so that it is read with DescribeSecret
and without the key, and outlives the version's staging labels, its run and its record. Its value
has the time, the key's fingerprint (never the key) and the reason. The fingerprint recognises the
same key under another version id. See docs/decisions/0016.

Secrets Manager allows 50 tags on a secret. At most `MARKS_KEPT` marks stay, and fewer if other tags
need the room; the oldest mark of a version without a staging label is dropped first.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, cast, get_args

from keyturn import errors
from keyturn.run.ledger import MarkExposedEntry
from keyturn.run.run import ROTATION_ID, Run
from keyturn.run.times import format_timestamp, parse_timestamp
from keyturn.secret import key as secret_key
from keyturn.secret.staging_labels import (
    AWSCURRENT,
    AWSPENDING,
    AWSPREVIOUS,
    Labels,
    LabelStore,
    labelled,
)

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
        """The tag's value, in characters that every AWS service allows in tags."""
        return f"{format_timestamp(self.at)} {self.fingerprint or '-'} {self.reason}"


class MarkStore(Protocol):
    """The operations on the secret that marks need."""

    def marks(self) -> Sequence[Mark]:
        """Every mark, the oldest first."""

    def mark_exposed(self, mark: Mark) -> None:
        """Write a mark, and drop the marks that must make room for it."""


class KeyStore(MarkStore, Protocol):
    """The operations on the secret that marks and keys need."""

    def find(self, version: str) -> str | None:
        """The document of a version, or None if there is none any more."""


class ReplacedStore(LabelStore, KeyStore, Protocol):
    """The operations on the secret with which an emergency excludes the old version."""

    def drop_label(self, label: str, version: str) -> None:
        """Remove a label from a version, if it is there."""


def exposed_versions(tags: Mapping[str, str]) -> list[Mark]:
    """The marks among the tags of the secret, the oldest first. Pure.

    The tag's key alone marks a version: with an unreadable value it is still exposed.
    """
    marks = [_read(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted(marks, key=lambda mark: mark.at)


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


def refuse_exposed(store: MarkStore, version: str, fingerprint: str | None = None) -> None:
    """Raise KeyExposed if a version is marked, or its key is that of a marked one."""
    mark = find_mark(store.marks(), version, fingerprint)
    if mark:
        raise errors.KeyExposed(
            f"The key of version {version} is marked as exposed since {format_timestamp(mark.at)}"
            f" ({mark.reason}), so it is neither delivered nor made current. To replace it,"
            " rotate with a token that begins with emergency-."
        )


def replaced_versions(run: Run, labels: Labels) -> list[str]:
    """The versions whose keys services may have run before an emergency's promotion. Pure.

    None if the labels do not show that the run's version was promoted. Never the current one, nor
    one whose rotation is pending: an input can name any version. A run that does not name the
    previous version has replaced the one that carries AWSPREVIOUS.
    """
    own = labels.get(run.rotation_id, ())
    if AWSCURRENT not in own and AWSPREVIOUS not in own:
        return []
    kept = {run.rotation_id, labelled(labels, AWSCURRENT), labelled(labels, AWSPENDING), None}
    named = dict.fromkeys([run.older, run.previous or labelled(labels, AWSPREVIOUS)])
    return [version for version in named if version is not None and version not in kept]


def mark_replaced(store: ReplacedStore, run: Run, at: datetime) -> MarkExposedEntry:
    """Mark the versions that an emergency has replaced, and remove AWSPREVIOUS; returns the result.

    The label is removed even if a mark fails, since without it no run rolls back to the version.
    The failure is raised afterwards; a repeated call completes it. Raises
    SecretsManagerUnavailable, AccessDenied, AwsRefused.
    """
    if run.mode != "emergency":
        raise errors.RequestRefused(f"A run of mode {run.mode} exposes no key. Nothing was marked.")
    labels = store.labels()
    named = replaced_versions(run, labels)
    versions = [version for version in named if version in labels or _has_value(store, version)]
    failed = [error for version in versions if (error := _problem_of_mark(store, version, at))]
    unlabelled = [version for version in versions if AWSPREVIOUS in labels.get(version, ())]
    for version in unlabelled:
        store.drop_label(AWSPREVIOUS, version)
    if failed:
        raise failed[0]
    changed = _other_fields_changed(store, run)
    return {"exposed": versions, "unlabelled": unlabelled, "otherFieldsChanged": changed}


def fingerprint_of(store: KeyStore, version: str) -> str | None:
    """The fingerprint of a version's key; None if the version is gone or holds no key."""
    document = store.find(version)
    try:
        return None if document is None else secret_key.parse_document(document).key.fingerprint
    except errors.KeyInvalid:
        return None


def tags_to_drop(mark: Mark, tags: Mapping[str, str], labels: Labels) -> list[str]:
    """The tag keys of the marks that make room for a new one, the oldest first. Pure."""
    if mark.tag_key in tags:
        return []
    marks = exposed_versions(tags)
    others = sum(not key.startswith((PREFIX, RESERVED)) for key in tags)
    too_many = len(marks) + 1 - min(MARKS_KEPT, TAGS_ALLOWED - others)
    labelled = {_name(version) for version, stages in labels.items() if stages}
    spare = [known.tag_key for known in marks if known.version not in labelled]
    return spare[: max(too_many, 0)]


def _has_value(store: KeyStore, version: str) -> bool:
    """Whether the version exists; a mark of an invented version must not displace another mark.

    A version that cannot be read counts as existing.
    """
    try:
        return store.find(version) is not None
    except errors.KeyturnError:
        return True


def _problem_of_mark(store: KeyStore, version: str, at: datetime) -> errors.KeyturnError | None:
    try:
        _mark(store, version, "emergency", at)
    except errors.KeyturnError as error:
        return error
    return None


def _other_fields_changed(store: KeyStore, run: Run) -> bool | None:
    """Whether the promotion has changed other fields than the key; None if it is unknown."""
    try:
        texts = [store.find(version) for version in (run.previous or "", run.rotation_id)]
        old, new = (secret_key.parse_document(text or "").others for text in texts)
    except errors.KeyturnError:
        return None
    return old != new


def _mark(store: KeyStore, version: str, reason: Reason, at: datetime) -> None:
    known = find_mark(store.marks(), version)
    if known and known.fingerprint:
        return
    mark = Mark(version, at, reason, fingerprint_of(store, version))
    if known is None or mark.fingerprint:
        store.mark_exposed(mark)


def _name(version: str) -> str:
    """The name of a version in a tag: its id, or a hash of an id that no run can have.

    The writer of a version chooses its id, of any characters; tags allow few.
    """
    if ROTATION_ID.fullmatch(version):
        return version
    return f"={hashlib.sha256(version.encode()).hexdigest()[:40]}"


def _read(key: str, value: str) -> Mark:
    version, match = key.removeprefix(PREFIX), VALUE.fullmatch(value)
    at = _moment(match["at"]) if match else None
    if match is None or at is None:
        return Mark(version, datetime.fromtimestamp(0, UTC), "unknown")
    known = match["reason"] in get_args(Reason)
    reason = cast("Reason", match["reason"]) if known else "unknown"
    return Mark(version, at, reason, None if match["fingerprint"] == "-" else match["fingerprint"])


def _moment(text: str) -> datetime | None:
    try:
        at = parse_timestamp(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
