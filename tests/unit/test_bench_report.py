"""The bench's arithmetic and tables: medians, ratios, moments of a rollout, sizes."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import delete_sessions, documents, layer, report
from bench.figures import (
    KEYTURN,
    RUNBOOK,
    WARM,
    Import,
    Invocation,
    Layer,
    Rotation,
    median,
    median_import,
    over,
    parse_report,
    ratio,
)
from bench.imports import BARE, BASELINE, BYTES_AN_EVENT, Reports
from bench.rollouts import Change, Rollouts, is_rolled_out, rollouts_of
from local.lambda_invocation import Report

MB = report.MEGABYTE
COSTS = {
    BARE: Import(20, 20, 10, ("yaml",)),
    BASELINE: Import(120, 120, 40, ("boto3", "urllib3")),
    "check_rollout": Import(220, 520, 55, ("boto3", "kubernetes", "urllib3")),
}
COLD = {"check_rollout": [Invocation(12.0, 300.0, 60, 512), Invocation(14.0, 400.0, 62, 512)]}


def rotation(total: float, rollout: float = 1.0, left: int = 0) -> Rotation:
    return Rotation(total, 0.5, rollout, total - rollout - 0.5, rollout, left)


WAYS = {
    RUNBOOK: [rotation(2.0, left=4)],
    KEYTURN: [rotation(5.0), rotation(3.0), rotation(4.0)],
    WARM: [rotation(3.0)],
}


def deployment(generation: int, **status: int) -> dict[str, Any]:
    metadata = {"name": "web", "uid": "d", "generation": generation}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": status}


def rolled_out(generation: int) -> dict[str, Any]:
    counters = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return deployment(generation, observedGeneration=generation, **counters)


def pod(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": f"web-{uid}", "uid": uid}}


BEFORE = [
    Change(0.0, "deployments", "ADDED", rolled_out(1)),
    Change(0.0, "pods", "ADDED", pod("old-1")),
    Change(0.0, "pods", "ADDED", pod("old-2")),
]
CHANGES = [
    Change(1.0, "deployments", "MODIFIED", deployment(2, observedGeneration=1, replicas=2)),
    Change(1.5, "pods", "ADDED", pod("new-1")),
    Change(2.0, "pods", "DELETED", pod("old-1")),
    Change(3.0, "deployments", "MODIFIED", rolled_out(2)),
    Change(3.5, "pods", "DELETED", pod("new-1")),
    Change(4.0, "pods", "DELETED", pod("old-2")),
]


def test_the_median_is_the_middle_and_of_an_even_number_the_mean_of_two() -> None:
    assert median([9, 1, 2]) == 2
    assert median([4, 1, 2, 9]) == 3


def test_there_is_no_median_of_nothing() -> None:
    with pytest.raises(ValueError, match="no median"):
        median([])


@pytest.mark.parametrize(("baseline", "expected"), [(2.0, 3.0), (0.0, None), (-1.0, None)])
def test_a_ratio_needs_a_baseline_above_zero(baseline: float, expected: float | None) -> None:
    assert ratio(6.0, baseline) == expected


def test_net_is_what_a_rotation_takes_besides_its_rollouts() -> None:
    assert rotation(total=4.0, rollout=1.5).net == 2.5


def test_each_cost_of_an_import_has_its_own_median() -> None:
    costs = [Import(1, 30, 5, ("a",)), Import(2, 10, 9, ("b",)), Import(3, 20, 7)]
    assert median_import(costs) == Import(2, 20, 7, ("a", "b"))


def test_what_the_bare_interpreter_costs_and_loads_is_taken_off() -> None:
    imported = Import(220, 520, 55, ("kubernetes", "yaml"))
    assert over(imported, COSTS[BARE]) == Import(200, 500, 45, ("kubernetes",))


@pytest.mark.parametrize("init_ms", [312.5, None])
def test_the_report_line_of_the_local_lambda_is_read(init_ms: float | None) -> None:
    line = Report("7f1d", 12.25, init_ms, 512, 63, None).line()
    assert parse_report(line) == Invocation(12.25, init_ms, 63, 512)


def test_other_lines_are_no_reports() -> None:
    assert parse_report("START RequestId: 7f1d Version: $LATEST") is None


def test_every_report_is_kept_and_every_byte_that_is_logged_counts() -> None:
    reports = Reports()
    lines = [Report("7f1d", 12.25, init_ms, 512, 63, None).line() for init_ms in (312.5, None)]
    for line in (*lines, "é"):
        reports.hear("check", line)
    assert reports.seen["check"] == [
        Invocation(12.25, 312.5, 63, 512),
        Invocation(12.25, None, 63, 512),
    ]
    assert reports.log_bytes == sum(len(line) for line in lines) + 2 + 3 * BYTES_AN_EVENT
    reports.forget()
    assert (reports.seen, reports.log_bytes) == ({}, 0)


def test_the_moments_of_a_rollout_are_found_in_what_the_cluster_showed() -> None:
    found = rollouts_of(CHANGES, BEFORE)
    assert found == Rollouts(restarted=1.0, complete=3.0, old_pods_gone=(2.0, 4.0))
    assert found.last_pod_gone == 4.0
    assert [found.old_pods_left(moment) for moment in (1.0, 3.0, 4.0)] == [2, 1, 0]


@pytest.mark.parametrize("seen", [0, 3, 5], ids=["no change", "not complete", "an old pod left"])
def test_a_rollout_under_way_has_no_moments(seen: int) -> None:
    assert rollouts_of(CHANGES[:seen], BEFORE) is None


def test_a_change_of_status_alone_is_no_restart() -> None:
    changes = [Change(0.5, "deployments", "MODIFIED", rolled_out(1)), *CHANGES]
    found = rollouts_of(changes, BEFORE)
    assert found is not None
    assert found.restarted == 1.0


@pytest.mark.parametrize(
    "lacking",
    [{"observedGeneration": 1}, {"updatedReplicas": 1}, {"replicas": 3}, {"availableReplicas": 1}],
    ids=lambda lacking: next(iter(lacking)),
)
def test_a_deployment_is_rolled_out_only_when_kubectl_says_so(lacking: dict[str, int]) -> None:
    whole = rolled_out(2)
    assert is_rolled_out(whole)
    assert not is_rolled_out({**whole, "status": {**whole["status"], **lacking}})


def test_the_columns_of_a_table_are_aligned() -> None:
    lines = report.table(("", "size"), [("cryptography", "13.4 MB"), ("redis", "2.5 MB")])
    assert lines == [
        "                   size",
        "  ---------------------",
        "  cryptography  13.4 MB",
        "  redis          2.5 MB",
    ]


def row(lines: Sequence[str], start: str) -> list[str]:
    """The cells of the line that begins so."""
    line = next(line for line in lines if line.strip().startswith(start))
    return line.strip().removeprefix(start).split()


def test_the_table_of_rotations_shows_medians_and_ratios_to_the_runbook() -> None:
    lines = report.rotation(WAYS, 2000, "redis-cli")
    assert row(lines, "total") == ["2.00", "s", "4.00", "s", "2.00", "x", "3.00", "s", "1.50", "x"]
    assert row(lines, "net: total less rollouts")[4:6] == ["3.00", "x"]
    assert row(lines, "old pods left at its end") == ["4", "0", "0"]
    assert "2,000 sessions" in lines[0]
    assert any("redis-cli" in line for line in lines)


def test_the_table_of_imports_compares_with_boto3_beyond_the_interpreter() -> None:
    lines = report.imports(COSTS, BARE, BASELINE)
    expected = "200 ms 2.00 x 500 ms 5.00 x 45.0 MB 1.50 x"
    assert " ".join(row(lines, "check_rollout")) == expected
    assert row(lines, "boto3 and a client")[:4] == ["100", "ms", "1.00", "x"]


def test_the_vendors_of_a_function_are_named_and_the_rest_counted() -> None:
    assert report.vendors(COSTS, BARE, BASELINE)[-1].split(maxsplit=1) == [
        "check_rollout",
        "boto3, kubernetes; 1 more",
    ]


def test_the_table_of_first_invocations_shows_medians() -> None:
    cells = row(report.first_invokes(COLD), "check_rollout")
    assert " ".join(cells) == "2 350 ms 13 ms 61 MB 512 MB"


@pytest.mark.parametrize(("size", "verdict"), [(120, "within"), (121, "ABOVE")])
def test_the_layer_is_held_against_its_budget(size: int, verdict: str) -> None:
    lines = report.layer(Layer((("kubernetes", size * MB),)))
    assert lines[0].startswith(f"Layer: {size}.0 MB unzipped, {verdict} the budget of 120 MB")


def test_the_layer_shows_its_ten_largest_and_the_sum_of_the_others() -> None:
    lines = report.layer(Layer(tuple((f"part-{n:02}", MB) for n in range(13))))
    assert sum("part-" in line for line in lines) == 10
    assert row(lines, "3 others") == ["3.0", "MB"]


@pytest.mark.parametrize(("name", "says"), [("boto3", "is in it"), ("redis", "is rightly not")])
def test_the_layer_says_whether_it_holds_boto3(name: str, says: str) -> None:
    assert any(f"boto3 {says}" in line for line in report.layer(Layer(((name, MB),))))


def test_a_layer_that_could_not_be_built_says_why() -> None:
    assert report.layer(Layer(problem="no index.")) == ["Layer: not measured. no index."]


def test_sizes_are_those_of_distributions_and_of_what_belongs_to_none(tmp_path: Path) -> None:
    for name, size in {"vendor/a.py": 30, "vendor/b.py": 20, "keyturn/key.py": 7}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"#" * size)
    info = tmp_path / "vendor-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: vendor\nVersion: 1\n")
    (info / "RECORD").write_text("vendor/a.py,,\nvendor/b.py,,\nvendor/left-out.py,,\n")
    sizes = dict(layer.sizes_in(tmp_path))
    assert sizes["vendor"] == 50
    assert sizes["keyturn"] == 7
    assert sum(sizes.values()) == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())


def test_the_documents_are_json_and_hold_what_the_tables_show() -> None:
    rotations = json.loads(json.dumps(documents.rotation(WAYS, 2000, "redis-cli")))
    assert rotations["medians"][KEYTURN]["total"] == {"seconds": 4.0, "ratio": 2.0}
    assert len(rotations["runs"][KEYTURN]) == 3
    imports = json.loads(json.dumps(documents.imports(COSTS, BARE, BASELINE, COLD)))
    assert imports["beyondIt"]["check_rollout"]["cpuRatio"] == 2.0
    assert len(imports["beyondIt"]["check_rollout"]["coldStarts"]) == 2
    assert documents.layer(Layer((("redis", 2 * MB),)))["megabytes"] == 2.0
    assert documents.layer(Layer(problem="no index.")) == {"problem": "no index."}


def test_the_runbooks_deletion_speaks_redis() -> None:
    assert delete_sessions.command("SELECT", "1") == b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n"
    answer = io.BytesIO(b"*2\r\n$1\r\n0\r\n*1\r\n$9\r\nsession:a\r\n+OK\r\n:7\r\n")
    assert [delete_sessions.reply(answer) for _ in range(3)] == [["0", ["session:a"]], "OK", "7"]


def test_the_runbooks_deletion_does_not_take_an_error_for_a_reply() -> None:
    with pytest.raises(ValueError, match="NOPERM"):
        delete_sessions.reply(io.BytesIO(b"-NOPERM no\r\n"))
