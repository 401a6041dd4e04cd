"""The vocabulary that the functions share with the state machine.

    RetryMe       the same call may succeed a little later; the state machine retries it
    Stop          people or the recovery path must act; a retry would only repeat it

`ErrorEquals` in the state machine names exactly these classes (`tests/shape` compares the sets).
A message says what is true now and what to do next; it never quotes a secret or a vendor's payload.
Each class is explained in `docs/operations.md`.
"""


class KeyturnError(Exception):
    """Everything that Keyturn raises on purpose."""


class RetryMe(KeyturnError):
    """The same call may succeed a little later."""


class Stop(KeyturnError):
    """A retry would only repeat it."""


class SecretsManagerUnavailable(RetryMe):
    """Secrets Manager did not answer, throttled us, or does not show a new version yet."""


class RotationPending(RetryMe):
    """An emergency rotation is under way and has not promoted its key yet; it is waited for."""


class StateMachineUnavailable(RetryMe):
    """Step Functions did not answer or throttled us."""


class CallNotConfirmed(RetryMe):
    """The running execution that made this call is not visible yet, or there is none."""


class PreflightUnanswered(RetryMe):
    """A function did not answer whether it could do its part of a rotation."""


class ClusterUnavailable(RetryMe):
    """The Kubernetes API did not answer, or answered that it cannot now."""


class DeliveryConflict(RetryMe):
    """Someone else wrote the Kubernetes or Vault secret, or a workload, before our write."""


class VaultUnavailable(RetryMe):
    """Vault did not answer in time, or answered that it cannot now: a standby, a limit, a fault."""


class VaultSealed(RetryMe):
    """Vault is sealed: it serves nobody until it is unsealed."""


class SessionStoreUnavailable(RetryMe):
    """Redis did not answer, is loading, has no primary now, or is moving slots."""


class ServiceUnhealthy(RetryMe):
    """A service's health or login URL did not answer as it should."""


class RecordNotStored(RetryMe):
    """The record of the run could not be written to its bucket."""


# Stop: the request or the configuration


class SettingsInvalid(Stop):
    """Environment variables are missing or malformed; the message lists all of them."""


class RequestRefused(Stop):
    """The event is not one that this function may act on; nothing was written."""


class AccessDenied(Stop):
    """A permission is missing; the message names the action and the resource."""


class AwsRefused(Stop):
    """AWS calls a request invalid, or impossible in the present state of what it names."""


class AwsResourceNotFound(Stop):
    """A secret, state machine, bucket, topic or bus that the stack names does not exist."""


class KmsKeyUnusable(Stop):
    """A KMS key is disabled, waits for its deletion or is gone: what it encrypts is unreadable."""


class SecretMarkedForDeletion(Stop):
    """The secret waits for its deletion: its value cannot be read, written or rotated."""


class ClusterNotTrusted(Stop):
    """What answers as the Kubernetes API is not the configured cluster: its certificate says so."""


class ClusterRefused(Stop):
    """The Kubernetes API calls our request invalid; nothing was changed."""


class VaultNotTrusted(Stop):
    """What answers at the Vault address has no certificate that we trust."""


class VaultLoginRefused(Stop):
    """Vault does not let the function in."""


class VaultRefused(Stop):
    """Vault calls our request invalid, or did not do what it said."""


class VaultSecretNotFound(Stop):
    """The mount, the path or the field does not exist in Vault."""


class VaultNotVersioned(Stop):
    """The mount is no KV version 2 engine, so a write could not be checked against a read."""


class VaultVersionDeleted(Stop):
    """The latest version of the secret in Vault is deleted, so its other fields are not known."""


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
    """The document with the new key is larger than what Secrets Manager stores."""


class OtherFieldsChanged(Stop):
    """The other fields of the current document are not those that the new version was made with."""


class KeyExposed(Stop):
    """The version is marked as exposed, or holds a key that is: it is delivered nowhere."""


class LabelMoved(Stop):
    """AWSCURRENT moved between our look and our move; nothing was promoted by us."""


class Superseded(Stop):
    """AWSCURRENT is no longer this run's version: another rotation has overtaken it."""


class RollbackRefused(Stop):
    """There is no way back: an emergency, or the previous version is gone or ruled out."""


# Stop: the services


class ServiceNotFound(Stop):
    """The workload, the Kubernetes Secret or the ExternalSecret does not exist."""


class ResourceNotServed(Stop):
    """The cluster serves no such resource: its operator is missing, or too old, or too new."""


class ServiceUnsupported(Stop):
    """A Rollout whose pod template is in another object: its pods cannot be judged."""


class ServicePaused(Stop):
    """The Deployment is paused: a restart does not roll out."""


class ServiceScaledToZero(Stop):
    """The workload asks for no pods: nothing would run the new key."""


class ServiceKeepsOldPods(Stop):
    """A restart would leave old pods: by a StatefulSet's update strategy, or an invalid Rollout."""


class KeyNotInjected(Stop):
    """No container of the workload refers to the delivered key."""


class DeliveryRefused(Stop):
    """The Kubernetes Secret cannot be written by us: immutable, or owned by another controller."""


class SyncImpossible(Stop):
    """An operator's resource is set up so that it never brings the new key, even on request."""


class SyncOverdue(Stop):
    """The operator was asked to sync and has not brought the promoted key in time."""


class DeliveryNotProven(Stop):
    """What was read back after the delivery is not the promoted key."""


class DeliveryOverwritten(Stop):
    """Something else wrote over the delivered key while the pods were restarted."""


class RestartOverwritten(Stop):
    """Someone else changed the pod template after our restart."""


class RolloutFailed(Stop):
    """New pods cannot start, or the Deployment stopped making progress."""


class RolloutOverdue(Stop):
    """The rollout did not finish before our own deadline."""


# Stop: the sessions and the proof


class SessionStoreRefused(Stop):
    """Redis does not let us in, or we do not trust its certificate."""


class SessionStoreUnsupported(Stop):
    """What answers is no Redis or Valkey server that can be purged: a Sentinel, a proxy."""


class SessionCommandRefused(Stop):
    """Redis does not take a command that a purge needs."""


class SessionDatabaseMissing(Stop):
    """The server or cluster has no database of the configured number."""


class FlushRefused(Stop):
    """The database that is to be flushed holds more than sessions."""


class LoginBroken(Stop):
    """The login URL redirects somewhere that it must not, or answers with an error."""


class KeyErrorsInLogs(Stop):
    """New pods log that their session key is missing or malformed."""


class NotificationFailed(Stop):
    """A message was not taken; the record says so and the run goes on."""


class UnexpectedFault(Stop):
    """A defect of Keyturn; the log line names its place, and no value."""
