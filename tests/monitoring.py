"""What the template has CloudWatch watch and show, with every value in place."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests import project
from tests.emf import Dimensions

STACK = "keyturn"
Measured = tuple[str, str, Dimensions]  # namespace, name, dimensions


def alarms(**overrides: str) -> dict[str, dict[str, Any]]:
    """The properties of every alarm."""
    return project.of_type("AWS::CloudWatch::Alarm", project.stack(**overrides))


def dashboard(**overrides: str) -> dict[str, Any]:
    """The body of the dashboard."""
    body: dict[str, Any] = json.loads(
        project.stack(**overrides)["Dashboard"]["Properties"]["DashboardBody"]
    )
    return body


def watched_by(alarm: Mapping[str, Any]) -> Iterator[Measured]:
    """The metrics of an alarm, those of its expression included."""
    queries = [query["MetricStat"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in [query["Metric"] for query in queries] or [alarm]:
        dimensions = ((one["Name"], one["Value"]) for one in metric["Dimensions"])
        yield metric["Namespace"], metric["MetricName"], frozenset(dimensions)


def shown_by(body: Mapping[str, Any]) -> Iterator[Measured]:
    """The metrics of a dashboard."""
    for widget in body["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            namespace, name, *rest = [part for part in metric if isinstance(part, str)]
            yield namespace, name, frozenset(zip(rest[::2], rest[1::2], strict=True))
