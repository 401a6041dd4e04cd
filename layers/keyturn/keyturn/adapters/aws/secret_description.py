"""Secrets Manager's responses, parsed. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from keyturn import errors
from keyturn.secret.staging_labels import Labels, Version
from keyturn.secret.trigger import Schedule


def versions(labels: Labels, created: Mapping[str, datetime]) -> list[Version]:
    """Every version that has a label or a value."""
    return [
        Version(version, created.get(version), frozenset(labels.get(version, ())))
        for version in {**labels, **created}
    ]


def schedule(described: Mapping[str, Any]) -> Schedule:
    """The rotation rules; a number of days is short for a rate()."""
    rules = described.get("RotationRules", {})
    days = rules.get("AutomaticallyAfterDays")
    return Schedule(
        expression=rules.get("ScheduleExpression") or (f"rate({days} days)" if days else None),
        duration=rules.get("Duration"),
        enabled=described.get("RotationEnabled") is True,
        next_rotation=described.get("NextRotationDate"),
    )


def tags(described: Mapping[str, Any]) -> dict[str, str]:
    """The tags by their keys."""
    return {tag["Key"]: tag.get("Value", "") for tag in described.get("Tags") or ()}


def document(answer: Mapping[str, Any]) -> str:
    """The text of a version. Raises SecretNotJson if it is binary."""
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise errors.SecretNotJson(
            "The secret's value is binary, not a JSON text. Nothing was changed."
        )
    return text
