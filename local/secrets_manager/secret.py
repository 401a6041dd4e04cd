"""A secret and its versions: what the local Secrets Manager remembers.

A version is immutable once it has a value. A version without a value exists only between the start
of a rotation and its createSecret step. A value never shows in a repr.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from local.secrets_manager import labels as label_rules
from local.secrets_manager.errors import AwsError, invalid_parameter, invalid_request
from local.secrets_manager.schedule import Schedule


@dataclass(frozen=True)
class Value:
    """What a version holds: a text, or binary data in base64 as it travels on the wire."""

    text: str | None = field(default=None, repr=False)
    binary: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> "Value | None":
        """Take the value out of a request; None if it has none, AwsError if it has two."""
        text, binary = request.get("SecretString"), request.get("SecretBinary")
        if text is not None and binary is not None:
            raise invalid_parameter(
                "You can't specify both a binary secret value and a string secret value "
                "in the same secret."
            )
        if text is None and binary is None:
            return None
        if not (text or binary):
            raise invalid_request("You must provide either SecretString or SecretBinary.")
        if binary is not None:
            _check_base64(binary)
        return cls(text, binary)

    def fields(self) -> dict[str, str]:
        """Return the value as members of a response."""
        named = {"SecretString": self.text, "SecretBinary": self.binary}
        return {name: content for name, content in named.items() if content is not None}


@dataclass
class Version:
    """One version of a secret; `hidden_reads` counts reads by id that must not see it yet."""

    id: str
    created: datetime
    value: Value | None = None
    accessed: datetime | None = None
    hidden_reads: int = 0


@dataclass
class RotationSettings:
    """How a secret is rotated; kept when rotation is turned off.

    `configured` is the time of the last change, `attempted` the opening of the last window in which
    a scheduled rotation was started, `period_days` the days that AWS derives after a rotation.
    """

    lambda_arn: str
    enabled: bool
    configured: datetime
    schedule: Schedule | None = None
    attempted: datetime | None = None
    period_days: int | None = None


@dataclass
class Secret:
    """A secret with its versions and labels; times are aware and in UTC."""

    name: str
    arn: str
    created: datetime
    changed: datetime
    versions: dict[str, Version] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    description: str | None = None
    kms_key_id: str | None = None
    policy: str | None = None
    rotation: RotationSettings | None = None
    accessed: datetime | None = None
    value_changed: datetime | None = None
    rotated: datetime | None = None
    deleted: datetime | None = None

    @property
    def current(self) -> Version | None:
        """The version that has AWSCURRENT."""
        return self.versions.get(self.labels.get(label_rules.CURRENT, ""))

    @property
    def blocked_by(self) -> str | None:
        """The version whose AWSPENDING label keeps other rotations from starting, if any."""
        pending = self.labels.get(label_rules.PENDING)
        return None if pending == self.labels.get(label_rules.CURRENT) else pending

    @property
    def schedule_base(self) -> datetime:
        """The time from which the schedule counts: a value put by hand is a rotation, too."""
        times = (self.rotated, self.value_changed, self.rotation and self.rotation.configured)
        return max([moment for moment in times if moment], default=self.created)

    def mark_rotated(self, now: datetime) -> None:
        """Note a successful rotation, and the days to the next as AWS derives them from it."""
        self.rotated = self.changed = now
        if self.rotation and self.rotation.schedule:
            ahead = self.rotation.schedule.window_after(now).opens - now
            self.rotation.period_days = max(1, math.ceil(ahead / timedelta(days=1)))

    def labelled_versions(self) -> dict[str, list[str]]:
        """List every version that has a label, those without a value included."""
        return {
            version_id: label_rules.on_version(self.labels, version_id)
            for version_id in self.versions
            if version_id in self.labels.values()
        }


def _check_base64(binary: str) -> None:
    try:
        base64.b64decode(binary, validate=True)
    except (binascii.Error, ValueError):
        raise AwsError("SerializationException", "SecretBinary is not valid base64.") from None
