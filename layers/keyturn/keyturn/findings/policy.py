"""What a GuardDuty finding means for the session key: rotate, notify, or nothing. Pure.

A rotation logs every user out, so a principal that can cause findings could do that too. A finding
therefore rotates only if its type can mean that this key is exposed, if it concerns a resource that
can read the key, and if the key is not newer than the finding's last activity. Findings that rotate
are limited by a cool-down and a daily number; findings over the limit are reported.

There is no database. A finding's token is derived from its account, Region and id, and each
rotation for a finding is recorded by a tag on the secret (`secret.finding_history`). With the
secret's versions the tags record which findings have rotated, and when; a token alone proves
nothing.

A finding whose last activity is older than the current version concerns the previous version. It
rotates nothing, but that key is exposed: the version is marked (`secret.exposure`) and loses
AWSPREVIOUS, so that no failed rotation rolls back to it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from keyturn.findings.event import Finding
from keyturn.secret.finding_history import State
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS, Version
from keyturn.secret.trigger import EMERGENCY, FINDING
from keyturn.settings.loading import RespondToFindingSettings

DAY = timedelta(days=1)
JOINED_FOR = timedelta(minutes=2)  # many times as long as an emergency takes to promote its key
PENDING = frozenset({AWSPENDING})
READS = {"GetSecretValue", "BatchGetSecretValue"}


class Where(Enum):
    """The resource that a finding must concern to concern the session key."""

    CLUSTER = "the stack's cluster"
    SECRETS = "the stack's cluster, in its namespace or in none"
    NAMESPACE = "the stack's namespace in its cluster"
    ROLE = "a role that can read the secret"
    READ = "a read of the secret, or of an unnamed secret by a role that can read it"


# The types that can mean that the key is exposed. By type, not by severity: two of the most
# relevant, SecretsAccessed and the anomalous GetSecretValue, are of severity Medium.
ROTATES: Mapping[str, Where] = {
    "AttackSequence:EKS/CompromisedCluster": Where.CLUSTER,
    "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed": Where.SECRETS,
    "CredentialAccess:Kubernetes/MaliciousIPCaller": Where.SECRETS,
    "CredentialAccess:Kubernetes/MaliciousIPCaller.Custom": Where.SECRETS,
    "CredentialAccess:Kubernetes/SuccessfulAnonymousAccess": Where.SECRETS,
    "CredentialAccess:Kubernetes/TorIPCaller": Where.SECRETS,
    "CredentialAccess:IAMUser/AnomalousBehavior": Where.READ,
    "AttackSequence:IAM/CompromisedCredentials": Where.ROLE,
    "Exfiltration:IAMUser/AnomalousBehavior": Where.ROLE,
    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.InsideAWS": Where.ROLE,
    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS": Where.ROLE,
    "UnauthorizedAccess:IAMUser/ResourceCredentialExfiltration.InsideAWS": Where.ROLE,
    "UnauthorizedAccess:IAMUser/ResourceCredentialExfiltration.OutsideAWS": Where.ROLE,
    "Backdoor:Runtime/C&CActivity.B": Where.NAMESPACE,
    "Backdoor:Runtime/C&CActivity.B!DNS": Where.NAMESPACE,
    "DefenseEvasion:Runtime/FilelessExecution": Where.NAMESPACE,
    "Execution:Kubernetes/AnomalousBehavior.ExecInPod": Where.NAMESPACE,
    "Execution:Kubernetes/ExecInKubeSystemPod": Where.NAMESPACE,
    "Execution:Kubernetes/MaliciousFile": Where.NAMESPACE,
    "Execution:Runtime/MaliciousFileExecuted": Where.NAMESPACE,
    "Execution:Runtime/NewBinaryExecuted": Where.NAMESPACE,
    "Execution:Runtime/ReverseShell": Where.NAMESPACE,
    "Persistence:Kubernetes/AnomalousBehavior.WorkloadDeployed!ContainerWithSensitiveMount": (
        Where.NAMESPACE
    ),
    "Policy:Kubernetes/AdminAccessToDefaultServiceAccount": Where.NAMESPACE,
    "Policy:Kubernetes/AnonymousAccessGranted": Where.NAMESPACE,
    "PrivilegeEscalation:Kubernetes/AnomalousBehavior.RoleBindingCreated": Where.NAMESPACE,
    "PrivilegeEscalation:Kubernetes/AnomalousBehavior.WorkloadDeployed!PrivilegedContainer": (
        Where.NAMESPACE
    ),
    "PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified": Where.NAMESPACE,
    "PrivilegeEscalation:Runtime/ContainerMountsHostDirectory": Where.NAMESPACE,
    "PrivilegeEscalation:Runtime/DockerSocketAccessed": Where.NAMESPACE,
    "PrivilegeEscalation:Runtime/RuncContainerEscape": Where.NAMESPACE,
}


@dataclass(frozen=True)
class Scope:
    """The stack's resources, and the limits for findings. A cluster has a name and an ARN."""

    account: str
    region: str
    secret_arn: str
    clusters: frozenset[str]
    namespace: str
    roles: frozenset[str]
    cooldown: timedelta
    daily_limit: int
    samples: bool


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    `token` names the rotation to start, which `joins` one in progress; `blocked_by` is a pending
    version that may block it. `exposed` is the version to mark.
    """

    action: Literal["rotate", "mark", "notify", "ignore"]
    reason: str
    token: str | None = None
    joins: bool = False
    blocked_by: str | None = None
    exposed: str | None = None


def decide(finding: Finding, scope: Scope, state: State, at: datetime) -> Decision:
    """Decide from the finding, the stack's resources and the state of the secret."""
    refused = _refuse(finding, scope)
    if refused:
        return refused
    current = state.labelled(AWSCURRENT)
    if current and current.created and current.created > finding.last_seen:
        # An emergency marks the version that it replaces, shortly after its promotion.
        settling = current.id.startswith(EMERGENCY) and at - current.created < JOINED_FOR
        return _about_an_older_key(finding, None if settling else state.labelled(AWSPREVIOUS))
    pending = state.labelled(AWSPENDING)
    blocking = pending if pending and pending is not current else None
    if blocking and _is_under_way(blocking, finding, state, at):
        return Decision("rotate", "An emergency rotation is in progress.", blocking.id, joins=True)
    if held := _held_back(scope, state, at):
        return Decision("notify", held)
    reason = f"The finding is about {ROTATES[finding.type].value}."
    token = _next_token(token_of(finding), state, at)
    return Decision("rotate", reason, token, blocked_by=blocking.id if blocking else None)


def token_of(finding: Finding) -> str:
    """The token of a finding's first rotation: the same from each account's copy."""
    named = f"{finding.account}|{finding.region}|{finding.id}"
    return f"{FINDING}{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def scope_of(settings: RespondToFindingSettings) -> Scope:
    """The stack's resources: the secret's account and Region, and the cluster in it."""
    _, partition, _, region, account, _ = settings.secret_arn.split(":", 5)
    arn = f"arn:{partition}:eks:{region}:{account}:cluster/{settings.cluster_name}"
    roles = (*settings.key_roles, *settings.finding_scope_roles)
    return Scope(
        account=account,
        region=region,
        secret_arn=settings.secret_arn,
        clusters=frozenset({settings.cluster_name, arn}),
        namespace=settings.namespace,
        roles=frozenset(role_name(role) for role in roles),
        cooldown=timedelta(minutes=settings.finding_cooldown_minutes),
        daily_limit=settings.finding_daily_limit,
        samples=settings.allow_sample_findings,
    )


def role_name(principal: str) -> str:
    """The name in an ARN of a role, a user or a role's session; a name is returned as it is."""
    path = principal.split("/")
    return path[1] if ":assumed-role/" in principal else path[-1]


def _refuse(finding: Finding, scope: Scope) -> Decision | None:
    """The decision on a finding that rotates nothing, whatever the state of the secret."""
    if finding.archived:
        return Decision("ignore", "The finding is archived.")
    if finding.sample and not scope.samples:
        return Decision("ignore", "The finding is a sample, and samples are not allowed.")
    outside = _outside(finding, scope)
    if outside and finding.is_update:
        return Decision("ignore", f"{outside} The new finding was reported.")
    return Decision("notify", outside) if outside else None


def _outside(finding: Finding, scope: Scope) -> str | None:
    """Why a finding does not concern the stack, or None. A sample's names are not checked."""
    where = ROTATES.get(finding.type)
    if where is None:
        return "Findings of this type do not show that the key is exposed."
    if (finding.account, finding.region) != (scope.account, scope.region):
        return "The finding is about another account or Region."
    if finding.sample or _is_in_scope(where, finding, scope):
        return None
    return f"The finding is not about {where.value}."


def _is_in_scope(where: Where, finding: Finding, scope: Scope) -> bool:
    in_cluster = bool(finding.clusters & scope.clusters)
    in_namespace = scope.namespace in finding.namespaces
    by_role = bool({role_name(name) for name in finding.principals} & scope.roles)
    names = {scope.secret_arn, scope.secret_arn.rpartition(":secret:")[2][:-7]}
    of_secret = bool(finding.secrets & names) if finding.secrets else by_role
    return {
        Where.CLUSTER: in_cluster,
        Where.SECRETS: in_cluster and (in_namespace or not finding.namespaces),
        Where.NAMESPACE: in_cluster and in_namespace,
        Where.ROLE: by_role,
        Where.READ: bool(finding.apis & READS) and of_secret,
    }[where]


def _about_an_older_key(finding: Finding, previous: Version | None) -> Decision:
    """The response to a finding whose last activity is older than the current key."""
    newer = "The key is newer than the last activity of the finding."
    if previous is None or previous.created is None or previous.created > finding.last_seen:
        return Decision("ignore", newer)
    return Decision("mark", f"{newer} The previous key was current then.", exposed=previous.id)


def _is_under_way(pending: Version, finding: Finding, state: State, at: datetime) -> bool:
    """Whether it is an emergency that is not pending for too long to wait for.

    A finding's rotation is recorded. Any other has an age once it has a value; until then only the
    number of attempts of this event is known.
    """
    recorded = next(
        (rotation.at for rotation in state.started if rotation.token == pending.id), None
    )
    since = recorded or pending.created or finding.sent
    return pending.id.startswith(EMERGENCY) and at - since < JOINED_FOR


def _held_back(scope: Scope, state: State, at: datetime) -> str | None:
    """Why no finding may rotate now. A version that is still pending has logged no user out."""
    recorded = {rotation.token for rotation in state.started}
    rotated = [
        rotation.created
        for rotation in state.versions
        if rotation.created and rotation.id in recorded and rotation.labels != PENDING
    ]
    if any(at - made < scope.cooldown for made in rotated):
        return "A finding rotated the key recently (FindingLimits)."
    if sum(at - made < DAY for made in rotated) >= scope.daily_limit:
        return "The daily limit of rotations by findings is reached (FindingLimits)."
    return None


def _next_token(first: str, state: State, at: datetime) -> str:
    """The finding's token, with the next number if versions of it exist, or have existed."""
    # Another copy may be about to start the recorded rotation: the same token makes them one
    # rotation.
    gone = [rotation.token for rotation in state.started if at - rotation.at >= JOINED_FOR]
    used = [rotation.id for rotation in state.versions] + gone
    matches = (re.fullmatch(rf"{first}(?:-(\d+))?", token) for token in used)
    last = max((int(rotation[1] or 1) for rotation in matches if rotation), default=0)
    return f"{first}-{last + 1}" if last else first
