"""The response to a finding: the rotation that it calls for, started once, and who is told.

The same finding comes more than once: with each update, from two accounts, and again where our
answer was lost. So it is judged anew from the secret's versions before every try; nothing else is
kept. A pending version that blocks an emergency loses its label by compare-and-swap, and only where
Secrets Manager has refused the rotation: a rotation that is not in the way goes on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from keyturn import errors, record
from keyturn.finding import Scope, Verdict, Version, judge
from keyturn.finding_event import Finding
from keyturn.record import Message, Notifier
from keyturn.run import timestamp

TRIES = 3


class Secret(Protocol):
    """The one secret, as an emergency needs it."""

    def versions(self) -> Sequence[Version]:
        """Every version, those without labels or without a value included."""

    def start_rotation(self, token: str) -> bool:
        """Start a rotation, or find it under way; False where a pending version is in its way."""

    def drop_pending(self, version: str) -> None:
        """Take AWSPENDING off a version, if it is there."""


def respond(
    secret: Secret, notifier: Notifier, finding: Finding, scope: Scope, at: datetime
) -> dict[str, Any]:
    """Do what the finding calls for; returns the facts for the log.

    Raises SecretsManagerUnavailable where a rotation could not be started, so that Lambda tries
    again.
    """
    verdict, unlabelled = _act(secret, finding, scope, at)
    told = None
    if verdict.action != "ignore" and not verdict.joins:
        told = record.tell(notifier, message(finding, verdict, unlabelled, scope, at))
    return {**facts(finding, verdict), "unlabelled": unlabelled, "announced": told}


def _act(secret: Secret, finding: Finding, scope: Scope, at: datetime) -> tuple[Verdict, list[str]]:
    unlabelled: list[str] = []
    for _ in range(TRIES):
        verdict = judge(finding, scope, secret.versions(), at)
        if verdict.token is None or secret.start_rotation(verdict.token) or verdict.joins:
            return verdict, unlabelled
        if verdict.blocked_by:
            secret.drop_pending(verdict.blocked_by)
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
    rotates = verdict.action == "rotate"
    subject, text = (
        ("Session key: emergency rotation after a GuardDuty finding", _rotates(verdict, unlabelled))
        if rotates
        else ("Session key: a GuardDuty finding that rotates nothing", _notes(scope))
    )
    return Message(
        kind=f"Session Key Finding {'Answered' if rotates else 'Noticed'}",
        subject=subject,
        text=(
            f"When:     {timestamp(at)}\n"
            f"Finding:  {finding.type}, severity {finding.severity:g}, last seen"
            f" {timestamp(finding.last_seen)}\n"
            f"          id {finding.id} in {finding.account}, {finding.region}\n"
            f"Reason:   {verdict.reason}\n{text}"
        ),
        facts={**facts(finding, verdict), "unlabelled": list(unlabelled)},
    )


def _rotates(verdict: Verdict, unlabelled: Sequence[str]) -> str:
    over = f"Overtaken: {', '.join(unlabelled)}, which was pending\n" if unlabelled else ""
    return (
        "Impact:   every session will end. Users have to log in again.\n"
        f"Rotation: {verdict.token}\n{over}\n"
        "You need not do anything for the key; more messages follow. Look into the finding in the"
        " GuardDuty console: what has read this key may have read others."
    )


def _notes(scope: Scope) -> str:
    return (
        "Impact:   none. The key was not rotated.\n\n"
        "Look into the finding in the GuardDuty console. If the session key may be exposed, rotate"
        " it at once:\n"
        f"  aws secretsmanager rotate-secret --secret-id {scope.secret_arn}"
        ' --client-request-token "emergency-$(uuidgen)"'
    )
