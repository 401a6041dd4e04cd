"""The local Secrets Manager as its callers see it: AWS's operations by name.

Stricter than moto where rotation is concerned: labels, tokens, retries and schedules follow the
AWS API reference. Everything is in memory and belongs to one account in one region.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from local.clock import Clock
from local.secrets_manager.errors import AwsError
from local.secrets_manager.request_shapes import check_request
from local.secrets_manager.rotation import Invoke, Rotations
from local.secrets_manager.rotation_operations import RotationOperations
from local.secrets_manager.rotation_run import RotationReport, StepListener
from local.secrets_manager.secret_operations import SecretOperations
from local.secrets_manager.store import SecretStore
from local.secrets_manager.timetable import Timetable
from local.secrets_manager.version_operations import VersionOperations

RETRY_SECONDS = 150.0  # AWS publishes no interval; users report two to three minutes
OPERATIONS = (
    "CancelRotateSecret",
    "CreateSecret",
    "DeleteSecret",
    "DescribeSecret",
    "GetResourcePolicy",
    "GetSecretValue",
    "ListSecretVersionIds",
    "ListSecrets",
    "PutResourcePolicy",
    "PutSecretValue",
    "RestoreSecret",
    "RotateSecret",
    "TagResource",
    "UntagResource",
    "UpdateSecretVersionStage",
)


class SecretsManager:
    """An in-memory Secrets Manager that rotates through real function calls.

    `invoke` calls a Lambda function by ARN and returns its outcome; what it raises fails the step.
    `emit` receives each `Secret Label Updated` event, on the thread that caused it, and must not
    raise. Both may call back. `close` ends the threads.
    """

    def __init__(
        self,
        *,
        account: str,
        region: str,
        clock: Clock,
        invoke: Invoke,
        emit: Callable[[dict[str, Any]], None],
        rotation_retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = SecretStore(account, region, clock, emit)
        self._rotations = Rotations(self._store, invoke, rotation_retry_seconds)
        versions = VersionOperations(self._store, self._rotations)
        self._parts = (
            SecretOperations(self._store, versions, self._rotations),
            versions,
            RotationOperations(self._store, self._rotations),
        )
        self._timetable = Timetable(self._store, self._rotations)

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Do one AWS JSON 1.1 operation, such as 'GetSecretValue'; times are epoch seconds.

        Raises AwsError with AWS's code and message.
        """
        if operation not in OPERATIONS:
            raise AwsError("InvalidAction", f"The local Secrets Manager does not do {operation}.")
        check_request(operation, request)
        given = {name: value for name, value in request.items() if value is not None}
        work = self._work(operation)
        with self._store.transaction() as now:
            return work(given, now)

    def on_step(self, listener: StepListener) -> None:
        """Call `listener` as every rotation step starts and ends, on the rotation's thread."""
        self._rotations.listen(listener)

    def rotation_report(self, secret_id: str, version_id: str) -> RotationReport | None:
        """Return what was seen so far of a rotation, or None if there was none."""
        with self._store.transaction():
            run = self._rotations.find(self._store.find(secret_id), version_id)
            return run.report() if run else None

    def wait_for_rotation(
        self, secret_id: str, version_id: str, timeout_seconds: float
    ) -> RotationReport:
        """Wait, in real time, until a rotation is over and its retries with it.

        Raises LookupError if none was started, TimeoutError if it is not over in time.
        """
        with self._store.transaction():
            secret = self._store.find(secret_id)
        return self._rotations.wait(secret, version_id, timeout_seconds)

    def hide_new_values(self, reads: int) -> None:
        """Let the first `reads` of GetSecretValue by id miss each value that is put from now on.

        A fault for tests: on AWS a new value is not visible everywhere at once.
        """
        with self._store.transaction():
            self._store.reads_before_visible = reads

    def close(self) -> None:
        """Stop the timetable and the rotations. Safe to call twice."""
        self._timetable.close()
        self._rotations.close()

    def _work(self, operation: str) -> Callable[[dict[str, Any], datetime], dict[str, Any]]:
        method = re.sub("(?<!^)(?=[A-Z])", "_", operation).lower()
        part = next(part for part in self._parts if hasattr(part, method))
        work: Callable[[dict[str, Any], datetime], dict[str, Any]] = getattr(part, method)
        return work
