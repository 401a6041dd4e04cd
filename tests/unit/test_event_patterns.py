"""The event patterns of the local EventBridge: matched as EventBridge does, or refused."""

from typing import Any

import pytest

from local import event_patterns
from local.deployment.intrinsics import Scope, resolve
from tests.every_case import every_case
from tests.project import event, resources

EVENT = {
    "source": "aws.guardduty",
    "resources": ["a", "b"],
    "detail": {
        "severity": 5.5,
        "archived": False,
        "count": 1,
        "type": "Recon:EC2/Portscan",
        "keys": [{"ARN": "a", "type": "key"}, {"ARN": "b"}],
        "none": [],
    },
}


@every_case(
    ("pattern", "expected"),
    [
        ({"source": ["aws.guardduty"]}, True),
        ({"source": ["aws.ec2", "aws.guardduty"]}, True),
        ({"source": ["aws"]}, False),
        ({"source": ["aws.guardduty"], "detail": {"count": [2]}}, False),
        ({"resources": ["b"]}, True),
        ({"resources": ["c"]}, False),
        ({"detail": {"archived": [False]}}, True),
        ({"detail": {"archived": [0]}}, False),
        ({"detail": {"count": [True]}}, False),
        ({"detail": {"count": ["1"]}}, False),
        ({"detail": {"type": [{"prefix": "Recon:"}]}}, True),
        ({"detail": {"type": [{"prefix": "recon:"}]}}, False),
        ({"detail": {"count": [{"prefix": "1"}]}}, False),
        ({"detail": {"type": [{"exists": True}]}}, True),
        ({"detail": {"gone": [{"exists": False}]}}, True),
        ({"detail": {"gone": [{"exists": True}]}}, False),
        ({"detail": {"gone": {"deeper": ["x"]}}}, False),
        ({"detail": {"type": {"deeper": ["x"]}}}, False),
        ({"detail": ["x"]}, False),
        ({"detail": {"keys": {"ARN": ["b"]}}}, True),
        ({"detail": {"keys": {"ARN": ["c"]}}}, False),
        ({"detail": {"none": {"ARN": ["a"]}}}, False),
        ({"detail": {"keys": {"ARN": ["a"], "type": ["key"]}}}, True),
        ({"detail": {"keys": {"ARN": ["b"], "type": ["key"]}}}, False),
    ],
)
def test_a_pattern_matches_what_it_says(pattern: dict[str, Any], expected: bool) -> None:
    event_patterns.check(pattern)
    assert event_patterns.matches(pattern, EVENT) is expected


@every_case(
    "pattern",
    [
        {},
        [],
        {"source": "aws.guardduty"},
        {"source": []},
        {"detail": {}},
        {"$or": [{"source": ["a"]}]},
        {"source": [["a"]]},
        {"source": [{}]},
        {"source": [{"suffix": "y"}]},
        {"source": [{"prefix": "a", "exists": True}]},
        {"source": [{"prefix": {"equals-ignore-case": "a"}}]},
        {"source": [{"exists": "true"}]},
        {"source": [{"anything-but": "a"}]},
        {"source": [{"numeric": [">", 1]}]},
        {"source": [{"prefix": 1}]},
    ],
)
def test_a_pattern_that_is_not_understood_is_refused(pattern: Any) -> None:
    with pytest.raises(ValueError, match=r"event pattern|no filter"):
        event_patterns.check(pattern)


def test_the_rule_of_the_template_takes_our_findings_and_no_archived_or_others() -> None:
    pattern = resources("AWS::Events::Rule")["GuardDutyRule"]["EventPattern"]
    pattern = resolve(pattern, Scope({"AWS::AccountId": "123456789012"}))
    event_patterns.check(pattern)
    finding = event("respond_to_finding")
    assert event_patterns.matches(pattern, finding)
    assert event_patterns.matches(pattern, {**finding, "account": "210987654321"})
    for change in (
        {"accountId": "210987654321"},
        {"service": {**finding["detail"]["service"], "archived": True}},
        {"type": "Discovery:S3/AnomalousBehavior"},
    ):
        assert not event_patterns.matches(
            pattern, {**finding, "detail": finding["detail"] | change}
        )
