"""When an ExternalSecret is synced, and what its Secret and its status are then. Pure.

Source: external-secrets, `externalsecret_controller.go`: `shouldRefresh`, `isSecretValid`,
`markAsDone`, `markAsFailed`, and `SetExternalSecretCondition`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local.cluster import timestamps
from local.cluster.resources import STATUS, Json, Resource

EXTERNAL_SECRETS = Resource(
    "externalsecrets", "ExternalSecret", group="external-secrets.io", subresources=STATUS
)
MANAGED = "reconcile.external-secrets.io/managed"
DATA_HASH = "reconcile.external-secrets.io/data-hash"
DEFAULT_INTERVAL = "1h0m0s"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def target_of(external_secret: Json) -> str:
    """The name of the Secret that it fills: its own, unless the target has one."""
    target = external_secret["spec"].get("target") or {}
    return str(target.get("name") or external_secret["metadata"]["name"])


def should_refresh(external_secret: Json, now: datetime) -> bool:
    """Whether a sync is due by the ExternalSecret itself; see `is_secret_valid` for its Secret."""
    spec, status = external_secret["spec"], external_secret.get("status") or {}
    synced, refreshed = status.get("syncedResourceVersion"), status.get("refreshTime")
    policy = spec.get("refreshPolicy") or "Periodic"
    if policy == "CreatedOnce":
        return not (synced and refreshed)
    changed = synced != resource_version(external_secret)
    if policy == "OnChange":
        return not (synced and refreshed) or changed
    interval = interval_of(external_secret)
    if interval <= timedelta() and synced:
        return False
    return changed or not refreshed or not _is_fresh(refreshed, interval, now)


def interval_of(external_secret: Json) -> timedelta:
    """How often it is synced anyway, from a Go duration such as '1h0m0s'."""
    text = external_secret["spec"].get("refreshInterval") or DEFAULT_INTERVAL
    parts = re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def is_secret_valid(secret: Json | None) -> bool:
    """Whether the Secret is there and holds what was written into it: else it is written again."""
    if secret is None:
        return False
    metadata = secret["metadata"]
    managed = (metadata.get("labels") or {}).get(MANAGED) == "true"
    written = (metadata.get("annotations") or {}).get(DATA_HASH)
    return managed and written == _hash(secret.get("data") or {})


def resource_version(external_secret: Json) -> str:
    """What the operator calls a state of it: '<generation>-<hash of annotations and labels>'."""
    metadata = external_secret["metadata"]
    hashed = {part: metadata.get(part) or {} for part in ("annotations", "labels")}
    return f"{metadata['generation']}-{_hash(hashed)}"


def secret_of(external_secret: Json, values: Mapping[str, str], existing: Json | None) -> Json:
    """The Secret that a sync writes: the values, the mark of the operator, and its owner.

    `creationPolicy` Owner, which is the default, makes the ExternalSecret its controller; Orphan
    leaves it without one. `existing` keeps its other fields.
    """
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}
    data = {**((existing or {}).get("data") or {}), **encoded}
    target = external_secret["spec"].get("target") or {}
    metadata: Json = {
        "name": target_of(external_secret),
        "labels": {MANAGED: "true"},
        "annotations": {DATA_HASH: _hash(data)},
    }
    if (target.get("creationPolicy") or "Owner") == "Owner":
        metadata["ownerReferences"] = [_controller(external_secret["metadata"])]
    immutable = {"immutable": True} if target.get("immutable") else {}
    return {"metadata": metadata, "data": data, **immutable}


def done(external_secret: Json, began: datetime, now: datetime) -> Json:
    """The status after a sync: `refreshTime` is when it began, in whole seconds."""
    return {
        "conditions": [_ready(external_secret, "True", "SecretSynced", "secret synced", now)],
        "refreshTime": timestamps.to_seconds(began),
        "syncedResourceVersion": resource_version(external_secret),
    }


def failed(external_secret: Json, message: str, now: datetime) -> Json:
    """The part of the status that a failed sync changes: all but the condition stays."""
    return {"conditions": [_ready(external_secret, "False", "SecretSyncedError", message, now)]}


def _is_fresh(refreshed: str, interval: timedelta, now: datetime) -> bool:
    at = datetime.fromisoformat(refreshed).astimezone(UTC)
    return at <= now <= at + interval


def _ready(external_secret: Json, status: str, reason: str, message: str, now: datetime) -> Json:
    """The condition Ready; its time is when the status changed, not when it was last confirmed."""
    conditions = (external_secret.get("status") or {}).get("conditions") or []
    before: Json = next((one for one in conditions if one["type"] == "Ready"), {})
    kept = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": kept or timestamps.to_seconds(now),
    }


def _controller(metadata: Json) -> Json:
    return {
        "apiVersion": EXTERNAL_SECRETS.api_version,
        "kind": EXTERNAL_SECRETS.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _hash(found: Any) -> str:
    return hashlib.sha3_224(json.dumps(found, sort_keys=True).encode()).hexdigest()
