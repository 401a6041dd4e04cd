"""The rules of a template, evaluated as CloudFormation does."""

from typing import Any

import pytest

from local.deployment import DeploymentError, rules
from local.deployment.parameters import ParameterValue
from tests.every_case import every_case

VALUES: dict[str, ParameterValue] = {
    "Mode": "vault",
    "Empty": "",
    "Roles": ["a", "b"],
    "NoRoles": [""],
}


def equals(name: str, value: str) -> dict[str, Any]:
    return {"Fn::Equals": [{"Ref": name}, value]}


@every_case(
    ("assertion", "holds"),
    [
        (equals("Mode", "vault"), True),
        (equals("Mode", "none"), False),
        ({"Fn::Not": [equals("Empty", "")]}, False),
        ({"Fn::And": [equals("Mode", "vault"), equals("Empty", "")]}, True),
        ({"Fn::And": [equals("Mode", "vault"), equals("Empty", "x")]}, False),
        ({"Fn::Or": [equals("Mode", "none"), equals("Empty", "")]}, True),
        ({"Fn::Or": [equals("Mode", "none"), equals("Empty", "x")]}, False),
        ({"Fn::EachMemberEquals": [{"Ref": "NoRoles"}, ""]}, True),
        ({"Fn::EachMemberEquals": [{"Ref": "Roles"}, "a"]}, False),
    ],
)
def test_an_assertion_holds_or_is_told_by_its_description(
    assertion: dict[str, Any], *, holds: bool
) -> None:
    declared = {"R": {"Assertions": [{"Assert": assertion, "AssertDescription": "Not so."}]}}
    if holds:
        rules.check(declared, VALUES)
        return
    with pytest.raises(DeploymentError, match=r"^rules: Not so\.$"):
        rules.check(declared, VALUES)


def test_a_rule_speaks_only_where_its_condition_holds() -> None:
    broken = {"Assert": equals("Empty", "x"), "AssertDescription": "Not so."}
    rules.check({"R": {"RuleCondition": equals("Mode", "none"), "Assertions": [broken]}}, VALUES)
    with pytest.raises(DeploymentError, match="Not so"):
        rules.check(
            {"R": {"RuleCondition": equals("Mode", "vault"), "Assertions": [broken]}}, VALUES
        )


def test_all_that_does_not_hold_is_told_at_once() -> None:
    told = ["First.", "Second."]
    declared = {
        text: {"Assertions": [{"Assert": equals("Empty", "x"), "AssertDescription": text}]}
        for text in told
    }
    with pytest.raises(DeploymentError, match=r"First\. Second\."):
        rules.check(declared, VALUES)


@pytest.mark.parametrize(
    "assertion",
    [
        {"Fn::If": ["A", 1, 2]},
        {"Fn::Contains": [["vault"], {"Ref": "Mode"}]},
        {"Fn::Equals": [{"Ref": "AResource"}, "x"]},
        {"Fn::Equals": [{"Fn::GetAtt": ["A", "Arn"]}, "x"]},
    ],
    ids=str,
)
def test_what_a_rule_cannot_know_is_an_error(assertion: dict[str, Any]) -> None:
    with pytest.raises(DeploymentError, match=r"rule"):
        rules.check({"R": {"Assertions": [{"Assert": assertion}]}}, VALUES)
