"""Stakater's Reloader: whether it restarts a workload when a Secret changes. Pure.

As its `ShouldReload` decides (pkg/common/common.go), by the annotations that it looks for unless it
is told others. What only its own command line says (`--auto-reload-all`) cannot be seen from here.
"""

import re
from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]

AUTO = ("reloader.stakater.com/auto", "secret.reloader.stakater.com/auto")
NAMED = "secret.reloader.stakater.com/reload"
SEARCH = "reloader.stakater.com/search"
EXCLUDED = "secrets.exclude.reloader.stakater.com/reload"
MATCH, IGNORE = "reloader.stakater.com/match", "reloader.stakater.com/ignore"

# What Go's strconv.ParseBool takes for true.
TRUE = {"1", "t", "T", "true", "TRUE", "True"}


def restarts(workload: Object, secret: str) -> bool | None:
    """Whether Reloader restarts a Deployment or StatefulSet when the Secret of that name changes.

    None where the workload's annotations tell Reloader to search: then the Secret's decide, see
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
    """Whether a Secret's annotations make Reloader restart what searches for it."""
    notes = _annotations(secret)
    return notes.get(MATCH) == "true" and notes.get(IGNORE) != "true"


def _listed(notes: Object, name: str) -> list[str]:
    return [one.strip() for one in notes.get(name, "").split(",")]


def _fits(pattern: str, secret: str) -> bool:
    """Whether a name of the list, a regular expression, is the Secret's; a malformed one is none.

    The anchors are put around it as Reloader puts them, so that `a|b` is `^a` or `b$`.
    """
    try:
        return re.search(f"^{pattern}$", secret) is not None
    except (re.error, OverflowError):
        return False


def _annotations(found: Object) -> Object:
    annotations: Object = (found.get("metadata") or {}).get("annotations") or {}
    return annotations
