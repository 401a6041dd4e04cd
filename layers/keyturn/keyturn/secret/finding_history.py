"""The rotations that findings have started, as recorded by `respond_to_finding`.

The caller of a rotation chooses its token. So the function writes a tag on the secret before it
starts a rotation, `keyturn:finding:<token>`, which only its role may write: when, and for which
finding. Limits and reasons rely on these tags and never on a token. See docs/decisions/0009.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from keyturn.run.run import FINDING_ID, FINDING_TYPE
from keyturn.run.times import format_timestamp, parse_timestamp
from keyturn.secret.staging_labels import Version

PREFIX = "keyturn:finding:"
KEPT_FOR = timedelta(days=1)
MOST_KEPT = 15  # the template allows no more in FindingLimits
FOREIGN = re.compile(r"[^A-Za-z0-9._:/@+ -]")  # what tags do not allow everywhere, and the escape
ESCAPED = re.compile(r"=([0-9A-F]{2})")


@dataclass(frozen=True)
class StartedRotation:
    """A rotation, when it was recorded, and the finding that it is for."""

    token: str
    at: datetime
    finding_type: str
    finding_id: str

    @property
    def tag_key(self) -> str:
        """The tag's key."""
        return PREFIX + self.token

    @property
    def tag_value(self) -> str:
        """The tag's value; a type's `&` and `!` are escaped as in quoted-printable."""
        escaped = FOREIGN.sub(lambda sign: f"={ord(sign[0]):02X}", self.finding_type)
        return f"{format_timestamp(self.at)} {escaped} {self.finding_id}"

    @property
    def finding(self) -> str:
        """The finding as messages show it."""
        return f"{self.finding_type} {self.finding_id}"


@dataclass(frozen=True)
class State:
    """The secret when a finding arrives: its versions, and the rotations recorded as findings'."""

    versions: Sequence[Version]
    started: Sequence[StartedRotation] = ()

    def labelled(self, label: str) -> Version | None:
        """The version that carries a label."""
        return next((version for version in self.versions if label in version.labels), None)


class HistoryStore(Protocol):
    """The operations on the secret that the history of findings needs."""

    def started_rotations(self) -> Sequence[StartedRotation]:
        """Every rotation that is recorded as a finding's, the oldest first."""

    def record_rotation(self, started: StartedRotation) -> None:
        """Record that a rotation is a finding's, and drop records that no longer count."""


def started_rotations(tags: Mapping[str, str]) -> list[StartedRotation]:
    """The rotations among the tags of the secret, the oldest first. Pure.

    A value of another form was not written by Keyturn and is ignored.
    """
    rotations = [_read(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted(
        (rotation for rotation in rotations if rotation), key=lambda rotation: rotation.at
    )


def finding_of(started: Sequence[StartedRotation], token: str) -> str:
    """The finding that a token's rotation is for; empty if none was recorded. Pure."""
    return next((rotation.finding for rotation in started if rotation.token == token), "")


def tags_to_drop(new: StartedRotation, tags: Mapping[str, str]) -> list[str]:
    """The tag keys that are too old to count when another is written, or too many. Pure."""
    others = [key for key in tags if key.startswith(PREFIX) and key != new.tag_key]
    at = {rotation.tag_key: rotation.at for rotation in started_rotations(tags)}
    young = [key for key in others if key in at and new.at - at[key] < KEPT_FOR]
    kept = sorted(young, key=at.__getitem__)[-(MOST_KEPT - 1) :]
    return [key for key in others if key not in kept]


def _read(key: str, value: str) -> StartedRotation | None:
    at, _, rest = value.partition(" ")
    escaped, _, finding_id = rest.partition(" ")
    finding_type = ESCAPED.sub(lambda code: chr(int(code[1], 16)), escaped)
    forms = re.fullmatch(FINDING_TYPE, finding_type), re.fullmatch(FINDING_ID, finding_id)
    try:
        when = parse_timestamp(at)
    except ValueError:
        return None
    if not all(forms) or when.tzinfo is None:
        return None
    return StartedRotation(key.removeprefix(PREFIX), when, finding_type, finding_id)
