"""Operations on the versions of a secret: get, put, list, and moving labels between them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from local.secrets_manager import labels as label_rules
from local.secrets_manager.errors import (
    AwsError,
    invalid_request,
    token_in_use,
    value_not_found,
)
from local.secrets_manager.rotation import Rotations
from local.secrets_manager.secret import Secret, Value, Version
from local.secrets_manager.secret_listing import day_of, identity, page
from local.secrets_manager.store import SecretStore

Request = dict[str, Any]
Response = dict[str, Any]


class VersionOperations:
    """One method an operation; each takes and returns AWS's JSON shapes."""

    def __init__(self, store: SecretStore, rotations: Rotations) -> None:
        self._store = store
        self._rotations = rotations

    def get_secret_value(self, request: Request, now: datetime) -> Response:
        """Return the value of one version: by id, by label, by both if they agree, or current."""
        secret = self._store.find_active(request["SecretId"])
        version = _chosen_version(secret, request)
        if version.hidden_reads and request.get("VersionId"):
            version.hidden_reads -= 1
            raise value_not_found("VersionId", version.id)
        if version.value is None:
            raise _no_value(request)
        secret.accessed = version.accessed = now
        return (
            identity(secret)
            | {
                "VersionId": version.id,
                "VersionStages": label_rules.on_version(secret.labels, version.id),
                "CreatedDate": version.created.timestamp(),
            }
            | version.value.fields()
        )

    def put_secret_value(self, request: Request, now: datetime) -> Response:
        """Add a version, or fill the empty one of a rotation; AWSCURRENT moves unless told not."""
        secret, value = self._store.find_active(request["SecretId"]), Value.read(request)
        if value is None:
            raise invalid_request("You must provide either SecretString or SecretBinary.")
        token = request["ClientRequestToken"]
        stages = request.get("VersionStages") or [label_rules.CURRENT]
        known = secret.versions.get(token)
        if known is None or known.value is None:
            self.add(secret, token, value, stages, now)
        elif known.value != value:
            raise token_in_use(token, secret.arn)
        return identity(secret) | {
            "VersionId": token,
            "VersionStages": label_rules.on_version(secret.labels, token),
        }

    def add(
        self, secret: Secret, token: str, value: Value, stages: Sequence[str], now: datetime
    ) -> None:
        """Give a secret a value under a new version id, and that version its labels.

        A secret's first value always gets AWSCURRENT. A version that is not the one a rotation
        waits for makes Secrets Manager abandon that rotation and take its AWSPENDING away.
        """
        first = token not in secret.versions and all(
            version.value is None for version in secret.versions.values()
        )
        wanted = {*stages, label_rules.CURRENT} if first else {*stages}
        before = secret.labels
        if before.get(label_rules.PENDING) not in (None, token):
            before = label_rules.detach(before, label_rules.PENDING)
        after = label_rules.attach(before, sorted(wanted), token)
        created = secret.versions.setdefault(token, Version(token, now))
        created.value, created.hidden_reads = value, self._store.reads_before_visible
        if after.get(label_rules.CURRENT) != secret.labels.get(label_rules.CURRENT):
            secret.value_changed = now
        self._store.relabel(secret, after, now)
        self._rotations.drop_stale(secret, now)

    def update_secret_version_stage(self, request: Request, now: datetime) -> Response:
        """Move a label between versions, or take it away; the move is a compare-and-swap."""
        secret = self._store.find_active(request["SecretId"])
        source, target = request.get("RemoveFromVersionId"), request.get("MoveToVersionId")
        label = request["VersionStage"]
        for version_id in (source, target):
            if version_id is not None and version_id not in secret.versions:
                raise value_not_found("VersionId", version_id)
        if label == label_rules.CURRENT and target and secret.versions[target].value is None:
            raise value_not_found("VersionId", target)
        if label == label_rules.PENDING and source and not target:
            self._rotations.doubt(secret, source)
        after = label_rules.move(secret.labels, label, remove_from=source, move_to=target)
        self._store.relabel(secret, after, now)
        self._rotations.drop_stale(secret, now)
        return identity(secret)

    def list_secret_version_ids(self, request: Request, now: datetime) -> Response:
        """List the versions that have a value; those without a label only on request.

        Those of a secret that is marked for deletion too: in the service's model this operation,
        as DescribeSecret, does not know InvalidRequestException.
        """
        del now
        secret = self._store.find(request["SecretId"])
        labelled = secret.labelled_versions()
        entries = [
            _list_entry(version, labelled.get(version.id, []))
            for version in secret.versions.values()
            if version.value is not None
            and (version.id in labelled or request.get("IncludeDeprecated"))
        ]
        shown, token = page(entries, request)
        return identity(secret) | {"Versions": list(shown)} | token


def _list_entry(version: Version, stages: list[str]) -> Response:
    entry: Response = {"VersionId": version.id, "CreatedDate": version.created.timestamp()}
    if stages:
        entry["VersionStages"] = stages
    if version.accessed is not None:
        entry["LastAccessedDate"] = day_of(version.accessed)
    return entry


def _chosen_version(secret: Secret, request: Request) -> Version:
    version_id, stage = request.get("VersionId"), request.get("VersionStage")
    if version_id is None:
        stage = stage or label_rules.CURRENT
        if stage not in secret.labels:
            raise value_not_found("staging label", stage)
        return secret.versions[secret.labels[stage]]
    if version_id not in secret.versions:
        raise value_not_found("VersionId", version_id)
    if stage is not None and secret.labels.get(stage) != version_id:
        raise invalid_request(
            "You provided a VersionStage that is not associated to the provided VersionId."
        )
    return secret.versions[version_id]


def _no_value(request: Request) -> AwsError:
    stage = request.get("VersionStage")
    if stage is None and request.get("VersionId"):
        return value_not_found("VersionId", request["VersionId"])
    return value_not_found("staging label", stage or label_rules.CURRENT)
