"""How a rotation starts: by its schedule, as an emergency, or because of a GuardDuty finding."""

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local import console
from local.aws import ACCOUNT, REGION
from local.clock import LaggingClock
from local.stack import CLUSTER_NAME, LocalStack

MINUTE = timedelta(minutes=1)
LAST_OPENING = 22


def options(mode: str, at: datetime) -> Mapping[str, Any]:
    """What the stack is made with.

    A scheduled rotation comes in a window that opened on the last full hour, or at 22:00, since a
    window of two hours must not extend into the next UTC day: Secrets Manager's clock lags behind
    until ten minutes before that, which no stack takes to start, and then catches up.
    """
    if mode != "scheduled":
        return {}
    opens = at.replace(hour=min(at.hour, LAST_OPENING), minute=0, second=0, microsecond=0)
    schedule = f"cron(0 {opens.hour} * * ? *)"
    return {
        "clock": LaggingClock(at - opens + 10 * MINUTE),
        "parameters": {"RotationSchedule": schedule, "RotationWindow": "2h"},
    }


def by_schedule(stack: LocalStack) -> str:
    """The secret's clock reaches its rotation window."""
    return stack.reach_window()


def as_emergency(stack: LocalStack) -> str:
    """Somebody calls `aws secretsmanager rotate-secret` with a token that says so."""
    return stack.rotate(ClientRequestToken=f"emergency-{uuid.uuid4()}")


def by_finding(stack: LocalStack) -> str:
    """GuardDuty puts a finding on the bus: somebody read the secrets of our namespace."""
    known = {*stack.labels()}
    detail = finding(datetime.now(UTC))
    entry = {
        "Source": "aws.guardduty",
        "DetailType": "GuardDuty Finding",
        "Detail": json.dumps(detail),
    }
    stack.cloud.client("events").put_events(Entries=[entry])
    return stack.wait_for_rotation(known)


WAYS: Mapping[str, Callable[[LocalStack], str]] = {
    "scheduled": by_schedule,
    "emergency": as_emergency,
    "finding": by_finding,
}
SAYS = {
    "scheduled": "Secrets Manager: the rotation window has opened",
    "emergency": "RotateSecret with a token emergency-…",
    "finding": "GuardDuty: CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed",
}


def finding(at: datetime) -> dict[str, Any]:
    """A finding as EventBridge delivers it, about the local cluster and its console."""
    seen = at.isoformat()
    return {
        "schemaVersion": "2.0",
        "accountId": ACCOUNT,
        "region": REGION,
        "partition": "aws",
        "id": uuid.uuid4().hex,
        "arn": f"arn:aws:guardduty:{REGION}:{ACCOUNT}:detector/local/finding/local",
        "type": "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed",
        "severity": 5.0,
        "createdAt": seen,
        "updatedAt": seen,
        "title": "Secrets were read anomalously.",
        "description": "Secrets were read anomalously.",
        "resource": {
            "resourceType": "EKSCluster",
            "eksClusterDetails": {
                "name": CLUSTER_NAME,
                "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER_NAME}",
            },
        },
        "service": {
            "serviceName": "guardduty",
            "detectorId": "local",
            "action": {
                "actionType": "KUBERNETES_API_CALL",
                "kubernetesApiCallAction": {
                    "verb": "list",
                    "resource": "secrets",
                    "namespace": console.NAMESPACE,
                },
            },
            "archived": False,
            "count": 1,
            "eventFirstSeen": seen,
            "eventLastSeen": seen,
            "additionalInfo": {"value": "{}", "type": "default"},
        },
    }
