"""What a function says about itself: one wide log line a call, with the run's id and the step.

Never the event, never a vendor's message: only facts that the step returned, and our own errors.
An error that is not ours is a defect; it becomes UnexpectedFault, which names its place and shows
no value, since a value might be a key.
"""

import functools
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger

from keyturn import errors
from keyturn.run import now, timestamp

Event = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[[Event, Any], Result]

logger = Logger(service="keyturn")


def step(name: str) -> Callable[[Handler], Handler]:
    """Log a step's call and outcome, time it, and let only our own errors out.

    The result gains `startedAt` and `seconds`, unless the step spans several calls and gives them.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def call(event: Event, context: Any) -> Result:
            started, begun = now(), time.monotonic()
            line = {"step": name, "rotationId": _rotation_id(event)}
            try:
                result = handler(event, context)
            except errors.KeyturnError as error:
                _tell(line, error)
                raise
            except Exception as fault:  # noqa: BLE001 - whatever it is, its text may quote a value
                unexpected = _unexpected(name, fault)
                _tell(line, unexpected)
                raise unexpected from None
            seconds = round(time.monotonic() - begun, 3)
            logger.info("step done", extra={**line, "seconds": seconds, "facts": result})
            return {"startedAt": timestamp(started), "seconds": seconds, **result}

        return call

    return decorate


def _tell(line: dict[str, Any], error: errors.KeyturnError) -> None:
    """Log our error without a traceback: a chained vendor error may quote what was sent."""
    facts = {"error": type(error).__name__, "says": str(error)}
    logger.error("step failed", extra={**line, **facts})


def _rotation_id(event: Event) -> str | None:
    """The run's id from a ledger, or from Secrets Manager's event."""
    rotation = event.get("rotation")
    found = rotation.get("rotationId") if isinstance(rotation, Mapping) else None
    return found or event.get("ClientRequestToken")


def _unexpected(name: str, fault: Exception) -> errors.UnexpectedFault:
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [frame for frame in frames if "keyturn" in frame.filename] or frames
    place = f"{ours[-1].filename.rsplit('/', 1)[-1]}:{ours[-1].lineno}"
    return errors.UnexpectedFault(
        f"{name} met a defect: {type(fault).__name__} at {place}. What it had done stands; the step"
        " can run again. Please report this line."
    )
