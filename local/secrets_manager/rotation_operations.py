"""Operations that turn rotation on and off, and start it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from local.secrets_manager import labels as label_rules
from local.secrets_manager.errors import invalid_parameter, invalid_request
from local.secrets_manager.rotation import Rotations
from local.secrets_manager.rotation_run import Admission, admit
from local.secrets_manager.schedule import Schedule, parse_rules
from local.secrets_manager.secret import RotationSettings, Secret
from local.secrets_manager.secret_listing import identity
from local.secrets_manager.secret_operations import refuse_unemulated
from local.secrets_manager.store import SecretStore

NOT_EMULATED = ("ExternalSecretRotationMetadata", "ExternalSecretRotationRoleArn")

Request = dict[str, Any]
Response = dict[str, Any]


class RotationOperations:
    """One method an operation; each takes and returns AWS's JSON shapes."""

    def __init__(self, store: SecretStore, rotations: Rotations) -> None:
        self._store = store
        self._rotations = rotations

    def rotate_secret(self, request: Request, now: datetime) -> Response:
        """Store what is given of the rotation's settings and start it; it runs on its own.

        With RotateImmediately false only testSecret runs, on a temporary version.
        """
        refuse_unemulated(request, NOT_EMULATED)
        secret, token = self._store.find_active(request["SecretId"]), request["ClientRequestToken"]
        settings = _settings(secret, request, now)
        admission = admit(secret, token, self._rotations.find(secret, token))
        answer = identity(secret) | {"VersionId": token}
        if admission is Admission.ALREADY_DONE:
            return answer
        secret.rotation = settings
        if admission is Admission.RESUME or request.get("RotateImmediately", True):
            self._rotations.start(secret, token, now)
        else:
            self._rotations.start_test(secret, token, now)
        return answer

    def cancel_rotate_secret(self, request: Request, now: datetime) -> Response:
        """Turn rotation off and end one in progress; every label stays where it is."""
        secret = self._store.find_active(request["SecretId"])
        if secret.rotation is None:
            raise invalid_request(
                "You tried to cancel rotation on a secret that has never been configured for it."
            )
        pending = secret.labels.get(label_rules.PENDING)
        in_progress = bool(self._rotations.running(secret)) and pending is not None
        secret.rotation.enabled = False
        secret.changed = now
        self._rotations.cancel(secret, now)
        self._store.schedule_changed.set()
        return identity(secret) | ({"VersionId": pending} if in_progress else {})


def _settings(secret: Secret, request: Request, now: datetime) -> RotationSettings:
    """Join the settings that a request gives with those that are stored."""
    stored = secret.rotation
    function = request.get("RotationLambdaARN") or (stored.lambda_arn if stored else None)
    if not function:
        raise invalid_request(
            "You tried to enable rotation on a secret that doesn't already have a Lambda function "
            "ARN configured and you didn't include such an ARN as a parameter in this call."
        )
    rules = request.get("RotationRules")
    if stored is None or rules is not None or not stored.enabled:
        kept = stored.schedule if stored else None
        schedule = kept if rules is None else _schedule(rules)
        return RotationSettings(function, enabled=True, configured=now, schedule=schedule)
    return replace(stored, lambda_arn=function)


def _schedule(rules: dict[str, Any]) -> Schedule:
    try:
        return parse_rules(rules)
    except ValueError as error:
        raise invalid_parameter(str(error)) from None
