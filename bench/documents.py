"""The figures as JSON documents, for comparing one run of the bench with another. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.cost import PRICES_SEEN, REGION_OF_PRICES, Usage
from bench.figures import RUNBOOK, Import, Invocation, Layer, Ways, median, over, ratio
from bench.report import LAYER_BUDGET_MB, LAYER_LIMIT_MB, MEGABYTE, STAGES

Document = dict[str, Any]


def rotation(ways: Ways, sessions: int, redis_client: str) -> Document:
    """Every run and the medians in seconds, with each way's ratio to the runbook."""

    def medians(name: str) -> Document:
        found = {}
        for label, stage in STAGES:
            value, baseline = median(map(stage, ways[name])), median(map(stage, ways[RUNBOOK]))
            found[label.strip()] = {"seconds": value, "ratio": ratio(value, baseline)}
        return found

    return {
        "baseline": "the runbook's commands as a script",
        "sessions": sessions,
        "runbookRedisClient": redis_client,
        "medians": {name: medians(name) for name in ways},
        "runs": {name: [asdict(one) for one in rotations] for name, rotations in ways.items()},
    }


def imports(
    costs: Mapping[str, Import],
    bare: str,
    baseline: str,
    cold: Mapping[str, Sequence[Invocation]],
) -> Document:
    """What each import costs beyond the bare interpreter, and each cold start that was seen."""
    base = over(costs[baseline], costs[bare])

    def document(subject: str) -> Document:
        beyond = over(costs[subject], costs[bare])
        return {
            **asdict(beyond),
            "cpuRatio": ratio(beyond.cpu_ms, base.cpu_ms),
            "sourceCpuRatio": ratio(beyond.source_cpu_ms, base.source_cpu_ms),
            "rssRatio": ratio(beyond.rss_mb, base.rss_mb),
            "coldStarts": [asdict(one) for one in cold.get(subject, ())],
        }

    return {
        "baseline": f"{baseline} and a client",
        "bareInterpreter": asdict(costs[bare]),
        "beyondIt": {subject: document(subject) for subject in costs if subject != bare},
    }


def cost(usage: Usage) -> Document:
    """What one rotation has used, and what that costs at list prices."""
    return {
        "pricesSeen": PRICES_SEEN,
        "region": REGION_OF_PRICES,
        "dollars": usage.usd,
        "lines": [
            {"what": name, "quantity": quantity, **asdict(price)}
            for name, quantity, price in usage.lines
        ],
        "calls": {module: asdict(calls) for module, calls in usage.calls.items()},
    }


def layer(found: Layer) -> Document:
    """The layer's size in MB by distribution, or the reason why it was not measured."""
    if found.problem:
        return {"problem": found.problem}
    return {
        "megabytes": found.total / MEGABYTE,
        "budget": LAYER_BUDGET_MB,
        "limit": LAYER_LIMIT_MB,
        "distributions": {name: size / MEGABYTE for name, size in found.sizes},
    }
