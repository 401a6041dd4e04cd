"""The response to a finding: its rotation, started once, and its message.

The same finding arrives more than once: with each update, from two accounts, and again after a lost
response. So it is judged again from the state of the secret before every attempt.

A pending version that blocks an emergency loses its label by compare-and-swap, and only after
Secrets Manager has refused the rotation: a rotation that does not block continues. An emergency in
progress is joined, without a report. The call then ends in an error, which Lambda retries after one
and two minutes; the retry finds a new key, or overtakes the stuck rotation. Two copies of the
function may run at once: Secrets Manager permits one pending version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from keyturn import errors
from keyturn.findings.event import Finding
from keyturn.findings.policy import Decision, Scope, decide
from keyturn.reporting import commands
from keyturn.reporting.notifications import Message, Notifications
from keyturn.run.times import format_timestamp
from keyturn.secret.exposure import Mark, MarkStore
from keyturn.secret.finding_history import HistoryStore, StartedRotation, State
from keyturn.secret.staging_labels import AWSPENDING, AWSPREVIOUS, Version

TRIES = 4


class Secret(MarkStore, HistoryStore, Protocol):
    """The operations on the secret that an emergency needs."""

    def versions(self) -> Sequence[Version]:
        """Every version, those without labels or without a value included."""

    def start_rotation(self, token: str) -> bool:
        """Start a rotation, or find it in progress; False if a pending version blocks it."""

    def drop_label(self, label: str, version: str) -> None:
        """Remove a label from a version, if it is there."""


@dataclass
class Answer:
    """The result of a finding. `recorded` is whether its rotation is known to be a finding's."""

    verdict: Decision
    unlabelled: list[str] = field(default_factory=list)
    recorded: bool = True


def respond(
    secret: Secret, notifications: Notifications, finding: Finding, scope: Scope, at: datetime
) -> dict[str, Any]:
    """Respond to the finding; returns the facts for the log.

    Raises RotationPending if an emergency is in progress, SecretsManagerUnavailable if a rotation
    could not be started: Lambda retries. Raises SecretMarkedForDeletion.
    """
    answer = _act(secret, finding, scope, at)
    announced = None
    if answer.verdict.action != "ignore":
        announced = notifications.notify(message(finding, answer, scope, at))
    return {**facts(finding, answer), "announced": announced}


def _act(secret: Secret, finding: Finding, scope: Scope, at: datetime) -> Answer:
    """Judge and act until nothing is left to do.

    After a mark the finding is judged once more: a run that has just failed may have rolled back to
    the marked version, and then the key must be rotated.
    """
    unlabelled: list[str] = []
    marking: Decision | None = None
    for _ in range(TRIES):
        state = State(secret.versions(), secret.started_rotations())
        verdict = decide(finding, scope, state, at)
        if verdict.exposed:
            secret.mark_exposed(Mark(verdict.exposed, at, "finding"))
            secret.drop_label(AWSPREVIOUS, verdict.exposed)
            marking = verdict
        elif verdict.token is None:
            return Answer(marking or verdict, unlabelled)
        elif verdict.joins:
            _wait_for(secret, verdict.token)
        else:
            recorded = _record(secret, finding, verdict.token, at)
            if secret.start_rotation(verdict.token):
                return Answer(verdict, unlabelled, recorded)
            if verdict.blocked_by:
                secret.drop_label(AWSPENDING, verdict.blocked_by)
                unlabelled.append(verdict.blocked_by)
    if verdict.blocked_by is None:
        raise errors.AwsRefused(
            f"Secrets Manager refuses the rotation {verdict.token}, and no pending version is in"
            " its way. The key was not rotated. See whether the secret's rotation is set up:"
            f" aws secretsmanager describe-secret --secret-id {scope.secret_arn}. See"
            " docs/operations.md, AwsRefused."
        )
    raise errors.SecretsManagerUnavailable(
        f"The rotation {verdict.token} was refused {TRIES} times: a pending version blocks"
        " it each time. It is safe to try again. Check which version carries AWSPENDING."
    )


def _record(secret: Secret, finding: Finding, token: str, at: datetime) -> bool:
    """Record a rotation before it is started; if that fails, it is still started."""
    try:
        secret.record_rotation(StartedRotation(token, at, finding.type, finding.id))
    except errors.KeyturnError:
        return False
    return True


def _wait_for(secret: Secret, token: str) -> None:
    """Have Secrets Manager continue a pending rotation, and retry later."""
    secret.start_rotation(token)
    raise errors.RotationPending(
        f"The emergency rotation {token} is pending and has not promoted its key yet. The"
        " finding is retried, and overtakes the rotation if it makes no progress."
    )


def facts(finding: Finding, answer: Answer) -> dict[str, Any]:
    """The facts of a finding and its response that may be shown: no text of an attacker."""
    verdict = answer.verdict
    return {
        "decision": verdict.action,
        "reason": verdict.reason,
        "rotationId": verdict.token,
        "recorded": answer.recorded,
        "exposed": verdict.exposed,
        "unlabelled": answer.unlabelled,
        "findingId": finding.id,
        "findingType": finding.type,
        "account": finding.account,
        "region": finding.region,
        "severity": finding.severity,
        "lastSeen": format_timestamp(finding.last_seen),
        "sample": finding.sample,
    }


def message(finding: Finding, answer: Answer, scope: Scope, at: datetime) -> Message:
    """The message: the finding, its consequence and the next step."""
    if answer.verdict.action == "rotate":
        text = _rotates(answer)
    elif answer.verdict.action == "mark":
        text = _marks(answer)
    else:
        text = _notifies(scope)
    fields = {
        "When": format_timestamp(at),
        "Impact": "",
        "Reason": answer.verdict.reason,
        "Finding": f"{finding.type}, severity {finding.severity:g}, id {finding.id}, last seen"
        f" {format_timestamp(finding.last_seen)}",
        "Where": f"account {finding.account}, Region {finding.region}",
        **text.fields,
    }
    command = text.command or commands.show_finding(finding.id, finding.region)
    return replace(text, fields=fields, facts=facts(finding, answer), command=command)


def _rotates(answer: Answer) -> Message:
    overtaken = ", ".join(answer.unlabelled)
    return Message(
        kind="Session Key Finding Answered",
        subject="Session key: emergency rotation after a GuardDuty finding",
        summary="A GuardDuty finding may mean that the session key is exposed. The key is being"
        " rotated.",
        fields={
            "Impact": "every session will end; users have to log in again",
            "Rotation": str(answer.verdict.token),
            **({"Overtaken": f"{overtaken}, which was pending"} if overtaken else {}),
        },
        next_steps="The key needs no action; more messages follow. Investigate the finding: whoever"
        " read this key may have read others.",
        facts={},
    )


def _marks(answer: Answer) -> Message:
    return Message(
        kind="Session Key Finding Marked",
        subject="Session key: a GuardDuty finding about the key that was replaced",
        summary=(
            "A GuardDuty finding may mean that the previous session key is exposed."
            " That version is marked: no rollback restores it."
        ),
        fields={
            "Impact": "none; the current key is newer than what was seen",
            "Marked": f"{answer.verdict.exposed}, which has lost AWSPREVIOUS",
        },
        next_steps="The key needs no action. If the rotation that replaced it fails, fix the cause"
        " and retry the run. Investigate the finding: what read that key may have read others.",
        facts={},
    )


def _notifies(scope: Scope) -> Message:
    return Message(
        kind="Session Key Finding Noticed",
        subject="Session key: a GuardDuty finding that rotates nothing",
        summary="A GuardDuty finding was evaluated. It does not rotate the session key.",
        fields={"Impact": "none; the key was not rotated"},
        next_steps="Investigate the finding in the GuardDuty console. If the session key may be"
        " exposed, rotate it at once:",
        facts={},
        command=commands.rotate(scope.secret_arn, "emergency"),
    )
