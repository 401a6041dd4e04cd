"""What is measured of runs, of the key and of findings: numbers with a name, a unit and a place.

Pure, from facts that are told elsewhere too: a run's measures say what its record says. Dimensions
are few, since each combination is a metric of its own: a run is measured by its mode, a step by its
name. `keyturn.telemetry` gives measures to CloudWatch; the dashboard and the alarms of the template
read them.
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
    """One number, and what it is about."""

    name: str
    value: float
    unit: Unit = "count"
    dimensions: Mapping[str, str] = field(default_factory=dict)


def run_metrics(record: Record) -> list[Metric]:
    """How a run ended, how long it and its steps took, what it ended and replaced.

    `record` is that of `reporting.record`. What a run did not come to is not measured; a zero is a
    number that was found.
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
    """What a search of the logs finds beside a run's measures: which run, why, how it ended."""
    failure = record["failure"]
    return {
        "rotationId": record["rotationId"],
        "outcome": record["outcome"],
        "reason": record["trigger"]["reason"],
        "error": failure["error"] if failure else None,
        "failedAt": failure["step"] if failure else None,
    }


def key_metrics(key: Facts) -> list[Metric]:
    """How old the key is, how long a rotation has been pending, and when the next one comes.

    `key` is what `watch.facts` returns.
    """
    numbers: tuple[tuple[str, Unit, float | None], ...] = (
        ("KeyAge", "days", key["ageDays"]),
        ("PendingTime", "seconds", key["pendingSeconds"]),
        ("TimeToRotation", "days", key["daysToRotation"]),
    )
    return [Metric(name, value, unit) for name, unit, value in numbers if value is not None]


def issue_metrics(found: Sequence[str], *, compared: bool) -> list[Metric]:
    """How many things have drifted, and whether an exposed key is in use, by the watch's concerns.

    Measured where what services have was compared, and where an exposed key was found in any case.
    """
    exposed = sum(name in EXPOSED for name in found)
    drifted = [Metric("DriftFound", sum(name in DRIFTED for name in found))] if compared else []
    return [*drifted, Metric("ExposedKeyInUse", exposed)] if compared or exposed else []


def finding_metrics(answer: Facts, at: datetime) -> list[Metric]:
    """What a finding came to, and how long after its last activity its rotation was started.

    `answer` is what `response.respond` returns.
    """
    decided = {"rotate": "Rotated", "mark": "Marked", "notify": "Notified", "ignore": "Ignored"}
    found = [Metric(f"Findings{decided[answer['decision']]}", 1)]
    if answer["decision"] == "rotate":
        delay = (at - parse_timestamp(answer["lastSeen"])).total_seconds()
        found.append(Metric("FindingToRotation", round(delay, 3), "seconds"))
    return found


def error_metrics(step: str) -> list[Metric]:
    """A step ended in an error, which may be tried again."""
    return [Metric("StepErrors", 1, dimensions={"step": step})]


def _in_camel_case(name: str) -> str:
    return name.title().replace("-", "")


def _numbers(record: Record) -> Iterator[tuple[str, float | None, Unit]]:
    sessions, services, timings = record["sessions"], record["services"], record["timings"]
    ended = [n for n in (sessions["deleted"], sessions["endedFirst"]) if n is not None]
    yield "RotationTime", record["seconds"], "seconds"
    yield "SessionsEnded", sum(ended) if ended else None, "count"
    # Only a purge that is through knows what it has left.
    yield "SessionsLeft", sessions["left"] if sessions["claim"] else None, "count"
    replaced = sum(service["podsBefore"] for service in services)
    yield "PodsReplaced", replaced if services else None, "count"
    yield "TimeToLastOldPod", timings["secondsToLastOldPod"], "seconds"
    yield "TimeToLastOldSession", timings["secondsToLastOldSession"], "seconds"


def _steps(record: Record) -> Iterator[Metric]:
    """The steps of the run; those of its rollback are in the record."""
    for step in record["steps"]:
        if not step.get("rollback"):
            yield Metric("StepTime", step["seconds"], "seconds", {"step": step["name"]})
