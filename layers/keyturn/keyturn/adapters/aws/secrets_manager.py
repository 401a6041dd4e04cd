"""The one secret in AWS Secrets Manager.

Always addressed by `VersionId`: a label may move between two calls. A version that was just written
may not be readable at once (eventual consistency), so `read` retries for a short time; that is the
only retry in Python, since Secrets Manager's own retry of a rotation is minutes away.
"""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters.aws import client, secret_description
from keyturn.adapters.aws import errors as aws_errors
from keyturn.monitoring.key_health import Secret
from keyturn.secret import exposure, finding_history
from keyturn.secret.exposure import Mark
from keyturn.secret.finding_history import StartedRotation
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING, Labels, Version
from keyturn.secret.trigger import Schedule

CONSISTENCY_SECONDS = 8.0
FIRST_DELAY_SECONDS = 0.1


class SecretsManager:
    """Reads and labels the versions of one secret."""

    def __init__(self, secret_arn: str) -> None:
        self._secret = {"SecretId": secret_arn}
        self._client = client.client("secretsmanager")

    def labels(self) -> Labels:
        """Version ids and their staging labels, value-less versions included."""
        labels: Labels = self._describe().get("VersionIdsToStages", {})
        return labels

    def created(self, version: str) -> datetime:
        """When a version that has a value was created."""
        created: datetime = self._wait_for(version)["CreatedDate"]
        return created

    def schedule(self) -> Schedule:
        """The rotation rules; a number of days is short for a rate()."""
        return secret_description.schedule(self._describe())

    def seen(self) -> Secret:
        """All of it but its values.

        The versions of one that is marked for deletion have no dates: DescribeSecret alone is
        documented to answer for it.
        """
        described = self._describe()
        deleted = described.get("DeletedDate")
        created = {} if deleted else self._created()
        return Secret(
            versions=tuple(
                secret_description.versions(described.get("VersionIdsToStages", {}), created)
            ),
            changed=described.get("LastChangedDate"),
            schedule=secret_description.schedule(described),
            deleted=deleted,
            marks=tuple(exposure.exposed_versions(secret_description.tags(described))),
        )

    def versions(self) -> list[Version]:
        """Every version, those without labels or without a value included.

        ListSecretVersionIds shows no version without a value, DescribeSecret none without a label.
        """
        created = self._created()
        return secret_description.versions(self.labels(), created)

    def _created(self) -> dict[str, datetime]:
        """When each version that has a value was created."""
        created: dict[str, datetime] = {}
        further: dict[str, str] = {}
        with self._translated("ListSecretVersionIds"):
            while True:
                page = self._client.list_secret_version_ids(
                    **self._secret, **further, IncludeDeprecated=True
                )
                created |= {
                    version["VersionId"]: version["CreatedDate"] for version in page["Versions"]
                }
                if "NextToken" not in page:
                    return created
                further = {"NextToken": page["NextToken"]}

    def start_rotation(self, token: str) -> bool:
        """Start a rotation, or find it in progress; False if a pending version blocks it."""
        with self._translated("RotateSecret"):
            try:
                self._client.rotate_secret(**self._secret, ClientRequestToken=token)
            except ClientError as error:
                if aws_errors.code_of(error) == "InvalidRequestException":
                    self._refuse_marked(error)
                    return False
                raise
        return True

    def find(self, version: str) -> str | None:
        """The document of a version, or None if it has no value yet."""
        answer = self._get(version)
        return None if answer is None else secret_description.document(answer)

    def read(self, version: str) -> str:
        """The document of a version. Raises SecretsManagerUnavailable if it stays invisible."""
        return secret_description.document(self._wait_for(version))

    def write_pending(self, version: str, document: str, rotation_token: str | None) -> bool:
        """Store the pending version's value; False where another value was stored first."""
        token = {"RotationToken": rotation_token} if rotation_token else {}
        with self._translated("PutSecretValue"):
            try:
                self._client.put_secret_value(
                    **self._secret,
                    **token,
                    ClientRequestToken=version,
                    SecretString=document,
                    VersionStages=[AWSPENDING],
                )
            except ClientError as error:
                if aws_errors.code_of(error) == "ResourceExistsException":
                    return False
                raise
        return True

    def move_current(self, to_version: str, from_version: str) -> None:
        """Compare and swap AWSCURRENT. Raises LabelMoved if it has moved."""
        with self._translated("UpdateSecretVersionStage"):
            try:
                self._client.update_secret_version_stage(
                    **self._secret,
                    VersionStage=AWSCURRENT,
                    MoveToVersionId=to_version,
                    RemoveFromVersionId=from_version,
                )
            except ClientError as error:
                if aws_errors.code_of(error) in {
                    "InvalidParameterException",
                    "InvalidRequestException",
                }:
                    self._refuse_marked(error)
                    raise errors.LabelMoved(
                        f"AWSCURRENT is no longer on {from_version}, so {to_version} was not"
                        " promoted. Find out who changed it, then rotate again."
                    ) from error
                raise

    def drop_label(self, label: str, version: str) -> None:
        """Remove a label from a version, if it is there: Secrets Manager may have done so."""
        with self._translated("UpdateSecretVersionStage"):
            try:
                self._client.update_secret_version_stage(
                    **self._secret, VersionStage=label, RemoveFromVersionId=version
                )
            except ClientError as error:
                if aws_errors.code_of(error) != "InvalidParameterException":
                    raise

    def marks(self) -> list[Mark]:
        """Every mark of exposure, the oldest first."""
        return exposure.exposed_versions(secret_description.tags(self._describe()))

    def mark_exposed(self, mark: Mark) -> None:
        """Write a mark of exposure, after deleting the marks that must make room for it."""
        described = self._describe()
        labels = described.get("VersionIdsToStages", {})
        dropped = exposure.tags_to_drop(mark, secret_description.tags(described), labels)
        self._write_tag(mark.tag_key, mark.tag_value, dropped)

    def started_rotations(self) -> list[StartedRotation]:
        """Every rotation that is recorded as a finding's, the oldest first."""
        return finding_history.started_rotations(secret_description.tags(self._describe()))

    def record_rotation(self, started: StartedRotation) -> None:
        """Record that a rotation is a finding's, after deleting records that no longer count."""
        dropped = finding_history.tags_to_drop(started, secret_description.tags(self._describe()))
        self._write_tag(started.tag_key, started.tag_value, dropped)

    def _write_tag(self, tag_key: str, value: str, dropped: Sequence[str]) -> None:
        if dropped:
            with self._translated("UntagResource"):
                self._client.untag_resource(**self._secret, TagKeys=list(dropped))
        with self._translated("TagResource"):
            self._client.tag_resource(**self._secret, Tags=[{"Key": tag_key, "Value": value}])

    def _describe(self) -> dict[str, Any]:
        with self._translated("DescribeSecret"):
            described: dict[str, Any] = self._client.describe_secret(**self._secret)
        return described

    def _get(self, version: str) -> dict[str, Any] | None:
        """GetSecretValue, or None if the version has no value yet."""
        with self._translated("GetSecretValue"):
            try:
                answer: dict[str, Any] = self._client.get_secret_value(
                    **self._secret, VersionId=version
                )
            except ClientError as error:
                if aws_errors.code_of(error) == "ResourceNotFoundException":
                    return None
                raise
        return answer

    def _wait_for(self, version: str) -> dict[str, Any]:
        """GetSecretValue of a version that has a value; retries while it is not visible."""
        end, delay = time.monotonic() + CONSISTENCY_SECONDS, FIRST_DELAY_SECONDS
        while (answer := self._get(version)) is None:
            if time.monotonic() > end:
                raise errors.SecretsManagerUnavailable(
                    f"Version {version} has no readable value yet. Nothing was changed."
                    " Secrets Manager retries the rotation."
                )
            time.sleep(delay * random.uniform(0.5, 1.0))  # nosec B311  # noqa: S311 - jitter
            delay *= 2
        return answer

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        doing = f"secretsmanager:{action} on {self._secret['SecretId']}"
        with client.translate_errors(doing, errors.SecretsManagerUnavailable):
            try:
                yield
            except ClientError as error:
                if aws_errors.code_of(error) == "InvalidRequestException":
                    self._refuse_marked(error)
                raise

    def _refuse_marked(self, error: ClientError) -> None:
        """Check whether a request is invalid because the secret is marked for deletion.

        Only the error's message shows it. Raises SecretMarkedForDeletion.
        """
        deleted = self._describe().get("DeletedDate")
        if deleted:
            raise errors.SecretMarkedForDeletion(
                f"The secret {self._secret['SecretId']} is marked for deletion (date:"
                f" {deleted:%Y-%m-%d}), so its value cannot be read, changed or rotated. Nothing"
                " was changed by this call. Cancel the deletion: aws secretsmanager"
                f" restore-secret --secret-id {self._secret['SecretId']}"
            ) from error
