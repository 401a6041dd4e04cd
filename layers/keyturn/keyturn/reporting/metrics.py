"""The metrics of runs, of the key and of findings: a name, a number, a unit, dimensions. Pure.

They are derived from facts that are reported elsewhere too: a run's metrics agree with its record.
Dimensions are few, since each combination is another metric: a run has its mode, a step its name.
`keyturn.telemetry` sends them to CloudWatch; the dashboard and the alarms of the template use them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from keyturn.reporting.record_types import Record
from keyturn.run.times import parse_timestamp

Unit = Literal["count", "seconds", "days"]
Facts = Mapping[str, Any]
EXPOSED = {"EXPOSED_KEY_CURRENT", "EXPOSED_KEY_DELIVERED"}
DRIFTED = {"EXPOSED_KEY_DELIVERED", "DELIVERED_DRIFTED", "PODS_DRIFTED", "PODS_UNSTAMPED"}


@dataclass(frozen=True)
class Metric:
    """One number, and its dimensions."""

    name: str
    value: float
    unit: Unit = "count"
    dimensions: Mapping[str, str] = field(default_factory=dict)


def run_metrics(record: Record) -> list[Metric]:
    """How a run ended, how long it and its steps took, the sessions it ended and pods it replaced.

    `record` is that of `reporting.record`. Steps that did not run emit no metric; 0 is a measured
    zero.
    """
    by_mode = {"mode": record["mode"]}
    return [
        Metric(f"Rotations{_in_camel_case(record['outcome'])}", 1, dimensions=by_mode),
        *(
            Metric(name, value, unit, by_mode)
            for name, value, unit in _numbers(record)
            if value is not None
        ),
        *_steps(record),
    ]


def log_fields(record: Record) -> dict[str, str | None]:
    """The log fields beside a run's metrics: which run, why, how it ended."""
    failure = record["failure"]
    return {
        "rotationId": record["rotationId"],
        "outcome": record["outcome"],
        "reason": record["trigger"]["reason"],
        "error": failure["error"] if failure else None,
        "failedAt": failure["step"] if failure else None,
    }


def key_metrics(key: Facts) -> list[Metric]:
    """How old the key is, how long a rotation has been pending, and when the next one is due.

    `key` is what `watch.facts` returns.
    """
    numbers: tuple[tuple[str, Unit, float | None], ...] = (
        ("KeyAge", "days", key["ageDays"]),
        ("PendingTime", "seconds", key["pendingSeconds"]),
        ("TimeToRotation", "days", key["daysToRotation"]),
    )
    return [Metric(name, value, unit) for name, unit, value in numbers if value is not None]


def issue_metrics(issues: Sequence[str], *, compared: bool) -> list[Metric]:
    """The number of drift issues, and whether an exposed key is in use.

    Emitted if the delivered key was compared; an exposed key that was found is always emitted.
    """
    exposed = sum(name in EXPOSED for name in issues)
    drifted = [Metric("DriftFound", sum(name in DRIFTED for name in issues))] if compared else []
    return [*drifted, Metric("ExposedKeyInUse", exposed)] if compared or exposed else []


def finding_metrics(answer: Facts, at: datetime) -> list[Metric]:
    """The response to a finding, and how long after its last activity its rotation started.

    `answer` is what `response.respond` returns.
    """
    decided = {"rotate": "Rotated", "mark": "Marked", "notify": "Notified", "ignore": "Ignored"}
    metrics = [Metric(f"Findings{decided[answer['decision']]}", 1)]
    if answer["decision"] == "rotate":
        delay = (at - parse_timestamp(answer["lastSeen"])).total_seconds()
        metrics.append(Metric("FindingToRotation", round(delay, 3), "seconds"))
    return metrics


def error_metrics(step: str) -> list[Metric]:
    """A step ended in an error, which may be retried."""
    return [Metric("StepErrors", 1, dimensions={"step": step})]


def _in_camel_case(name: str) -> str:
    return name.title().replace("-", "")


def _numbers(record: Record) -> Iterator[tuple[str, float | None, Unit]]:
    sessions, services, timings = record["sessions"], record["services"], record["timings"]
    ended = [n for n in (sessions["deleted"], sessions["endedFirst"]) if n is not None]
    yield "RotationTime", record["seconds"], "seconds"
    yield "SessionsEnded", sum(ended) if ended else None, "count"
    # Only a completed purge knows the number of remaining sessions.
    yield "SessionsLeft", sessions["left"] if sessions["claim"] else None, "count"
    replaced = sum(service["podsBefore"] for service in services)
    yield "PodsReplaced", replaced if services else None, "count"
    yield "TimeToLastOldPod", timings["secondsToLastOldPod"], "seconds"
    yield "TimeToLastOldSession", timings["secondsToLastOldSession"], "seconds"


def _steps(record: Record) -> Iterator[Metric]:
    """The steps before a rollback; those of the rollback are in the record."""
    for step in record["steps"]:
        if not step.get("rollback"):
            yield Metric("StepTime", step["seconds"], "seconds", {"step": step["name"]})
