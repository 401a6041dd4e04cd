"""A GuardDuty finding from EventBridge: camelCase JSON, parsed into the relevant facts.

A finding quotes names, paths and user agents that an attacker may have chosen. Only fields that
cannot contain such text are shown: its id, type, account, Region and severity, each in its own
strict form. A form limits what can be shown; it does not list the Regions or accounts that exist.
Names are compared with the stack's and not kept.

Source: GuardDuty User Guide, "Processing findings with EventBridge"; API reference, Finding.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keyturn import errors
from keyturn.run.run import FINDING_ID, FINDING_TYPE

FORMS = {
    "id": FINDING_ID,
    "type": FINDING_TYPE,
    "accountId": r"\d{12}",
    "region": r"[a-z0-9-]{1,32}",
}
ANOMALOUS_READ = re.compile(r"\b(?:Batch)?GetSecretValue\b")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """The facts of a finding, and when its event was sent, which stays when the event is repeated.

    The sets hold names from untrusted sources, so they are not shown.
    """

    id: str
    type: str
    account: str
    region: str
    severity: float
    last_seen: datetime
    sent: datetime
    is_update: bool
    archived: bool
    sample: bool
    apis: frozenset[str] = field(repr=False)
    clusters: frozenset[str] = field(repr=False)
    namespaces: frozenset[str] = field(repr=False)
    principals: frozenset[str] = field(repr=False)
    secrets: frozenset[str] = field(repr=False)


def parse_finding(event: Json) -> Finding:
    """Parse an event. Raises RequestRefused if it is not a finding; unknown fields are ignored."""
    if event.get("source") != "aws.guardduty" or event.get("detail-type") != "GuardDuty Finding":
        raise errors.RequestRefused("The event is not a GuardDuty finding. Nothing was done.")
    detail = _object(event, "detail")
    text = {name: _formed(detail, name) for name in FORMS}
    service = _object(detail, "service")
    severity, updated = detail.get("severity"), _moment(detail, "updatedAt")
    last_seen = _moment(service, "eventLastSeen") or updated
    if last_seen is None or isinstance(severity, bool) or not isinstance(severity, int | float):
        raise errors.RequestRefused(
            "The finding lacks its times or its severity. Nothing was done."
        )
    return Finding(
        id=text["id"],
        type=text["type"],
        account=text["accountId"],
        region=text["region"],
        severity=float(severity),
        last_seen=last_seen,
        sent=_moment(event, "time") or last_seen,
        is_update=updated is not None and updated != _moment(detail, "createdAt"),
        archived=service.get("archived") is True,
        sample=_is_sample(detail),
        apis=frozenset(_apis(service)),
        clusters=frozenset(_clusters(detail)),
        namespaces=frozenset(_namespaces(detail)),
        principals=frozenset(_principals(detail)),
        secrets=frozenset(_secrets(service)),
    )


def _formed(detail: Json, name: str) -> str:
    text = detail.get(name)
    if not isinstance(text, str) or not re.fullmatch(FORMS[name], text, re.ASCII):
        raise errors.RequestRefused(
            f"GuardDuty finding: '{name}' is missing or malformed. Nothing was done."
        )
    return text


def _moment(fields: Json, name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(fields.get(name, ""))
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_sample(detail: Json) -> bool:
    """A sample is marked in its additionalInfo, as a field or in JSON text, or in its title."""
    info = _object(detail, "service", "additionalInfo")
    titled = str(detail.get("title", "")).startswith("[SAMPLE]")
    return titled or info.get("sample") is True or _value(info).get("sample") is True


def _apis(service: Json) -> Iterator[str]:
    """The API of the last call, and the reads of secrets among the anomalous calls."""
    yield from _texts(_object(service, "action", "awsApiCallAction"), "api")
    info = _object(service, "additionalInfo")
    for fields in (info, _value(info)):
        for text in _texts(_object(fields, "anomalies"), "anomalousAPIs"):
            yield from ANOMALOUS_READ.findall(text)


def _secrets(service: Json) -> Iterator[str]:
    affected = _object(service, "action", "awsApiCallAction", "affectedResources")
    for kind, name in affected.items():
        if str(kind).startswith("AWS::SecretsManager::") and isinstance(name, str):
            yield name


def _clusters(detail: Json) -> Iterator[str]:
    yield from _texts(_object(detail, "resource", "eksClusterDetails"), "name", "arn")
    for involved in _involved(detail, "resources"):
        if involved.get("resourceType") == "EKS_CLUSTER":
            yield from _texts(involved, "name", "uid")
            yield from _texts(_object(involved, "data", "eksCluster"), "arn")


def _namespaces(detail: Json) -> Iterator[str]:
    yield from _texts(_object(detail, "service", "action", "kubernetesApiCallAction"), "namespace")
    workload = _object(detail, "resource", "kubernetesDetails", "kubernetesWorkloadDetails")
    yield from _texts(workload, "namespace")
    for involved in _involved(detail, "resources"):
        yield from _texts(_object(involved, "data", "kubernetesWorkload"), "namespace")


def _principals(detail: Json) -> Iterator[str]:
    yield from _texts(_object(detail, "resource", "accessKeyDetails"), "userName")
    yield from _texts(_object(detail, "resource", "lambdaDetails"), "role")
    for actor in _involved(detail, "actors"):
        yield from _texts(_object(actor, "user"), "name", "uid")
        yield from _texts(_object(actor, "session"), "issuer")
    for involved in _involved(detail, "resources"):
        yield from _texts(_object(involved, "data", "accessKey"), "userName")


def _involved(detail: Json, what: str) -> Iterator[Json]:
    """The actors or the resources of an attack sequence."""
    entries = _object(detail, "service", "detection", "sequence").get(what)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            yield entry


def _value(info: Json) -> Json:
    """The JSON text in `value`, parsed."""
    try:
        value = json.loads(info.get("value", ""))
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _object(fields: Json, *names: str) -> Json:
    """The object at a path of names; empty if there is none."""
    for name in names:
        below = fields.get(name)
        if not isinstance(below, Mapping):
            return {}
        fields = below
    return fields


def _texts(fields: Json, *names: str) -> Iterator[str]:
    for name in names:
        text = fields.get(name)
        if isinstance(text, str) and text:
            yield text
