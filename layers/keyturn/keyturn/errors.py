"""The errors that the functions share with the state machine.

    RetryMe       the same call may succeed a little later; the state machine retries it
    Stop          people or the rollback must act; a retry would fail in the same way

`ErrorEquals` in the state machine names exactly these classes (`tests/shape` compares the sets).
A message states what is true now, why, and the next command; it never quotes a secret or a
vendor's payload.
Each class is explained in `docs/operations.md`.
"""


class KeyturnError(Exception):
    """Everything that Keyturn raises on purpose."""


class RetryMe(KeyturnError):
    """The same call may succeed a little later."""


class Stop(KeyturnError):
    """A retry would fail in the same way."""


class SecretsManagerUnavailable(RetryMe):
    """Secrets Manager did not answer, throttled the call, or does not show a new version yet."""


class RotationPending(RetryMe):
    """An emergency rotation is in progress and has not promoted its key yet."""


class StateMachineUnavailable(RetryMe):
    """Step Functions did not answer or throttled the call."""


class CallNotConfirmed(RetryMe):
    """The running execution that made this call is not visible yet, or there is none."""


class PreflightUnanswered(RetryMe):
    """A function did not answer its preflight check."""


class ClusterUnavailable(RetryMe):
    """The Kubernetes API did not answer, or is temporarily unavailable."""


class DeliveryConflict(RetryMe):
    """Another writer changed the Kubernetes or Vault secret, or a workload, before the write."""


class VaultUnavailable(RetryMe):
    """Vault did not answer in time, or is unavailable: a standby, a rate limit, a fault."""


class VaultSealed(RetryMe):
    """Vault is sealed: it serves no requests until it is unsealed."""


class SessionStoreUnavailable(RetryMe):
    """Redis did not answer, is loading, has no primary now, or is moving slots."""


class ServiceUnhealthy(RetryMe):
    """A service's health or login URL did not return the expected status."""


class RecordNotStored(RetryMe):
    """The record of the run could not be written to its bucket."""


# Stop: the request or the configuration


class SettingsInvalid(Stop):
    """Environment variables are missing or malformed; the message lists all of them."""


class RequestRefused(Stop):
    """The event is invalid or not for this function; nothing was written."""


class AccessDenied(Stop):
    """A permission is missing; the message names the action and the resource."""


class AwsRefused(Stop):
    """AWS rejected a request as invalid, or as impossible in the present state of its resource."""


class AwsResourceNotFound(Stop):
    """A secret, state machine, bucket, topic or bus that the stack names does not exist."""


class KmsKeyUnusable(Stop):
    """A KMS key is disabled, pending deletion or deleted: what it encrypts is unreadable."""


class SecretMarkedForDeletion(Stop):
    """The secret is marked for deletion: its value cannot be read, written or rotated."""


class ClusterNotTrusted(Stop):
    """The Kubernetes API's certificate is not signed by the configured authority."""


class ClusterRefused(Stop):
    """The Kubernetes API rejected a request as invalid; nothing was changed."""


class VaultNotTrusted(Stop):
    """The certificate of the server at the Vault address is not trusted."""


class VaultLoginRefused(Stop):
    """Vault refused the function's login."""


class VaultRefused(Stop):
    """Vault rejected a request as invalid, or did not destroy a version."""


class VaultSecretNotFound(Stop):
    """The mount, the path or the field does not exist in Vault."""


class VaultNotVersioned(Stop):
    """The mount is not a KV version 2 engine, so check-and-set is not available."""


class VaultVersionDeleted(Stop):
    """The latest version of the secret in Vault is deleted, so its other fields are unknown."""


# Stop: the key


class KeyInvalid(Stop):
    """The secret's value is not a session key document."""


class SecretNotJson(KeyInvalid):
    """The secret's value is not a JSON object."""


class KeyFieldMissing(KeyInvalid):
    """The document has no SESSION_ENCRYPTION_KEY, or it is not text."""


class KeyNotBase64(KeyInvalid):
    """The key is not canonical standard base64."""


class KeyNot32Bytes(KeyInvalid):
    """The key does not decode to 32 bytes."""


class KeyTestFailed(KeyInvalid):
    """The key did not pass the encryption round trip."""


class SecretTooLarge(Stop):
    """The document with the new key exceeds the size limit of Secrets Manager."""


class OtherFieldsChanged(Stop):
    """Another field of the document was changed since the new version was created."""


class KeyExposed(Stop):
    """The version or its key is marked as exposed: it is never delivered."""


class LabelMoved(Stop):
    """AWSCURRENT moved between the read and the promotion; nothing was promoted."""


class Superseded(Stop):
    """AWSCURRENT is no longer this run's version: another rotation has overtaken it."""


class RollbackRefused(Stop):
    """No rollback is possible: an emergency, or the previous version is gone or exposed."""


# Stop: the services


class ServiceNotFound(Stop):
    """The workload, the Kubernetes Secret or the ExternalSecret does not exist."""


class ResourceNotServed(Stop):
    """The cluster does not serve this kind of resource: its operator is missing or unsupported."""


class ServiceUnsupported(Stop):
    """A Rollout refers to its pod template (workloadRef): its pods cannot be judged."""


class ServicePaused(Stop):
    """The Deployment is paused: a restart does not roll out."""


class ServiceScaledToZero(Stop):
    """The workload has 0 replicas: nothing would run the new key."""


class ServiceKeepsOldPods(Stop):
    """A restart would leave old pods: a StatefulSet's update strategy, or an invalid Rollout."""


class KeyNotInjected(Stop):
    """No container of the workload refers to the delivered key."""


class DeliveryRefused(Stop):
    """The Kubernetes Secret is immutable, or another controller owns it."""


class SyncImpossible(Stop):
    """An operator's resource is configured so that it never syncs the new key."""


class SyncOverdue(Stop):
    """The operator did not sync the promoted key in time."""


class DeliveryNotProven(Stop):
    """The key that was read back after the delivery is not the promoted key."""


class DeliveryOverwritten(Stop):
    """Another writer overwrote the delivered key during the restart."""


class RestartOverwritten(Stop):
    """Another writer changed the pod template after the restart."""


class RolloutFailed(Stop):
    """New pods cannot start, or the Deployment stopped making progress."""


class RolloutOverdue(Stop):
    """The rollout did not finish within RolloutSeconds."""


# Stop: the sessions and the proof


class SessionStoreRefused(Stop):
    """Redis refused the credentials, or its certificate is not trusted."""


class SessionStoreUnsupported(Stop):
    """The server is not a Redis or Valkey that can be purged: a Sentinel or a proxy."""


class SessionCommandRefused(Stop):
    """Redis does not permit a command that a purge needs."""


class SessionDatabaseMissing(Stop):
    """The server or cluster does not have the configured database number."""


class FlushRefused(Stop):
    """The database to flush holds keys that are not sessions."""


class LoginBroken(Stop):
    """The login URL redirects to a host that is not allowed, or returns an error."""


class KeyErrorsInLogs(Stop):
    """New pods log that their session key is missing or malformed."""


class NotificationFailed(Stop):
    """A channel rejected a message; the record has it and the run continues."""


class UnexpectedFault(Stop):
    """A bug in Keyturn; the log line names its place, and no value."""
