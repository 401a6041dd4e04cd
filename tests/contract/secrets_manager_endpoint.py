"""An HTTP endpoint of the local Secrets Manager, which can be made to fail."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from local.cloud import Cloud
from local.functions import Functions
from local.processes import Processes
from local.secrets_manager import AwsError
from tests.contract.secrets_manager_account import ACCOUNT, REGION, Account


class Front:
    """Stands between the endpoint and the account of a test; may fail instead."""

    def __init__(self) -> None:
        self.account: Account | None = None
        self.fault: AwsError | None = None
        self.faulty = ""  # the one operation that fails; without a name, every one
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def handle(self, operation: str, request: dict[str, Any], /) -> Mapping[str, Any]:
        self.requests.append((operation, request))
        if self.fault and self.faulty in {"", operation}:
            raise self.fault
        assert self.account
        return self.account.manager.handle(operation, request)


@contextlib.contextmanager
def open_endpoint(processes: Processes) -> Iterator[tuple[Front, str]]:
    """The endpoint's URL, and what stands between it and the account of each test."""
    front = Front()
    functions = Functions(processes, account=ACCOUNT, region=REGION, extra_environment=lambda _: {})
    cloud = Cloud(functions, front, account=ACCOUNT, region=REGION)
    yield front, cloud.endpoint
    cloud.close()
    functions.close()
