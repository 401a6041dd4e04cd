"""The costs as plain text, as docs/cost.md shows them. Pure."""

from collections.abc import Mapping, Sequence

from bench.cost import (
    ENDPOINT,
    KEYS_A_SECOND,
    PRICES_SEEN,
    REGION_OF_PRICES,
    SECONDS_A_POD,
    Size,
    Usage,
    fixed_usd,
    grown,
    month,
)
from bench.figures import Import, Invocation, median
from bench.report import table

ROTATIONS_A_MONTH = 2
SIZES = (
    ("2 services of 3 pods, 2,000 sessions", Size(2, 3, 2_000, 5)),
    ("2 services of 10 pods, 100,000 sessions", Size(2, 10, 100_000, 5)),
    ("5 services of 20 pods, 1 million sessions", Size(5, 20, 1_000_000, 5)),
    ("20 services of 50 pods, 10 million sessions", Size(20, 50, 10_000_000, 5)),
)


def starts(
    costs: Mapping[str, Import],
    cold: Mapping[str, Sequence[Invocation]],
    memory_mb: Mapping[str, int],
) -> list[str]:
    """What each function costs to start, against the memory that it has."""
    rows = []
    for module, memory in memory_mb.items():
        one, found = costs[module], cold.get(module, ())
        peak = max([round(one.rss_mb), *(each.memory_mb for each in found)])
        rows.append((
            module,
            f"{one.source_cpu_ms:.0f} ms",
            f"{one.cpu_ms:.0f} ms",
            f"{median(each.init_ms or 0 for each in found):.0f} ms" if found else "-",
            f"{median(each.duration_ms for each in found):.0f} ms" if found else "-",
            f"{peak} MB",
            f"{memory} MB",
            f"{memory / peak:.1f} x",
        ))  # fmt: skip
    head = ("", "import CPU", "with bytecode", "init", "first call", "peak", "memory", "of peak")
    return [
        "Starts: the built artefacts; medians",
        "",
        *table(head, rows),
        "",
        "  Import CPU: of a fresh process, interpreter included; with bytecode: of the layer too.",
        "  Init, first call: the local Lambda's REPORT of cold starts in a rotation.",
        "  Peak: the largest resident set of all of these.",
    ]


def processes(cpu_ms: Mapping[str, tuple[float, int, int]]) -> list[str]:
    """The CPU of each function's process in a rotation, by its number of cold and warm calls."""
    rows = [
        (module, f"{cpu:.0f} ms", str(cold), str(warm))
        for module, (cpu, cold, warm) in cpu_ms.items()
    ]
    head = ("", "CPU a process", "cold calls", "warm calls")
    return ["Processes: one rotation, start and all calls", "", *table(head, rows)]


def rotation(usage: Usage) -> list[str]:
    """What one measured rotation is billed."""
    rows = [
        (name, f"{quantity:,.4g}" if quantity < 100 else f"{quantity:,.0f}", price.unit,
         f"${price.usd:.10f}".rstrip("0"), f"${quantity * price.usd:.6f}")
        for name, quantity, price in usage.lines
    ]  # fmt: skip
    return [
        f"One rotation, as measured: list prices of {PRICES_SEEN}, {REGION_OF_PRICES}",
        "",
        *table(("", "quantity", "unit", "price", "cost"), rows),
        "",
        f"  Together ${usage.usd:.4f}. SNS, EventBridge and S3 add less than $0.0001.",
    ]


def growth(usage: Usage, kinds: Mapping[str, int], metrics: int) -> list[str]:
    """How a rotation and a month grow with services, pods and sessions."""
    fixed, rows = fixed_usd(kinds, metrics, ROTATIONS_A_MONTH), []
    for name, size in SIZES:
        one = grown(usage, size)
        watched = month(one, usage.calls["watch_key"], fixed, ROTATIONS_A_MONTH)
        seconds = sum(calls.gb_seconds for calls in one.calls.values())
        rows.append((
            name,
            f"{sum(calls.number for calls in one.calls.values()):,}",
            f"{seconds:,.1f}",
            f"{one.transitions:,}",
            f"${one.usd:.4f}",
            f"${watched:.2f}",
        ))  # fmt: skip
    head = ("", "calls", "GB-s", "transitions", "a rotation", "a month")
    return [
        f"Growth: {ROTATIONS_A_MONTH} rotations a month, looks every five minutes, and the stack",
        "",
        *table(head, rows),
        "",
        f"  The stack itself, whatever its size: ${fixed:.2f} a month.",
        f"  Reckoned with {SECONDS_A_POD:.0f} s for a pod, one after the other, looks 5 s apart or",
        f"  more, and {KEYS_A_SECOND:,.0f} sessions a second. Without a NAT gateway, an interface",
        f"  endpoint in one zone costs ${ENDPOINT.usd:.2f} a month.",
    ]
