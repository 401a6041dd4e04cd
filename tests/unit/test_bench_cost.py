"""What a rotation costs, reckoned: the sums, and how they grow with services, pods and sessions."""

import math

import pytest

from bench import cost, cost_report
from bench.artefacts import calls_of
from bench.cost import Calls, Size, Usage
from bench.figures import Import, Invocation

SMALL = Size(services=2, pods=3, sessions=0, poll_seconds=30)
CALLS = {
    "begin_rotation": Calls(512, 1, 0, 1000.0, 0.0),
    "restart_service": Calls(512, 2, 0, 1000.0, 0.0),
    "check_rollout": Calls(512, 2, 4, 1000.0, 100.0),
    "purge_sessions": Calls(256, 1, 0, 1000.0, 0.0),
    "watch_key": Calls(512, 1, 0, 1000.0, 0.0),
}
MEASURED = Usage(CALLS, transitions=40, secret_calls=20, kms_calls=5, log_bytes=11_000.0)


def test_lambda_bills_memory_times_time() -> None:
    assert Calls(512, 2, 4, 1000.0, 250.0).gb_seconds == pytest.approx(0.5 * 3.0)
    assert CALLS["check_rollout"].number == 6


def test_a_rotation_costs_the_sum_of_its_lines() -> None:
    usage = Usage({"a": Calls(1024, 1, 0, 1000.0, 0)}, 1000, 10_000, 10_000, 1e9)
    expected = 0.0000133334 + 0.0000002 + 0.025 + 0.05 + 0.03 + 0.50
    assert usage.usd == pytest.approx(expected)


def test_the_same_size_is_what_was_measured() -> None:
    assert cost.grown(MEASURED, SMALL) == MEASURED


@pytest.mark.parametrize(
    ("size", "looks"),
    [
        (Size(1, 1, 0, 30), 1),
        (Size(1, 4, 0, 50), 3),
        (Size(1, 20, 0, 5), 120),
        (Size(20, 50, 0, 5), 25),
    ],
)
def test_a_rollout_is_looked_at_as_long_as_its_pods_take(size: Size, looks: int) -> None:
    assert size.looks == looks


def test_a_service_adds_a_restart_and_its_looks() -> None:
    one = cost.grown(MEASURED, Size(3, 3, 0, 30))
    assert one.calls["restart_service"].cold == 3
    assert one.calls["check_rollout"] == Calls(512, 3, 6, 1000.0, 100.0)
    assert one.transitions - MEASURED.transitions == 2 + 3 * 3
    assert one.secret_calls - MEASURED.secret_calls == 1 + 3
    assert one.log_bytes == pytest.approx(MEASURED.log_bytes * 15 / 11)


def test_sessions_add_slices_and_their_time() -> None:
    sessions = int(cost.KEYS_A_SECOND * 50)
    one = cost.grown(MEASURED, Size(2, 3, sessions, 30))
    purge = one.calls["purge_sessions"]
    assert (purge.cold, purge.warm) == (1, 3)
    assert purge.warm * purge.warm_ms == pytest.approx(50_000)
    assert one.transitions - MEASURED.transitions == 3 * 2


def test_the_cost_of_many_sessions_is_linear_in_their_number() -> None:
    def usd(sessions: int) -> float:
        return cost.grown(MEASURED, Size(2, 3, sessions, 30)).usd

    ten, hundred = (usd(n * 20_000_000) - usd(0) for n in (1, 10))
    assert hundred / ten == pytest.approx(10, rel=0.01)


def test_a_month_has_its_rotations_its_looks_and_what_is_there_anyway() -> None:
    fixed = cost.fixed_usd(
        {"AWS::KMS::Key": 1, "AWS::CloudWatch::Alarm": 5, "Other": 9}, 40, rotations=2
    )
    assert fixed == pytest.approx(1.0 + 0.5 + 0.30 / 730 * (2 * 40 + 5 * 730))
    nothing = Usage({}, 0, 0, 0, 0)
    looks = cost.looks(CALLS["watch_key"])
    watched = cost.month(nothing, CALLS["watch_key"], fixed, rotations=2)
    assert watched == pytest.approx(fixed + looks.usd)
    dearer = cost.month(MEASURED, CALLS["watch_key"], fixed, rotations=2)
    assert dearer - watched == pytest.approx(2 * MEASURED.usd)


def test_a_look_asks_two_functions_and_each_of_them_is_billed() -> None:
    one = cost.looks(CALLS["watch_key"], days=1)
    assert {name: calls.number for name, calls in one.calls.items()} == {
        "watch_key": 289,
        "deliver_key": 289,
        "check_rollout": 289,
    }
    assert (one.transitions, one.secret_calls, one.kms_calls) == (289 * 8, 289 * 6, 289)


def test_invocations_are_billed_with_their_initialisation() -> None:
    found = [
        Invocation(20, 500, 80, 512),
        Invocation(40, 700, 80, 512),
        Invocation(30, None, 80, 512),
    ]
    assert calls_of(found) == Calls(512, 2, 1, 630.0, 30.0)
    assert calls_of(found[:2]) == Calls(512, 2, 0, 630.0, 30.0)
    assert calls_of(found[2:]) == Calls(512, 0, 1, 0.0, 30.0)


def test_every_price_has_a_unit_and_a_page_of_aws() -> None:
    for _, _, price in MEASURED.lines:
        assert price.usd > 0
        assert price.unit
        assert price.source.startswith("https://aws.amazon.com/")


def row(lines: list[str], name: str) -> list[str]:
    (found,) = (line for line in lines if line.strip().startswith(name))
    return found.split(name, 1)[1].split()


def test_the_tables_show_what_was_measured_and_reckoned() -> None:
    cold = {"check_rollout": [Invocation(12, 300, 60, 512), Invocation(14, 400, 62, 512)]}
    costs = {"check_rollout": Import(220, 520, 55), "watch_key": Import(100, 200, 64)}
    lines = cost_report.starts(costs, cold, {"check_rollout": 512, "watch_key": 256})
    assert " ".join(row(lines, "check_rollout")) == (
        "520 ms 220 ms 350 ms 13 ms 62 MB 512 MB 8.3 x"
    )
    assert " ".join(row(lines, "watch_key")) == "200 ms 100 ms - - 64 MB 256 MB 4.0 x"
    assert row(cost_report.rotation(MEASURED), "Step Functions")[0] == "40"
    growth = cost_report.growth(MEASURED, {"AWS::SecretsManager::Secret": 1}, 0)
    totals = [
        float(line.split("$")[-1]) for line in growth if "pods," in line and "sessions  " in line
    ]
    assert len(totals) == len(cost_report.SIZES)
    assert totals == sorted(totals)
    looked = cost.looks(CALLS["watch_key"]).usd
    assert math.isclose(totals[0], 0.4 + 5 * 0.3 + looked, abs_tol=0.05)
