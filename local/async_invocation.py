"""Lambda's asynchronous invocations: how often a failed one is tried, and where it ends up.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from local.lambda_invocation import Invocation

THROTTLED_RETRY_SECONDS = 1.0
OLDEST_EVENT_SECONDS = 21600.0
_MESSAGE_CHARACTERS = 1024


class TooManyRequests(Exception):
    """Every environment that the function may have is busy; `reason` is Lambda's word for it."""

    def __init__(self, function_name: str, reason: str) -> None:
        super().__init__(f"{function_name} is at its concurrency limit; try again later")
        self.reason = reason


@dataclass(frozen=True)
class Patience:
    """How often an event is tried again (None: as often as Lambda does), and until which age."""

    attempts: int | None = None
    oldest_seconds: float = OLDEST_EVENT_SECONDS


@dataclass(frozen=True)
class Failure:
    """The last failure of an event that was given up; `code` is an HTTP status."""

    request_id: str
    code: int
    message: str


@dataclass(frozen=True)
class DeadLetter:
    """An event for the dead-letter queue of the function that failed on it."""

    function_name: str
    queue_arn: str
    payload: bytes = field(repr=False)
    failure: Failure


def invoke_until_taken(
    invoke: Callable[[], Invocation],
    pauses: Sequence[float],
    patience: Patience,
    closed: threading.Event,
) -> Failure | None:
    """Invoke until the function succeeds; returns the failure of an event that is given up.

    `pauses` are those before the further attempts, in seconds. What is throttled is tried as long
    as the event is young enough. Ends without a failure when `closed` is set.
    """
    given_up = time.monotonic() + patience.oldest_seconds
    left = iter(pauses[: patience.attempts])
    while not closed.is_set():
        try:
            invocation = invoke()
            if invocation.function_error is None:
                return None
            failure, pause = _failure(invocation), next(left, None)
        except TooManyRequests as busy:
            failure = Failure(str(uuid.uuid4()), 429, busy.reason)
            pause = THROTTLED_RETRY_SECONDS
        if pause is None or time.monotonic() + pause > given_up:
            return failure
        closed.wait(pause)
    return None


def _failure(invocation: Invocation) -> Failure:
    message = str(json.loads(invocation.payload).get("errorMessage", ""))
    return Failure(invocation.request_id, 200, message[:_MESSAGE_CHARACTERS])
