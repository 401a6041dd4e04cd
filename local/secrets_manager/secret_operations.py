"""Operations on secrets as a whole: create, describe, list, delete, tags and policy."""

import json
from datetime import datetime, timedelta
from typing import Any

from local.secrets_manager import labels as label_rules
from local.secrets_manager import secret_listing
from local.secrets_manager.errors import (
    AwsError,
    invalid_parameter,
    invalid_request,
)
from local.secrets_manager.rotation import Rotations
from local.secrets_manager.secret import Secret, Value
from local.secrets_manager.secret_listing import identity
from local.secrets_manager.store import SecretStore
from local.secrets_manager.tags import merge_tags, refuse_reserved
from local.secrets_manager.version_operations import VersionOperations

DEFAULT_RECOVERY_DAYS = 30
MIN_RECOVERY_DAYS = 7
NOT_EMULATED = (
    "AddReplicaRegions",
    "ForceOverwriteReplicaSecret",
    "Type",
    "CrossAccountPrimaryARN",
)
NAME_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+=.@-!"
)

Request = dict[str, Any]
Response = dict[str, Any]


class SecretOperations:
    """One method an operation; each takes and returns AWS's JSON shapes."""

    def __init__(
        self, store: SecretStore, versions: VersionOperations, rotations: Rotations
    ) -> None:
        self._store = store
        self._versions = versions
        self._rotations = rotations

    def create_secret(self, request: Request, now: datetime) -> Response:
        """Create a secret, with a first version under AWSCURRENT if a value is given."""
        refuse_unemulated(request, NOT_EMULATED)
        name, value = request["Name"], Value.read(request)
        if not set(name) <= NAME_CHARACTERS:
            raise AwsError(
                "ValidationException",
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of "
                "the following: -/_+=.@!",
            )
        tags = merge_tags({}, request.get("Tags") or [])
        existing = self._store.named(name)
        if existing is not None:
            return self._create_again(existing, request, value)
        secret = self._store.create(name, now)
        secret.description = request.get("Description")
        secret.kms_key_id = request.get("KmsKeyId")
        secret.tags = tags
        if value is None:
            return identity(secret)
        self._versions.add(secret, request["ClientRequestToken"], value, [label_rules.CURRENT], now)
        return identity(secret) | {"VersionId": request["ClientRequestToken"]}

    def describe_secret(self, request: Request, now: datetime) -> Response:
        """Describe a secret, one that is marked for deletion included."""
        del now
        return secret_listing.describe(self._store.find(request["SecretId"]))

    def list_secrets(self, request: Request, now: datetime) -> Response:
        """List the secrets that are not marked for deletion, a page at a time."""
        del now
        refuse_unemulated(request, ("Filters", "IncludePlannedDeletion", "SortBy", "SortOrder"))
        return secret_listing.page_of_secrets(self._store.all(), request)

    def delete_secret(self, request: Request, now: datetime) -> Response:
        """Delete a secret after a recovery window of 7 to 30 days."""
        refuse_unemulated(request, ("ForceDeleteWithoutRecovery",))
        days = request.get("RecoveryWindowInDays", DEFAULT_RECOVERY_DAYS)
        if not MIN_RECOVERY_DAYS <= days <= DEFAULT_RECOVERY_DAYS:
            raise invalid_parameter(
                "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
            )
        secret = self._store.find_active(request["SecretId"])
        secret.deleted = now + timedelta(days=days)
        self._rotations.drop_stale(secret, now)
        return identity(secret) | {"DeletionDate": secret.deleted.timestamp()}

    def restore_secret(self, request: Request, now: datetime) -> Response:
        """Take back a deletion whose recovery window is still open."""
        secret = self._store.find(request["SecretId"])
        secret.deleted = None
        secret.changed = now
        self._store.schedule_changed.set()
        return identity(secret)

    def tag_resource(self, request: Request, now: datetime) -> Response:
        """Add tags, or change those whose keys exist."""
        secret = self._store.find_active(request["SecretId"])
        secret.tags = merge_tags(secret.tags, request["Tags"])
        secret.changed = now
        return {}

    def untag_resource(self, request: Request, now: datetime) -> Response:
        """Remove tags; those that do not exist are no error."""
        secret = self._store.find_active(request["SecretId"])
        refuse_reserved(request["TagKeys"])
        secret.tags = {k: v for k, v in secret.tags.items() if k not in request["TagKeys"]}
        secret.changed = now
        return {}

    def put_resource_policy(self, request: Request, now: datetime) -> Response:
        """Store the resource policy; it is kept, not enforced."""
        secret = self._store.find_active(request["SecretId"])
        if request.get("PolicyName", "default") != "default":
            raise invalid_parameter("You can only attach the policy named default.")
        try:
            json.loads(request["ResourcePolicy"])
        except ValueError:
            raise AwsError(
                "MalformedPolicyDocumentException", "This resource policy isn't valid JSON."
            ) from None
        secret.policy, secret.changed = request["ResourcePolicy"], now
        return identity(secret) | {"PolicyName": "default"}

    def get_resource_policy(self, request: Request, now: datetime) -> Response:
        """Return the stored resource policy, if there is one."""
        del now
        secret = self._store.find_active(request["SecretId"])
        policy = {} if secret.policy is None else {"ResourcePolicy": secret.policy}
        return identity(secret) | {"PolicyName": "default"} | policy

    def _create_again(self, existing: Secret, request: Request, value: Value | None) -> Response:
        if existing.deleted is not None:
            raise invalid_request(
                "You can't create this secret because a secret with this name is already "
                "scheduled for deletion."
            )
        version = existing.versions.get(request.get("ClientRequestToken", ""))
        if version is None or value is None or version.value != value:
            raise AwsError(
                "ResourceExistsException",
                f"The operation failed because the secret {existing.name} already exists.",
            )
        return identity(existing) | {"VersionId": version.id}


def refuse_unemulated(request: Request, members: tuple[str, ...]) -> None:
    """Raise InvalidParameterException for members that this emulator has no behaviour for."""
    for member in members:
        if request.get(member):
            raise invalid_parameter(f"{member} is not emulated by the local Secrets Manager.")
