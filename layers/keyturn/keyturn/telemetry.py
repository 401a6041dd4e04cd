"""One wide log line for each call of a function, and its metrics.

Never the event, never a vendor's message: only facts that the step returned, and Keyturn's errors.
Every other error is a bug; it becomes UnexpectedFault, which names its place and shows no value,
since a value might be a key. Vendors' logs are not written at all: they quote URLs, of which one is
a password, and servers' responses. Metrics are log lines too, in CloudWatch's embedded metric
format. No tracer: see docs/decisions/0014-observability.md.
"""

import functools
import itertools
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from keyturn import errors
from keyturn.reporting import metrics as reporting_metrics
from keyturn.reporting.metrics import Metric, Unit
from keyturn.run.run import ROTATION_ID
from keyturn.run.times import format_timestamp, now

Event = Mapping[str, Any]
Result = Mapping[str, object]
Handler = Callable[[Event, Any], Result]

PACKAGE = Path(__file__).parent
NAMESPACE = "Keyturn"
# A name has up to 253 characters, a uid 36; CloudWatch Logs takes an event of 256 KiB.
PODS_A_LINE = 500
# CloudWatch has no unit for days.
UNITS: Mapping[Unit, MetricUnit] = {
    "count": MetricUnit.Count,
    "seconds": MetricUnit.Seconds,
    "days": MetricUnit.NoUnit,
}

# The loggers of the libraries in the functions; a test finds others.
VENDORS = (
    "asyncio",
    "aws_lambda_powertools",
    "bcdocs",
    "boto3",
    "botocore",
    "charset_normalizer",
    "client",  # Kubernetes' own
    "concurrent",
    "dateutil",
    "hvac",
    "kubernetes",
    "oauthlib",
    "push_response",
    "redis",
    "requests",
    "requests_oauthlib",
    "s3transfer",
    "urllib3",
    "websocket",
)
for vendor in VENDORS:
    logging.getLogger(vendor).addHandler(logging.NullHandler())
    logging.getLogger(vendor).propagate = False

# The service is the stack: powertools reads it from POWERTOOLS_SERVICE_NAME.
logger = Logger()
calls = itertools.count()


def step(name: str) -> Callable[[Handler], Handler]:
    """Log a step's call and outcome, time it, and raise only Keyturn's errors.

    The result gains `startedAt` and `seconds`, unless the step spans several calls and sets them.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def call(event: Event, context: Any) -> Result:
            started, begun = now(), time.monotonic()
            line = {"step": name, "rotationId": _rotation_id(event), **_invocation(context)}
            try:
                result = handler(_object(event), context)
            except errors.KeyturnError as error:
                _tell(line, error)
                raise
            except Exception as fault:  # noqa: BLE001 - whatever it is, its text may quote a value
                unexpected = _unexpected(name, fault)
                _tell(line, unexpected)
                raise unexpected from None
            seconds = round(time.monotonic() - begun, 3)
            logger.info("step done", extra={**line, "seconds": seconds, "facts": result})
            return {"startedAt": format_timestamp(started), "seconds": seconds, **result}

        return call

    return decorate


def emit(measured: Iterable[Metric], facts: Mapping[str, str | None] | None = None) -> None:
    """Send metrics to CloudWatch, with facts for a search of the logs beside them.

    One line for each set of dimensions, written immediately and not at the end of the call: a step
    that fails or is killed afterwards loses none.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    for dimensions, group in itertools.groupby(measured, key=lambda measure: measure.dimensions):
        metrics = EphemeralMetrics(namespace=NAMESPACE)
        for name, value in dimensions.items():
            metrics.add_dimension(name, value)
        for measure in group:
            metrics.add_metric(measure.name, UNITS[measure.unit], measure.value)
        for name, fact in (facts or {}).items():
            metrics.add_metadata(name, fact)
        metrics.flush_metrics()


def log_pods(rotation_id: str, service: str, when: str, pods: Mapping[str, str]) -> None:
    """Log the pods of a service `before` or `after` its restart, each one's uid by its name.

    They are in no ledger and no record, whose size would grow with them. Each line has some of
    them.
    """
    named = sorted(pods.items())
    parts = range(0, len(named), PODS_A_LINE)
    for number, start in enumerate(parts, 1):
        facts = {
            "rotationId": rotation_id,
            "service": service,
            "when": when,
            "part": f"{number} of {len(parts)}",
            "pods": dict(named[start : start + PODS_A_LINE]),
        }
        logger.info("pods", extra=facts)


def _tell(line: dict[str, Any], error: errors.KeyturnError) -> None:
    """Log Keyturn's error without a traceback: a chained vendor error may quote what was sent."""
    facts = {"error": type(error).__name__, "says": str(error)}
    logger.error("step failed", extra={**line, **facts})
    fields = {"rotationId": line["rotationId"], "error": facts["error"]}
    emit(reporting_metrics.error_metrics(line["step"]), fields)


def _invocation(context: Any) -> dict[str, Any]:
    """The id that finds Lambda's own lines of this call, and whether it was a cold start."""
    return {
        "requestId": getattr(context, "aws_request_id", None),
        "coldStart": next(calls) == 0,
    }


def _object(event: object) -> Event:
    """The event, which is a JSON object. Raises RequestRefused if it is not."""
    if not isinstance(event, Mapping):
        raise errors.RequestRefused("The input is not a JSON object. Nothing was done.")
    return event


def _rotation_id(event: object) -> str | None:
    """The run's id from a ledger or from Secrets Manager's event; never any other text of it."""
    fields: Mapping[str, Any] = event if isinstance(event, Mapping) else {}
    rotation = fields.get("rotation")
    rotation_id = rotation.get("rotationId") if isinstance(rotation, Mapping) else None
    rotation_id = rotation_id or fields.get("ClientRequestToken")
    return (
        rotation_id if isinstance(rotation_id, str) and ROTATION_ID.fullmatch(rotation_id) else None
    )


def _unexpected(name: str, fault: Exception) -> errors.UnexpectedFault:
    """The fault's type and its place: the last line of this package, else of the handler."""
    called, *frames = traceback.extract_tb(fault.__traceback__)
    package = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    place_of_fault = (package[-1:] or frames[:1] or [called])[0]
    place = f"{Path(place_of_fault.filename).name}:{place_of_fault.lineno}"
    return errors.UnexpectedFault(
        f"Unexpected {type(fault).__name__} in {name} at {place}: a bug in Keyturn. Completed work"
        " is kept; retrying is safe. Please report this line."
    )
