"""The AWS of the stack: the functions' runtime, Secrets Manager, and the endpoint for all of it."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from local.clock import Clock
from local.cloud import Cloud
from local.functions import Functions, FunctionSettings
from local.processes import Processes
from local.secrets_manager import SecretsManager

ACCOUNT, REGION = "123456789012", "eu-central-1"


class Aws:
    """Starts it; what `parts` holds ends it. `variables` are for every function."""

    def __init__(
        self,
        processes: Processes,
        parts: contextlib.ExitStack,
        *,
        clock: Clock,
        rotation_retry_seconds: float,
        on_function_log: Callable[[str, str], None],
        variables: Mapping[str, str],
    ) -> None:
        self._variables = variables
        self.functions = Functions(
            processes,
            account=ACCOUNT,
            region=REGION,
            extra_environment=self._environment_of,
            on_log=on_function_log,
        )
        parts.callback(self.functions.close)
        self.secrets_manager = SecretsManager(
            account=ACCOUNT,
            region=REGION,
            clock=clock,
            invoke=self.functions.invoke,
            emit=self._emit,
            rotation_retry_seconds=rotation_retry_seconds,
        )
        self.cloud = Cloud(self.functions, self.secrets_manager, account=ACCOUNT, region=REGION)
        parts.callback(self.cloud.close)
        parts.callback(self.secrets_manager.close)

    def _emit(self, event: dict[str, Any]) -> None:
        """Put Secrets Manager's own event on the bus; the cloud comes after Secrets Manager."""
        self.cloud.event_bus.send(event)

    def _environment_of(self, settings: FunctionSettings) -> dict[str, str]:
        return {**self.cloud.environment_of(settings), **self._variables}
