"""What the demo says at its end, in the right number."""

from typing import Any

import pytest

from local import faults, success_checks
from local.success_checks import Evidence
from local.traffic import VisitorsReport

ONE = VisitorsReport(pages=1, logged_out=1, logged_in_again=1, login_loops=1, failed=1)
MANY = VisitorsReport(pages=2000, logged_out=2, logged_in_again=2, login_loops=2, failed=0)
NOTHING: Any = None  # these claims look at no stack


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (ONE, "1 page served, 1 time logged out, 1 login met both keys, 1 request failed"),
        (MANY, "2,000 pages served, 2 times logged out, 2 logins met both keys, 0 requests failed"),
    ],
)
def test_visitors_are_told_in_their_number(seen: VisitorsReport, says: str) -> None:
    claim = success_checks._visitors_served(NOTHING, Evidence({}, "v1", frozenset(), (), seen))
    assert claim.says == f"visitors: {says} otherwise"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (1, ["1 log line that mentions a key error", "1 pod that runs"]),
        (5, ["5 log lines that mention a key error", "5 pods that run"]),
    ],
)
def test_log_lines_are_told_in_their_number(number: int, says: list[str]) -> None:
    logs = {"lines": {"key-not-32-bytes": number}, "pods": [{"pods": number}], "complete": True}
    lines, read = faults._lines_are_counted(NOTHING, {"validation": {"logs": logs}})
    assert lines.says == f"the record counts {says[0]}, and none decided"
    assert read.says == f"the logs of all {says[1]} were read"
