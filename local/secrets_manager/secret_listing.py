"""How secrets look in responses: DescribeSecret, ListSecrets and the pages of lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any, TypeVar

from local.secrets_manager.errors import AwsError
from local.secrets_manager.secret import Secret

DEFAULT_PAGE = 100
SECOND = timedelta(seconds=1)

Response = dict[str, Any]
Item = TypeVar("Item")


def identity(secret: Secret) -> Response:
    """Return the two members that every response about a secret begins with."""
    return {"ARN": secret.arn, "Name": secret.name}


def day_of(moment: datetime) -> float:
    """Return a time of access, which AWS tells to the day, as epoch seconds."""
    return datetime.combine(moment.date(), time(), moment.tzinfo).timestamp()


def describe(secret: Secret) -> Response:
    """Return the response of DescribeSecret: only members that have a value."""
    members = _shared_members(secret)
    versions = secret.labelled_versions()
    return members | ({"VersionIdsToStages": versions} if versions else {})


def page_of_secrets(secrets: Sequence[Secret], request: Mapping[str, Any]) -> Response:
    """Return the response of ListSecrets, which is emulated without filters and sorting."""
    shown, token = page([secret for secret in secrets if secret.deleted is None], request)
    return {"SecretList": [_list_entry(secret) for secret in shown]} | token


def page(
    items: Sequence[Item], request: Mapping[str, Any]
) -> tuple[Sequence[Item], dict[str, str]]:
    """Cut one page out of a list; the second part is NextToken if there are more."""
    token = request.get("NextToken", "0")
    if not token.isdecimal() or int(token) > len(items):
        raise AwsError("InvalidNextTokenException", "The NextToken value is invalid.")
    start = int(token)
    end = start + request.get("MaxResults", DEFAULT_PAGE)
    return items[start:end], {"NextToken": str(end)} if end < len(items) else {}


def _shared_members(secret: Secret) -> Response:
    members: Response = identity(secret) | {
        "Description": secret.description,
        "KmsKeyId": secret.kms_key_id,
        "CreatedDate": secret.created.timestamp(),
        "LastChangedDate": secret.changed.timestamp(),
        "LastAccessedDate": day_of(secret.accessed) if secret.accessed else None,
        "DeletedDate": secret.deleted.timestamp() if secret.deleted else None,
        "Tags": [{"Key": key, "Value": value} for key, value in secret.tags.items()],
    }
    members |= _rotation_members(secret)
    return {name: value for name, value in members.items() if value is not None}


def _rotation_members(secret: Secret) -> Response:
    """Dates only while rotation is on; rules and function also after it was turned off."""
    settings = secret.rotation
    if settings is None:
        return {}
    members: Response = {
        "RotationEnabled": settings.enabled,
        "RotationLambdaARN": settings.lambda_arn,
    }
    if settings.schedule is not None:
        derived = {"AutomaticallyAfterDays": settings.period_days} if settings.period_days else {}
        members["RotationRules"] = derived | dict(settings.schedule.rules)
    if settings.enabled and secret.rotated is not None:
        members["LastRotatedDate"] = secret.rotated.timestamp()
    if settings.enabled and settings.schedule is not None:
        latest = settings.schedule.window_after(secret.schedule_base).closes - SECOND
        members["NextRotationDate"] = latest.timestamp()
    return members


def _list_entry(secret: Secret) -> Response:
    entry = _shared_members(secret)
    versions = secret.labelled_versions()
    return entry | ({"SecretVersionsToStages": versions} if versions else {})
