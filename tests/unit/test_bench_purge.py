"""The arithmetic, the tables, the document and the chart of the bench of purges."""

import json
import xml.etree.ElementTree as ET

import pytest

from bench import latency as probe_process
from bench import purge, purge_chart, purge_report
from bench.purge_figures import (
    FAST,
    FLUSH,
    GENTLE,
    LIMIT,
    LOOP,
    PIPELINED,
    RUNBOOK,
    Latency,
    Probe,
    Purges,
    Work,
    goals,
    latency,
    percentile,
)

KEYS = 1_000_000
IDLE = Latency(0.2, 0.5, 1.0)


def work(seconds: float, cpu: float = 2.0, flush: float = 0.0, counting: float = 0.0) -> Work:
    return Work(KEYS, seconds, cpu, 32.0, 0.5, flush, counting)


def probe(p99: float, idle: Latency = IDLE) -> Probe:
    return Probe(idle, Latency(0.3, p99, 2 * p99))


FOUND = Purges(
    target="standalone",
    server="redis 7.0.15",
    sessions=KEYS,
    works={
        FAST: [work(4.0, 3.0), work(2.0, 2.0), work(2.5, 2.0)],
        GENTLE: [work(8.0, 4.0)],
        FLUSH: [work(0.02, 0.01, flush=0.0004), work(0.02, 0.01, flush=0.002)],
        RUNBOOK: [work(10.0, 8.0)],
        PIPELINED: [work(4.0)],
        LOOP: [Work(20_000, 2.0, 0.8)],
        LIMIT: [work(2.0, 1.9, counting=0.1)],
    },
    probes={
        FAST: [probe(5.0), probe(4.0), probe(9.0, Latency(0.2, 3.0, 4.0))],
        GENTLE: [probe(0.75)],
    },
    sizes={
        FAST: [work(2.5)],
        LIMIT: [work(2.0, 1.5, counting=0.1)],
        FLUSH: [work(0.02, flush=0.003)],
    },
)


def row(lines: list[str], start: str) -> list[str]:
    """The cells of the line that begins so."""
    line = next(line for line in lines if line.strip().startswith(start))
    return line.strip().removeprefix(start).split()


def test_a_purge_is_compared_by_medians() -> None:
    assert FOUND.keys_per_second(FAST) == KEYS / 2.5
    assert FOUND.to_runbook(FAST) == 4.0
    assert FOUND.keys_per_second(LOOP) == 10_000
    assert FOUND.to_limit(FAST) == pytest.approx(0.95)
    assert FOUND.to_verified_limit(FAST) == pytest.approx(1.0)
    assert FOUND.to_limit(FLUSH) is None


def test_a_probes_ratio_is_that_of_the_same_round() -> None:
    assert FOUND.p99_to_idle(FAST) == 8.0  # of 10, 8 and 3: not the median p99 by the median idle
    assert FOUND.latency(FAST) == Latency(0.3, 5.0, 10.0)
    assert FOUND.latency(FAST, idle=True) == IDLE


def test_what_was_not_measured_has_no_figure() -> None:
    nothing = Purges("cluster", "valkey 9.1.2", KEYS, {FAST: [work(2.0)]}, {})
    assert nothing.to_runbook(FAST) is None
    assert nothing.p99_to_idle(FAST) is None
    assert nothing.latency(FAST) is None
    assert [goal.met for goal in goals(nothing)] == [False] * 4
    assert row(purge_report.purge(nothing, 1), "Keyturn, fast")[1] == "-"
    assert purge_report.NO_RUNBOOK in purge_report.purge(nothing, 1)


def test_the_goals_are_held_against_the_figures() -> None:
    assert [(goal.value, goal.met) for goal in goals(FOUND)] == [
        (4.0, True),
        (pytest.approx(0.95), True),
        (1.5, True),
        (3.0, True),  # the slowest flush of all, in milliseconds
    ]
    slow = Purges(
        "standalone",
        "redis 7.0.15",
        KEYS,
        {
            FAST: [work(5.0)],
            FLUSH: [work(1.0, flush=0.011)],
            RUNBOOK: [work(10)],
            LIMIT: [work(1, 1)],
        },
        {GENTLE: [probe(1.1)]},
    )
    assert [(goal.value, goal.met) for goal in goals(slow)] == [
        (2.0, False),
        (0.5, False),
        (pytest.approx(2.2), False),
        (pytest.approx(11.0), False),
    ]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent: int, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected
    assert percentile([7], percent) == 7


def test_only_requests_due_in_the_time_count() -> None:
    answers = [(0.9, 100.0), (1.0, 3.0), (1.5, 1.0), (1.9, 2.0), (2.0, 100.0)]
    assert latency(answers, 1.0, 2.0) == Latency(2.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="nothing"):
        latency(answers, 3.0, 4.0)


def test_the_table_shows_each_way_with_its_ratios() -> None:
    lines = purge_report.purge(FOUND, 3)
    assert " ".join(row(lines, "Keyturn, fast")) == (
        "400,000 4.00 x 2.00 us 0.95 0.30 5.00 10.0 8.00 x"
    )
    assert row(lines, "runbook")[:3] == ["100,000", "1.00", "x"]
    assert row(lines, "no purge: idle") == ["0.20", "0.50", "1.0"]
    assert "fast is at 1.00 of it" in "\n".join(lines)
    assert max(map(len, lines)) <= 100


def test_a_goal_says_whether_it_is_met() -> None:
    lines = purge_report.purge(FOUND, 3)
    assert "  Goal: fast, to the runbook: 4.00 x, wanted at least 3 x: met" in lines
    assert "  Goal: FLUSHDB, slowest: 3.00 ms, wanted at most 10 ms: met" in lines


def test_the_table_of_sizes_shows_cost_and_memory() -> None:
    cells = " ".join(row(purge_report.sizes(FOUND), "1,000,000"))
    assert cells == "2.50 s 400,000 2.00 us 1.50 us 1.25 32.0 MB 0.5 MB 3.00 ms"


def test_the_document_has_the_figures_by_way() -> None:
    told = json.loads(json.dumps(purge_report.document(FOUND)))
    fast = {name: told[FAST][name] for name in ("keys_per_second", "ratio_to_runbook")}
    assert fast == {"keys_per_second": 400_000.0, "ratio_to_runbook": 4.0}
    assert told[FAST]["probe_p99_ratio_to_idle"] == 8.0
    assert told[FAST]["ratio_to_limit"] == pytest.approx(0.95)
    assert told[FLUSH]["seconds"] == 0.003
    assert len(told[FAST]["rounds"]) == 3


def test_the_chart_draws_what_was_measured_and_is_always_the_same() -> None:
    drawn = purge_chart.draw([FOUND])
    assert drawn == purge_chart.draw([FOUND])
    assert "400 thousand (4 x)" in drawn
    assert "5.0 ms (8.0 x)" in drawn
    bars = ET.fromstring(drawn).findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 6 + 2 + 1  # speeds without flush, probed ways, idle
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[0] == pytest.approx(purge_chart.BAR * 0.8)  # fast, of the server alone
    assert max(widths) == purge_chart.BAR


def test_the_text_of_a_chart_is_escaped() -> None:
    drawn = purge_chart.draw([Purges("standalone", "<redis & co>", KEYS, FOUND.works, {})])
    assert "&lt;redis &amp; co&gt;" in drawn


def test_what_a_process_says_of_its_work_is_read() -> None:
    said = {"seconds": 2.0, "cpu_seconds": 1.0, "start_mb": 31.0, "peak_mb": 31.5}
    assert purge.work_of(said, 10) == Work(10, 2.0, 1.0, 31.5, 0.5)
    assert purge.work_of({**said, "flush_seconds": 0.1}, 10).flush_seconds == 0.1


def test_sizes_go_up_to_the_number_of_sessions() -> None:
    assert purge.sizes_for(100_000, largest=False) == [10_000, 100_000]


@pytest.mark.parametrize(
    ("received", "length"), [(b"", 0), (b"+O", 0), (b"+OK\r\n$1", 5), (b"$-1\r\n+OK", 5)]
)
def test_a_probe_takes_whole_replies(received: bytes, length: int) -> None:
    assert probe_process.whole_reply(received) == length
    assert probe_process.whole_reply(probe_process.VALUE_REPLY) == len(probe_process.VALUE_REPLY)


def test_a_probe_does_not_take_an_error_for_a_reply() -> None:
    with pytest.raises(ValueError, match="BUSY"):
        probe_process.whole_reply(b"-BUSY\r\n")
