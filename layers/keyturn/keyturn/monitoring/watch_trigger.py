"""Why `watch_key` was called: one of six EventBridge rules. Pure.

Of a CloudTrail event, which quotes the caller, only the name of the call and the time are used, and
the name only if it is one of `CHANGES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from keyturn import errors
from keyturn.run.times import parse_timestamp

Kind = Literal["daily", "frequent", "moved", "changed", "ended"]

KINDS: Mapping[str, Kind] = {
    "Scheduled Event": "daily",
    "Frequent Look": "frequent",  # the name that the rule's input transformer gives
    "Secret Label Updated": "moved",
    "AWS API Call via CloudTrail": "changed",
    "Step Functions Execution Status Change": "ended",
}
# Of the rule FrequentWatchRule.
EVERY = timedelta(minutes=5)
# Calls that change the protection of the key, and the effect of each.
CHANGES: Mapping[str, str] = {
    "CancelRotateSecret": "the rotation schedule of the secret was turned off",
    "DeleteResourcePolicy": "the resource policy of the secret was removed",
    "DeleteSecret": "the secret was marked for deletion",
    "PutResourcePolicy": "the resource policy of the secret was replaced",
    "DisableKey": "the KMS key was disabled",
    "PutKeyPolicy": "the policy of the KMS key was replaced",
    "ScheduleKeyDeletion": "the KMS key was scheduled for deletion",
}


@dataclass(frozen=True)
class WatchTrigger:
    """The rule that called, and the time of its event; `change` is a name of `CHANGES`."""

    kind: Kind
    at: datetime
    change: str = ""

    @property
    def daily(self) -> bool:
        """Whether it is the daily check."""
        return self.kind == "daily"


def parse_trigger(event: Mapping[str, Any], secret_arn: str) -> WatchTrigger:
    """Read the event of a rule. Raises RequestRefused for any other."""
    name, about = event.get("detail-type"), event.get("resources")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise errors.RequestRefused(
            f"The input is none of {', '.join(map(repr, KINDS))}. Nothing was done."
        )
    if kind == "moved" and not (isinstance(about, list) and secret_arn in about):
        raise errors.RequestRefused(f"The event is not about {secret_arn}. Nothing was done.")
    try:
        return WatchTrigger(
            kind, parse_timestamp(event["time"]), _change(event) if kind == "changed" else ""
        )
    except (KeyError, TypeError, ValueError):
        raise errors.RequestRefused("The event has no valid time. Nothing was done.") from None


def _change(event: Mapping[str, Any]) -> str:
    detail = event.get("detail")
    name = detail.get("eventName") if isinstance(detail, Mapping) else None
    if not isinstance(name, str) or name not in CHANGES:
        raise errors.RequestRefused(
            f"The event is about none of {', '.join(CHANGES)}. Nothing was done."
        )
    return name
