"""The response to a finding: the rotation that it calls for, started once, and who is told.

The same finding comes more than once: with each update, from two accounts, and again where our
answer was lost. So it is judged anew from the secret's versions before every try; nothing else is
kept. A pending version that blocks an emergency loses its label by compare-and-swap, and only where
Secrets Manager has refused the rotation: a rotation that is not in the way goes on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from keyturn import commands, errors
from keyturn.channels import Message, Notifications
from keyturn.finding import Scope, Verdict, judge
from keyturn.finding_event import Finding
from keyturn.labels import AWSPENDING, Version
from keyturn.run import timestamp

TRIES = 3


class Secret(Protocol):
    """The one secret, as an emergency needs it."""

    def versions(self) -> Sequence[Version]:
        """Every version, those without labels or without a value included."""

    def start_rotation(self, token: str) -> bool:
        """Start a rotation, or find it under way; False where a pending version is in its way."""

    def drop_label(self, label: str, version: str) -> None:
        """Take a label off a version, if it is there."""


def respond(
    secret: Secret, notifications: Notifications, finding: Finding, scope: Scope, at: datetime
) -> dict[str, Any]:
    """Do what the finding calls for; returns the facts for the log.

    Raises SecretsManagerUnavailable where a rotation could not be started, so that Lambda tries
    again.
    """
    verdict, unlabelled = _act(secret, finding, scope, at)
    told = None
    if verdict.action != "ignore" and not verdict.joins:
        told = notifications.tell(message(finding, verdict, unlabelled, scope, at))
    return {**facts(finding, verdict), "unlabelled": unlabelled, "announced": told}


def _act(secret: Secret, finding: Finding, scope: Scope, at: datetime) -> tuple[Verdict, list[str]]:
    unlabelled: list[str] = []
    for _ in range(TRIES):
        verdict = judge(finding, scope, secret.versions(), at)
        if verdict.token is None or secret.start_rotation(verdict.token) or verdict.joins:
            return verdict, unlabelled
        if verdict.blocked_by:
            secret.drop_label(AWSPENDING, verdict.blocked_by)
            unlabelled.append(verdict.blocked_by)
    raise errors.SecretsManagerUnavailable(
        f"The rotation {verdict.token} was refused {TRIES} times: a pending version is in its way"
        " again and again, or the secret cannot be rotated now. It is safe to try again. Look which"
        " version carries AWSPENDING, and whether the secret waits for its deletion."
    )


def facts(finding: Finding, verdict: Verdict) -> dict[str, Any]:
    """What may be shown of a finding and its answer: nothing that an attacker has chosen."""
    return {
        "decision": verdict.action,
        "reason": verdict.reason,
        "rotationId": verdict.token,
        "joined": verdict.joins,
        "findingId": finding.id,
        "findingType": finding.type,
        "account": finding.account,
        "region": finding.region,
        "severity": finding.severity,
        "lastSeen": timestamp(finding.last_seen),
        "sample": finding.sample,
    }


def message(
    finding: Finding, verdict: Verdict, unlabelled: Sequence[str], scope: Scope, at: datetime
) -> Message:
    """What people are told: what was found, what comes of it, and what to do next."""
    fields = {
        "When": timestamp(at),
        "Impact": "none; the key was not rotated",
        "Reason": verdict.reason,
        "Finding": f"{finding.type}, severity {finding.severity:g}, id {finding.id} in"
        f" {finding.account}, {finding.region}, last seen {timestamp(finding.last_seen)}",
    }
    shown = {**facts(finding, verdict), "unlabelled": list(unlabelled)}
    if verdict.action != "rotate":
        return Message(
            kind="Session Key Finding Noticed",
            subject="Session key: a GuardDuty finding that rotates nothing",
            says="A GuardDuty finding was looked at. It does not rotate the session key.",
            fields=fields,
            todo="Look into the finding in the GuardDuty console. If the session key may be"
            " exposed, rotate it at once:",
            facts=shown,
            command=commands.rotate(scope.secret_arn, "emergency"),
        )
    fields |= {
        "Impact": "every session will end; users have to log in again",
        "Rotation": str(verdict.token),
        **({"Overtaken": f"{', '.join(unlabelled)}, which was pending"} if unlabelled else {}),
    }
    return Message(
        kind="Session Key Finding Answered",
        subject="Session key: emergency rotation after a GuardDuty finding",
        says="A GuardDuty finding can mean that the session key is exposed: it is being rotated.",
        fields=fields,
        todo="You need not do anything for the key; more messages follow. Look into the finding in"
        " the GuardDuty console: what has read this key may have read others.",
        facts=shown,
    )
