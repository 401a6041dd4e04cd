"""Shared by all AWS adapters: clients with deadlines, and the translation of AWS's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3 import PoolManager

from keyturn import errors
from keyturn.adapters import deadline
from keyturn.adapters.aws import errors as aws_errors
from keyturn.adapters.bounded_pools import bound

# A call with all of its attempts and pauses: less than every function's time-out.
SECONDS = 25.0
# More than the largest responses: 1,000 executions, 100 versions of a secret, a value of 64 KiB.
ANSWER_BYTES = 8 * 1024 * 1024
CONFIG = Config(
    connect_timeout=2, read_timeout=6, retries={"mode": "standard", "total_max_attempts": 3}
)


def client(service: str, seconds: float | None = None) -> Any:
    """A client of one service, in the function's own Region, with a limited time for each call."""
    made = boto3.client(service, config=CONFIG)
    _bound_connections(made)
    return _Client(made, SECONDS if seconds is None else seconds)


class _Client:
    """A boto3 client of which each call, its retries included, has a deadline."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client, self._seconds = client, seconds

    def __getattr__(self, name: str) -> Any:
        """The call of that name, with the deadline."""
        call = getattr(self._client, name)

        def bounded(**request: Any) -> Any:
            return deadline.within(self._seconds, ANSWER_BYTES, partial(call, **request))

        return bounded


def _bound_connections(client: Any) -> None:
    """Make the connections of a client keep the deadline of the call that uses them.

    botocore has no public access to its pool manager, and the runtime determines its version. If
    another version keeps it elsewhere, a call still ends in time, but its connection ends later.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    manager = getattr(session, "_manager", None)
    if isinstance(manager, PoolManager):
        bound(manager)


@contextmanager
def translate_errors(doing: str, unavailable: type[errors.KeyturnError]) -> Iterator[None]:
    """Translate AWS's errors; `doing` describes the call, with the action's name.

    `unavailable` is for transient failures, such as throttling and time-outs. Otherwise raises
    AccessDenied, AwsResourceNotFound, KmsKeyUnusable, AwsRefused.
    """
    try:
        yield
    except ClientError as error:
        raise aws_errors.translate(error, doing, unavailable) from error
    except (BotoCoreError, ResponseParserError, deadline.DeadlineExpired) as error:
        raise aws_errors.translate_fault(error, doing, unavailable) from error
