"""Stakater's Reloader: whether it restarts a workload when a Secret changes. Pure.

Follows its `ShouldReload` (pkg/common/common.go), and its pause of a Deployment
(internal/pkg/handler/pause_deployment.go), with the default names of its annotations. Its command
line (`--auto-reload-all`) cannot be read from here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Object = Mapping[str, Any]

AUTO = ("reloader.stakater.com/auto", "secret.reloader.stakater.com/auto")
NAMED = "secret.reloader.stakater.com/reload"
SEARCH = "reloader.stakater.com/search"
EXCLUDED = "secrets.exclude.reloader.stakater.com/reload"
MATCH, IGNORE = "reloader.stakater.com/match", "reloader.stakater.com/ignore"

PAUSE_PERIOD = "deployment.reloader.stakater.com/pause-period"
PAUSED_AT = "deployment.reloader.stakater.com/paused-at"
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
LENGTH = r"(\d+\.?\d*|\.\d+)(h|ms|us|µs|ns|m|s)"

# The true values of Go's strconv.ParseBool.
TRUE = {"1", "t", "T", "true", "TRUE", "True"}


@dataclass(frozen=True)
class Pause:
    """For how long a Deployment is paused when a Secret changes; when a pause in force ends."""

    period: timedelta | None = None
    ends: datetime | None = None


NO_PAUSE = Pause()


def pause(workload: Object) -> Pause:
    """Whether Reloader pauses a Deployment that it restarts; only the workload's annotations count.

    A pause is Reloader's if it has recorded its start (`IsPausedByReloader`).
    """
    own = _annotations(workload)
    period = _duration(own.get(PAUSE_PERIOD, "")) if workload["kind"] == "Deployment" else None
    if period is None:
        return NO_PAUSE
    began = _moment(own.get(PAUSED_AT, "")) if workload["spec"].get("paused") else None
    return Pause(period, began + period if began else None)


def restarts(workload: Object, secret: str) -> bool | None:
    """Whether Reloader restarts a Deployment or StatefulSet when the Secret of that name changes.

    None if the workload's annotations make Reloader search: then the Secret's decide, see
    `matches`.
    """
    own = _annotations(workload)
    deciding = own.keys() & {*AUTO, NAMED, SEARCH}
    notes = own if deciding else _annotations(workload["spec"]["template"])
    if secret in _listed(own, EXCLUDED):
        return False
    if any(_fits(pattern, secret) for pattern in _listed(notes, NAMED)):
        return True
    if any(notes.get(name) in TRUE for name in AUTO):
        return True
    return None if notes.get(SEARCH) == "true" else False


def matches(secret: Object) -> bool:
    """Whether a Secret's annotations make Reloader restart the workloads that search for it."""
    notes = _annotations(secret)
    return notes.get(MATCH) == "true" and notes.get(IGNORE) != "true"


def _listed(notes: Object, name: str) -> list[str]:
    return [entry.strip() for entry in notes.get(name, "").split(",")]


def _fits(pattern: str, secret: str) -> bool:
    """Whether a name in the list, a regular expression, matches the Secret; never if malformed.

    The anchors are put around it as Reloader puts them, so that `a|b` is `^a` or `b$`.
    """
    try:
        return re.search(f"^{pattern}$", secret) is not None
    except (re.error, OverflowError):
        return False


def _duration(text: str) -> timedelta | None:
    """A Go duration such as '1m30s' above zero; None for anything else."""
    if not re.fullmatch(f"(?:{LENGTH})+", text) or len(text) > 30:
        return None
    seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(LENGTH, text))
    try:
        return timedelta(seconds=seconds) or None
    except OverflowError:
        return None


def _moment(text: str) -> datetime | None:
    """A moment of RFC 3339; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _annotations(item: Object) -> Object:
    annotations: Object = (item.get("metadata") or {}).get("annotations") or {}
    return annotations
