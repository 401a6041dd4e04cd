"""What is measured, and the arithmetic on it: medians and ratios. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median as _median

# The ways of rotating; the first is the baseline.
RUNBOOK, KEYTURN, WARM = "runbook", "Keyturn", "Keyturn, warm"

_REPORT = re.compile(
    r"REPORT .*?\tDuration: (?P<duration>[\d.]+) ms.*?\tMemory Size: (?P<size>\d+) MB"
    r"\tMax Memory Used: (?P<memory>\d+) MB(?:\tInit Duration: (?P<init>[\d.]+) ms)?"
)


@dataclass(frozen=True)
class Rotation:
    """One rotation in seconds: before the first restart, the rollouts it waited for, and after.

    `last_pod_gone` counts from the first restart; `old_pods_left` is how many pods still held the
    old key when the rotation said that it was done.
    """

    total: float
    before: float
    rollout: float
    after: float
    last_pod_gone: float
    old_pods_left: int

    @property
    def net(self) -> float:
        """All but the rollouts: what the way of rotating adds to them."""
        return self.total - self.rollout


Ways = dict[str, list[Rotation]]


@dataclass(frozen=True)
class Import:
    """What an import cost: CPU milliseconds, peak RSS in MB, and the vendors it loaded.

    `source_cpu_ms` is the CPU where the layer holds no bytecode, so that its modules are compiled.
    """

    cpu_ms: float
    source_cpu_ms: float
    rss_mb: float
    vendors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Invocation:
    """What Lambda's REPORT line says: milliseconds and MB; `init_ms` None when it was warm."""

    duration_ms: float
    init_ms: float | None
    memory_mb: int
    memory_size_mb: int


@dataclass(frozen=True)
class Layer:
    """The unzipped layer in bytes, by distribution, largest first; or why it was not built."""

    sizes: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    @property
    def total(self) -> int:
        """The size of the whole layer."""
        return sum(size for _, size in self.sizes)


def median(values: Iterable[float]) -> float:
    """The median. Raises ValueError when there is no value."""
    found = list(values)
    if not found:
        raise ValueError("There is no median of no values.")
    return float(_median(found))


def ratio(value: float, baseline: float) -> float | None:
    """How many times the baseline; None where the baseline is not above zero."""
    return value / baseline if baseline > 0 else None


def median_import(imports: Sequence[Import]) -> Import:
    """The median of each cost; the vendors are those of all."""
    vendors = {vendor for one in imports for vendor in one.vendors}
    return Import(
        median(one.cpu_ms for one in imports),
        median(one.source_cpu_ms for one in imports),
        median(one.rss_mb for one in imports),
        tuple(sorted(vendors)),
    )


def over(imported: Import, bare: Import) -> Import:
    """What the import cost beyond another, the bare interpreter."""
    return Import(
        imported.cpu_ms - bare.cpu_ms,
        imported.source_cpu_ms - bare.source_cpu_ms,
        imported.rss_mb - bare.rss_mb,
        tuple(vendor for vendor in imported.vendors if vendor not in bare.vendors),
    )


def parse_report(line: str) -> Invocation | None:
    """Read a REPORT line of Lambda; None for any other line."""
    if not (found := _REPORT.search(line)):
        return None
    init = found["init"]
    return Invocation(
        float(found["duration"]),
        float(init) if init else None,
        int(found["memory"]),
        int(found["size"]),
    )
