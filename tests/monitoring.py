"""What the template has CloudWatch watch and show, with every value in place."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.deployment.intrinsics import Scope, conditions, resolve
from local.deployment.parameters import parameter_values
from tests import project
from tests.emf import Dimensions

STACK = "keyturn"
Measured = tuple[str, str, Dimensions]  # namespace, name, dimensions


def resolved(**overrides: str) -> dict[str, dict[str, Any]]:
    """The resources that a stack with these parameters has, by logical id."""
    source = project.template()
    values = parameter_values(source["Parameters"], {**project._parameters(), **overrides})
    pseudo = {
        "AWS::Region": "eu-central-1",
        "AWS::AccountId": "123456789012",
        "AWS::Partition": "aws",
        "AWS::StackName": STACK,
    }
    known = {**values, **pseudo}
    decided = conditions(source["Conditions"], Scope(known))
    there = {
        name: resource
        for name, resource in source["Resources"].items()
        if decided.get(resource.get("Condition"), True)
    }
    names = {name: name for name in there}
    attributes = {name: {"Arn": f"arn:{name}"} for name in there}
    scope = Scope(known, {}, decided, names, attributes)
    return {
        name: {**resource, "Properties": resolve(resource.get("Properties", {}), scope)}
        for name, resource in there.items()
        if resource["Type"].startswith("AWS::CloudWatch::")
    }


def alarms(**overrides: str) -> dict[str, dict[str, Any]]:
    """The properties of every alarm."""
    return {
        name: resource["Properties"]
        for name, resource in resolved(**overrides).items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def dashboard(**overrides: str) -> dict[str, Any]:
    """The body of the dashboard."""
    body: dict[str, Any] = json.loads(
        resolved(**overrides)["Dashboard"]["Properties"]["DashboardBody"]
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
