"""Reads measures back from what a function wrote, as CloudWatch Logs reads them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Dimensions = frozenset[tuple[str, str]]
Metric = tuple[str, Dimensions]


@dataclass(frozen=True)
class Datum:
    """One value of a metric, and the line that it stood in."""

    namespace: str
    name: str
    dimensions: Dimensions
    value: float
    unit: str
    line: dict[str, Any]

    @property
    def metric(self) -> Metric:
        """What CloudWatch tells metrics of one namespace apart by."""
        return self.name, self.dimensions


def documents(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)


def data(lines: Iterable[str]) -> list[Datum]:
    """Every value in lines of the embedded metric format; a line that breaks its rules fails."""
    return [datum for document in documents(lines) for datum in _of_document(document)]


def _of_document(document: dict[str, Any]) -> Iterator[Datum]:
    if "_aws" not in document:
        return
    assert isinstance(document["_aws"]["Timestamp"], int)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert 1 <= len(directive["Metrics"]) <= 100
        for names in directive["Dimensions"]:
            assert len(names) <= 30
            dimensions = frozenset((name, document[name]) for name in names)
            assert all(isinstance(value, str) and value for _, value in dimensions)
            for metric in directive["Metrics"]:
                (value,) = document[metric["Name"]]
                assert isinstance(value, float)
                yield Datum(
                    directive["Namespace"],
                    metric["Name"],
                    dimensions,
                    value,
                    metric["Unit"],
                    document,
                )
