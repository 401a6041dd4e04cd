"""What is measured of a purge, and the arithmetic on it: rates, percentiles, goals. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import median, ratio

FAST, GENTLE, FLUSH = "fast", "gentle", "flush"
RUNBOOK, PIPELINED, LOOP, LIMIT = "runbook", "pipelined", "loop", "limit"
OURS = (FAST, GENTLE, FLUSH)
WAYS = (*OURS, RUNBOOK, PIPELINED, LOOP, LIMIT)
PROBED = (*OURS, RUNBOOK, PIPELINED)

RUNBOOK_GOAL, LIMIT_GOAL, PROBE_GOAL, FLUSH_GOAL_SECONDS = 3.0, 0.9, 2.0, 0.010

Answers = Sequence[tuple[float, float]]  # when each was due, and how many milliseconds it took


@dataclass(frozen=True)
class Work:
    """One purge: how long it took, the server's CPU in that time, the memory of the process.

    `memory_growth_mb` is what the process' peak grew by while it worked. `flush_seconds` is how
    long FLUSHDB took to return, and `counting_cpu_seconds`, of the limit alone, the server's work
    for a pass that only counts.
    """

    keys: int
    seconds: float
    cpu_seconds: float
    peak_mb: float = 0.0
    memory_growth_mb: float = 0.0
    flush_seconds: float = 0.0
    counting_cpu_seconds: float = 0.0

    @property
    def keys_per_second(self) -> float:
        """Sessions deleted in a second."""
        return self.keys / self.seconds

    @property
    def cpu_per_key(self) -> float:
        """Seconds of the server's CPU for each session deleted."""
        return self.cpu_seconds / self.keys

    @property
    def verified_cpu_per_key(self) -> float:
        """The same with the pass that only counts, where that was not part of the work."""
        return (self.cpu_seconds + self.counting_cpu_seconds) / self.keys


@dataclass(frozen=True)
class Latency:
    """What a probe waited for its answers, in milliseconds."""

    p50: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Probe:
    """A probe's answers in one round: before the purge, and during it."""

    idle: Latency
    purge: Latency


@dataclass(frozen=True)
class Purges:
    """All that was measured on one server or cluster, by way of purging."""

    target: str
    server: str
    sessions: int
    works: Mapping[str, Sequence[Work]]
    probes: Mapping[str, Sequence[Probe]]
    sizes: Mapping[str, Sequence[Work]] = field(default_factory=dict)

    def keys_per_second(self, way: str) -> float | None:
        """The median; None for a way that was not measured."""
        return _median(work.keys_per_second for work in self.works.get(way, ()))

    def cpu_per_key(self, way: str) -> float | None:
        """The median of the server's CPU seconds for a session."""
        return _median(work.cpu_per_key for work in self.works.get(way, ()))

    def to_runbook(self, way: str) -> float | None:
        """How many times as fast as the runbook's command."""
        return _ratio(self.keys_per_second(way), self.keys_per_second(RUNBOOK))

    def to_limit(self, way: str) -> float | None:
        """Which part of the server's work was deleting: its CPU a key alone, by that of a way.

        A flush does not delete key by key, so it has no such limit.
        """
        if way == FLUSH:
            return None
        return _ratio(self.cpu_per_key(LIMIT), self.cpu_per_key(way))

    def to_verified_limit(self, way: str) -> float | None:
        """The same, where the server alone makes a second pass that counts, as ours does."""
        if way == FLUSH:
            return None
        alone = _median(work.verified_cpu_per_key for work in self.works.get(LIMIT, ()))
        return _ratio(alone, self.cpu_per_key(way))

    def p99_to_idle(self, way: str) -> float | None:
        """The median over the rounds of the probe's p99, by the idle p99 of the same round."""
        probes = self.probes.get(way, ())
        return _median(one.purge.p99 / one.idle.p99 for one in probes if one.idle.p99 > 0)

    def latency(self, way: str, *, idle: bool = False) -> Latency | None:
        """The medians of what a probe waited: during a purge, or before it."""
        found = [one.idle if idle else one.purge for one in self.probes.get(way, ())]
        if not found:
            return None
        return Latency(
            median(one.p50 for one in found),
            median(one.p99 for one in found),
            median(one.worst for one in found),
        )

    def flush_seconds(self) -> float | None:
        """The slowest FLUSHDB, at any number of sessions."""
        flushes = [*self.works.get(FLUSH, ()), *self.sizes.get(FLUSH, ())]
        return max((work.flush_seconds for work in flushes), default=None)


@dataclass(frozen=True)
class Goal:
    """What was to be reached and what was; `value` is None where it was not measured."""

    what: str
    value: float | None
    wanted: float
    at_least: bool
    unit: str

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        if self.value is None:
            return False
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted


def goals(found: Purges) -> list[Goal]:
    """The goals of one server or cluster."""
    flush = found.flush_seconds()
    flush_ms = None if flush is None else flush * 1000
    return [
        Goal("fast, to the runbook", found.to_runbook(FAST), RUNBOOK_GOAL, True, " x"),
        Goal("fast, of the server's limit", found.to_limit(FAST), LIMIT_GOAL, True, ""),
        Goal("gentle, p99 to idle", found.p99_to_idle(GENTLE), PROBE_GOAL, False, " x"),
        Goal("FLUSHDB, slowest", flush_ms, FLUSH_GOAL_SECONDS * 1000, False, " ms"),
    ]


def latency(answers: Answers, begin: float, end: float) -> Latency:
    """What was waited for the answers due in that time. Raises ValueError where there were none."""
    taken = sorted(taken for due, taken in answers if begin <= due < end)
    if not taken:
        raise ValueError("The probe asked nothing in that time.")
    return Latency(percentile(taken, 50), percentile(taken, 99), taken[-1])


def percentile(ascending: Sequence[float], percent: int) -> float:
    """The least value that so many percent of the values do not exceed."""
    place = -(-len(ascending) * percent // 100)  # rounded up
    return ascending[max(1, place) - 1]


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


def _ratio(value: float | None, baseline: float | None) -> float | None:
    return None if value is None or baseline is None else ratio(value, baseline)
