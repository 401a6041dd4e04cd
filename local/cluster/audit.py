"""What was asked of an API server, as a list of (user, verb, resource, name).

A real server writes an audit log, JSON lines of `audit.k8s.io/v1` Events; only their metadata is
asked for, so no object and no key is ever in it. Source: Kubernetes, "Auditing".
"""

import json
from collections.abc import Collection
from pathlib import Path

from local.cluster.resources import Json

AuditEntry = tuple[str, str, str, str]


def audit_policy(without: Collection[str]) -> Json:
    """Return the policy by which a real server logs the metadata of every request once.

    `without` are the users whose requests are left out, and so are those that name no resource.
    """
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": sorted(without)},
            {"level": "None", "nonResourceURLs": ["*"]},
            {"level": "Metadata", "verbs": ["watch"], "omitStages": ["ResponseComplete"]},
            {"level": "Metadata", "omitStages": ["ResponseStarted"]},
        ],
    }


def read_audit_log(path: Path) -> list[AuditEntry]:
    """Read a real server's audit log, in the order in which requests were answered."""
    if not path.exists():
        return []
    *lines, _unfinished = path.read_text().split("\n")
    return [_entry(json.loads(line)) for line in lines]


def _entry(event: Json) -> AuditEntry:
    target = event.get("objectRef") or {}
    subresource = target.get("subresource")
    resource = str(target.get("resource", ""))
    return (
        str(event["user"].get("username", "")),
        str(event["verb"]),
        f"{resource}/{subresource}" if subresource else resource,
        str(target.get("name", "")),
    )
