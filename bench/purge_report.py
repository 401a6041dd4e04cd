"""The figures of the purges as plain text, and as the document that is kept. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import RUNBOOK as BASELINE
from bench.purge_figures import (
    FAST,
    FLUSH,
    GENTLE,
    LIMIT,
    LOOP,
    PIPELINED,
    RUNBOOK,
    WAYS,
    Goal,
    Latency,
    Purges,
    goals,
)
from bench.report import table

LABELS = {
    FAST: "Keyturn, fast",
    GENTLE: "Keyturn, gentle",
    FLUSH: "Keyturn, flush",
    RUNBOOK: BASELINE,
    PIPELINED: "pipelined SCAN, UNLINK",
    LOOP: "a key at a time",
    LIMIT: "the server alone",
}
MICROSECONDS = 1e6
SIZED = (FAST, LIMIT, FLUSH)
NOTES = (
    "  Keyturn's time and CPU include its second pass, which only counts; no other way has one.",
    "  Of limit: the CPU that the server alone needs for a key, with one script that does SCAN and",
    "  UNLINK over all of them, by the server's CPU for a key in that way.",
    "  p50, p99, max: milliseconds that GET and SET in turns wait, 500 a second, counted from when",
    "  each was due; in rounds of their own. Idle is the same probe before each purge. All share",
    "  this machine's cores.",
)
NO_RUNBOOK = "  The runbook's command needs redis-cli, which is not installed: no ratio to it."
RUNBOOK_COMMANDS = {
    "standalone": (
        "  Runbook: redis-cli --scan --pattern 'session:*' | xargs -L 1000 redis-cli DEL",
    ),
    "cluster": (
        "  Runbook: its command fails in a cluster, where DEL takes keys of one slot. What works:",
        "  redis-cli --scan --pattern 'session:*' | sed 's/^/DEL /' | redis-cli, on all primaries",
        "  at once.",
    ),
}


def purge(found: Purges, rounds: int) -> list[str]:
    """The table of one server or cluster, how it was measured, and the goals."""
    head = ("", "keys/s", "ratio", "CPU a key", "of limit", "p50", "p99", "max", "p99 to idle")
    rows = [_row(found, way) for way in WAYS if way in found.works]
    idle = found.latency(FAST, idle=True)
    rows.append(("no purge: idle", "", "", "", "", *_waits(idle), ""))
    verified = _number(found.to_verified_limit(FAST))
    return [
        f"Purge, {found.target} ({found.server}): {found.sessions:,} sessions, {rounds} rounds",
        "  Values of 600 bytes with a TTL, one other key in ten; flush: sessions alone.",
        "  Every way in turns; medians, ratios are to the runbook.",
        "",
        *table(head, rows),
        "",
        *_runbook_lines(found),
        *NOTES,
        f"  Where the server alone counts as well, as Keyturn does, fast is at {verified} of it.",
        "",
        *_goal_lines(goals(found)),
    ]


def sizes(found: Purges) -> list[str]:
    """What a purge costs at ever more sessions, and the memory of its process."""
    rows = [
        (
            f"{fast.keys:,}",
            f"{fast.seconds:.2f} s",
            f"{fast.keys_per_second:,.0f}",
            f"{fast.cpu_per_key * MICROSECONDS:.2f} us",
            f"{alone.cpu_per_key * MICROSECONDS:.2f} us",
            f"{fast.cpu_per_key / alone.verified_cpu_per_key:.2f}",
            f"{fast.peak_mb:.1f} MB",
            f"{fast.memory_growth_mb:.1f} MB",
            f"{flush.flush_seconds * 1000:.2f} ms",
        )
        for fast, alone, flush in zip(*(found.sizes[way] for way in SIZED), strict=True)
    ]
    head = (
        *("sessions", "fast", "keys/s", "CPU a key", "server alone", "by both passes"),
        *("peak memory", "grown by", "FLUSHDB"),
    )
    return [
        f"Cost and memory by the number of sessions, {found.target}, once each",
        "",
        *table(head, rows),
        "",
        "  A key costs more in larger tables, whose parts the CPU's caches do not hold: also where",
        "  the server alone deletes. By both passes: our CPU by the server's for the same passes.",
        "  Memory: of the process that purges, and what its peak grew by once it had begun.",
    ]


def document(found: Purges) -> dict[str, Any]:
    """One server or cluster: each way's medians, and every round."""
    return {
        "server": found.server,
        "sessions": found.sessions,
        **{way: _way(found, way) for way in WAYS if way in found.works},
        "goals": [{**asdict(goal), "met": goal.met} for goal in goals(found)],
        "sizes": {way: [asdict(work) for work in works] for way, works in found.sizes.items()},
    }


def _way(found: Purges, way: str) -> dict[str, Any]:
    works, probes = found.works[way], found.probes.get(way, ())
    seconds = sorted(work.seconds for work in works)[len(works) // 2]
    cpu = found.cpu_per_key(way)
    told: dict[str, Any] = {
        "keys_per_second": found.keys_per_second(way),
        "ratio_to_runbook": found.to_runbook(way),
        "ratio_to_limit": found.to_limit(way),
        "ratio_to_limit_with_counting": found.to_verified_limit(way),
        "probe_p99_ratio_to_idle": found.p99_to_idle(way),
        "cpu_microseconds_per_key": None if cpu is None else cpu * MICROSECONDS,
        "whole_seconds": seconds,
        "peak_rss_mb": max(work.peak_mb for work in works),
        "probe_ms": _latency(found.latency(way)),
        "idle_ms": _latency(found.latency(way, idle=True)),
        "rounds": [asdict(work) for work in works],
        "probed_rounds": [asdict(probe) for probe in probes],
    }
    return {"seconds": found.flush_seconds(), **told} if way == FLUSH else told


def _row(found: Purges, way: str) -> tuple[str, ...]:
    cpu = found.cpu_per_key(way)
    return (
        LABELS[way],
        _number(found.keys_per_second(way), ",.0f"),
        _number(found.to_runbook(way), ".2f", " x"),
        _number(None if cpu is None else cpu * MICROSECONDS, ".2f", " us"),
        _number(found.to_limit(way)),
        *_waits(found.latency(way)),
        _number(found.p99_to_idle(way), ".2f", " x"),
    )


def _runbook_lines(found: Purges) -> Sequence[str]:
    return RUNBOOK_COMMANDS[found.target] if RUNBOOK in found.works else (NO_RUNBOOK,)


def _goal_lines(found: Sequence[Goal]) -> list[str]:
    lines = []
    for goal in found:
        wanted = f"{'at least' if goal.at_least else 'at most'} {goal.wanted:g}{goal.unit}"
        verdict = "met" if goal.met else "NOT MET" if goal.value is not None else "not measured"
        lines.append(
            f"  Goal: {goal.what}: {_number(goal.value)}{goal.unit}, wanted {wanted}: {verdict}"
        )
    return lines


def _waits(found: Latency | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    return f"{found.p50:.2f}", f"{found.p99:.2f}", f"{found.worst:.1f}"


def _latency(found: Latency | None) -> dict[str, float] | None:
    return None if found is None else {"p50": found.p50, "p99": found.p99, "max": found.worst}


def _number(value: float | None, form: str = ".2f", unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
