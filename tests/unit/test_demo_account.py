"""What the demo says at its end, in the right number."""

from typing import Any

import pytest

from local import account, faults
from local.account import Evidence
from local.visitors import VisitorsReport

ONE = VisitorsReport(pages=1, logged_out=1, logged_in_again=1, login_loops=1, failed=1)
MANY = VisitorsReport(pages=2000, logged_out=2, logged_in_again=2, login_loops=2, failed=0)
NOTHING: Any = None  # these claims look at no stack


@pytest.mark.parametrize(
    ("seen", "summary"),
    [
        (ONE, "1 page served, 1 time logged out, 1 login met both keys, 1 request failed"),
        (MANY, "2,000 pages served, 2 times logged out, 2 logins met both keys, 0 requests failed"),
    ],
)
def test_visitors_are_told_in_their_number(seen: VisitorsReport, summary: str) -> None:
    claim = account._visitors_served(NOTHING, Evidence({}, "v1", frozenset(), (), seen))
    assert claim.summary == f"visitors: {summary} otherwise"


@pytest.mark.parametrize(
    ("number", "summary"),
    [
        (1, ["1 log line that mentions a key error", "1 pod that runs"]),
        (5, ["5 log lines that mention a key error", "5 pods that run"]),
    ],
)
def test_log_lines_are_told_in_their_number(number: int, summary: list[str]) -> None:
    logs = {"lines": {"key-not-32-bytes": number}, "pods": [{"pods": number}], "complete": True}
    lines, read = faults._lines_are_counted(NOTHING, {"validation": {"logs": logs}})
    assert lines.summary == f"the record counts {summary[0]}, and none decided"
    assert read.summary == f"the logs of all {summary[1]} were read"
