"""The rules of each kind: defaults that are filled in, and what an object may not be.

Pure: the wanted object in, the object to store out, or a `StatusError`. Only rules that a client
of this cluster can meet are here; the wording is Kubernetes' own.
"""

import base64
import binascii
import copy
import re
from collections.abc import Callable

from local.cluster.errors import StatusError, invalid, undecodable
from local.cluster.resources import SECRETS, Json, Resource
from local.cluster.workload_admission import (
    complete_deployment,
    complete_pod,
    complete_replica_set,
)

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_SECRET_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_KEY_RULE = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
)
_LABEL = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")


def admitted(resource: Resource, wanted: Json, current: Json | None) -> Json:
    """Return the object as it will be stored, defaults filled in.

    `current` is what it replaces, None on creation. Raises `StatusError` 400 or 422.
    """
    admitted_object = copy.deepcopy(wanted)
    name = admitted_object["metadata"]["name"]
    if not _NAME.match(name) or len(name) > 253:
        raise invalid(resource, name, "metadata.name", "Invalid value: not a DNS subdomain")
    _check_metadata(resource, admitted_object["metadata"], patched=bool(current))
    rule = _RULES.get(resource.plural)
    if rule:
        rule(admitted_object, current)
    return admitted_object


def _secret(secret: Json, current: Json | None) -> None:
    name = secret["metadata"]["name"]
    secret.setdefault("type", "Opaque")
    data = secret.get("data") or {}
    for key, text in (secret.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(str(text).encode()).decode()
    for key, value in data.items():
        if not _SECRET_KEY.match(key):
            raise invalid(SECRETS, name, f"data[{key}]", f'Invalid value: "{key}": {_KEY_RULE}')
        _check_base64(key, value, patched=bool(current))
    if data or "data" in secret:
        secret["data"] = data
    if not current:
        return
    if secret["type"] != current["type"]:
        raise invalid(SECRETS, name, "type", "Invalid value: field is immutable")
    if current.get("immutable"):
        frozen = "Forbidden: field is immutable when `immutable` is set"
        for field in ("immutable", "data"):
            if secret.get(field) != current.get(field):
                raise invalid(SECRETS, name, field, frozen)


def _check_base64(key: str, value: object, *, patched: bool) -> None:
    refusal: StatusError | None = None
    try:
        base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):  # its message may quote the value: it is not chained
        refusal = undecodable(SECRETS, f"data[{key}] is not base64", patched=patched)
    if refusal:
        raise refusal


def _check_metadata(resource: Resource, metadata: Json, *, patched: bool) -> None:
    for field in ("labels", "annotations"):
        for key, value in (metadata.get(field) or {}).items():
            if not isinstance(value, str):
                problem = f"metadata.{field}[{key}] is not text"
                raise undecodable(resource, problem, patched=patched)
            if field == "labels" and not _LABEL.match(value):
                why = f'Invalid value: "{value}": {_LABEL_RULE}'
                raise invalid(resource, metadata["name"], "metadata.labels", why)


_RULES: dict[str, Callable[[Json, Json | None], None]] = {
    "secrets": _secret,
    "deployments": complete_deployment,
    "replicasets": complete_replica_set,
    "pods": complete_pod,
}
