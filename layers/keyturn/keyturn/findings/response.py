"""The response to a finding: the rotation that it calls for, started once, and who is told.

The same finding comes more than once: with each update, from two accounts, and again where our
answer was lost. So it is judged anew from the state of the secret before every try. A pending
version that blocks an emergency loses its label by compare-and-swap, and only where Secrets Manager
has refused the rotation: a rotation that is not in the way goes on.

An emergency that is under way is joined, which nobody is told of. So the call ends in an error, is
repeated by Lambda after one and two minutes, and finds a new key then, or overtakes what is stuck.
Two copies of the function may run at once: Secrets Manager lets one version be pending.
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
    """The one secret, as an emergency needs it."""

    def versions(self) -> Sequence[Version]:
        """Every version, those without labels or without a value included."""

    def start_rotation(self, token: str) -> bool:
        """Start a rotation, or find it under way; False where a pending version is in its way."""

    def drop_label(self, label: str, version: str) -> None:
        """Take a label off a version, if it is there."""


@dataclass
class Answer:
    """What a finding came to. `recorded` is whether its rotation is known to be a finding's."""

    verdict: Decision
    unlabelled: list[str] = field(default_factory=list)
    recorded: bool = True


def respond(
    secret: Secret, notifications: Notifications, finding: Finding, scope: Scope, at: datetime
) -> dict[str, Any]:
    """Do what the finding calls for; returns the facts for the log.

    Raises RotationPending where an emergency is under way, SecretsManagerUnavailable where a
    rotation could not be started: Lambda tries again. Raises SecretMarkedForDeletion.
    """
    answer = _act(secret, finding, scope, at)
    told = None
    if answer.verdict.action != "ignore":
        told = notifications.notify(message(finding, answer, scope, at))
    return {**facts(finding, answer), "announced": told}


def _act(secret: Secret, finding: Finding, scope: Scope, at: datetime) -> Answer:
    """Judge and act until there is nothing left to do.

    After a mark it is judged once more: a run that failed this very moment may just have made the
    marked version current again, and then the key has to be rotated.
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
        f"The rotation {verdict.token} was refused {TRIES} times: a pending version is in its way"
        " again and again. It is safe to try again. Look which version carries AWSPENDING."
    )


def _record(secret: Secret, finding: Finding, token: str, at: datetime) -> bool:
    """Record a rotation before it is started; one that cannot be recorded is started as well."""
    try:
        secret.record_rotation(StartedRotation(token, at, finding.type, finding.id))
    except errors.KeyturnError:
        return False
    return True


def _wait_for(secret: Secret, token: str) -> None:
    """Have Secrets Manager go on with a rotation that is under way, and come back later."""
    secret.start_rotation(token)
    raise errors.RotationPending(
        f"The emergency rotation {token} is pending and has not made its key current yet. The"
        " finding is looked at again, and overtakes it where it makes no progress."
    )


def facts(finding: Finding, answer: Answer) -> dict[str, Any]:
    """What may be shown of a finding and its answer: nothing that an attacker has chosen."""
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
    """What people are told: what was found, what comes of it, and what to do next."""
    if answer.verdict.action == "rotate":
        told = _rotates(answer)
    elif answer.verdict.action == "mark":
        told = _marks(answer)
    else:
        told = _notifies(scope)
    fields = {
        "When": format_timestamp(at),
        "Impact": "",
        "Reason": answer.verdict.reason,
        "Finding": f"{finding.type}, severity {finding.severity:g}, id {finding.id}, last seen"
        f" {format_timestamp(finding.last_seen)}",
        "Where": f"account {finding.account}, Region {finding.region}",
        **told.fields,
    }
    command = told.command or commands.show_finding(finding.id, finding.region)
    return replace(told, fields=fields, facts=facts(finding, answer), command=command)


def _rotates(answer: Answer) -> Message:
    overtaken = ", ".join(answer.unlabelled)
    return Message(
        kind="Session Key Finding Answered",
        subject="Session key: emergency rotation after a GuardDuty finding",
        summary="A GuardDuty finding can mean that the session key is exposed. The key is being"
        " rotated.",
        fields={
            "Impact": "every session will end; users have to log in again",
            "Rotation": str(answer.verdict.token),
            **({"Overtaken": f"{overtaken}, which was pending"} if overtaken else {}),
        },
        next_steps="The key needs no action; more messages follow. Investigate the finding: what"
        " read this key may have read others.",
        facts={},
    )


def _marks(answer: Answer) -> Message:
    return Message(
        kind="Session Key Finding Marked",
        subject="Session key: a GuardDuty finding about the key that was replaced",
        summary=(
            "A GuardDuty finding can mean that the session key before the current one is exposed."
            " That version is marked: no rotation that fails goes back to it."
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
        summary="A GuardDuty finding was looked at. It does not rotate the session key.",
        fields={"Impact": "none; the key was not rotated"},
        next_steps="Investigate the finding in the GuardDuty console. If the session key may be"
        " exposed, rotate it at once:",
        facts={},
        command=commands.rotate(scope.secret_arn, "emergency"),
    )
