"""Parameters and intrinsic functions come to what CloudFormation documents."""

from typing import Any

import pytest

from local.deployment.errors import DeploymentError
from local.deployment.intrinsics import Scope, conditions, references, resolve
from local.deployment.parameters import parameter_values
from tests.every_case import every_case

SCOPE = Scope(
    parameters={
        "Mode": "scheduled",
        "Services": ["web-console", "auth-service"],
        "AWS::Region": "eu-west-1",
    },
    conditions={"Emergency": False, "Planned": True},
    physical_ids={"Topic": "arn:topic"},
    attributes={"Topic": {"TopicName": "told"}},
)


@every_case(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ({"Ref": "Mode"}, "scheduled"),
        ({"Ref": "Services"}, ["web-console", "auth-service"]),
        ({"Ref": "Topic"}, "arn:topic"),
        ({"Fn::GetAtt": ["Topic", "TopicName"]}, "told"),
        ({"Fn::GetAtt": "Topic.TopicName"}, "told"),
        ({"Fn::Sub": "${Mode}-${Topic.TopicName}-${AWS::Region}"}, "scheduled-told-eu-west-1"),
        ({"Fn::Sub": ["${a}/${Mode}", {"a": {"Ref": "Topic"}}]}, "arn:topic/scheduled"),
        ({"Fn::Sub": "${!Literal} and ${Mode}"}, "${Literal} and scheduled"),
        ({"Fn::Join": [",", {"Ref": "Services"}]}, "web-console,auth-service"),
        ({"Fn::Join": ["-", ["a", 1, True, {"Ref": "Mode"}]]}, "a-1-true-scheduled"),
        ({"Fn::Split": ["-", "a-b"]}, ["a", "b"]),
        ({"Fn::Select": ["1", {"Ref": "Services"}]}, "auth-service"),
        ({"Fn::Select": [0, {"Fn::Split": [":", {"Ref": "Topic"}]}]}, "arn"),
        ({"Fn::If": ["Emergency", "now", {"Ref": "Mode"}]}, "scheduled"),
        ({"a": {"Fn::If": ["Emergency", 1, {"Ref": "AWS::NoValue"}]}, "b": 2}, {"b": 2}),
        ([1, {"Fn::If": ["Planned", {"Ref": "AWS::NoValue"}, 2]}, 3], [1, 3]),
        ({"Condition": {"StringEquals": {"a": {"Ref": "Mode"}}}},
         {"Condition": {"StringEquals": {"a": "scheduled"}}}),
    ],
)  # fmt: skip
def test_a_function_is_replaced_by_its_value(value: Any, expected: Any) -> None:
    assert resolve(value, SCOPE) == expected


@every_case(
    ("value", "message"),
    [
        ({"Ref": "Absent"}, "Absent is neither a parameter nor a resource"),
        ({"Fn::GetAtt": ["Absent", "Arn"]}, "Absent is not a resource"),
        ({"Fn::GetAtt": ["Topic", "Colour"]}, r"Topic.Colour is not known locally"),
        ({"Fn::Sub": "${Absent}"}, "Absent is neither"),
        ({"Fn::If": ["Absent", 1, 2]}, "no condition Absent"),
        ({"Fn::Select": [2, {"Ref": "Services"}]}, "no item 2 in a list of 2"),
        ({"Fn::FindInMap": ["Window", "eu-west-1", "days"]}, "Fn::FindInMap is not resolved"),
        ({"Fn::ImportValue": "x"}, "Fn::ImportValue is not resolved locally"),
        ("{{resolve:secretsmanager:x}}", "dynamic references"),
    ],
)
def test_what_cannot_be_resolved_is_named(value: Any, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        resolve(value, SCOPE)


def test_references_are_those_of_the_branches_that_apply() -> None:
    value = {
        "a": [{"Ref": "A"}, {"Fn::GetAtt": ["B", "Arn"]}, {"Fn::GetAtt": "C.Arn"}],
        "b": {"Fn::If": ["Emergency", {"Ref": "NotTaken"}, {"Ref": "D"}]},
        "c": {"Fn::Sub": ["${E} ${F.Arn} ${own} ${!no}", {"own": {"Ref": "G"}}]},
        "d": {"Fn::Join": [",", [{"Ref": "H"}]]},
    }
    assert references(value, SCOPE.conditions) == set("ABCDEFGH")


def test_conditions_combine_and_refer_to_each_other() -> None:
    declared = {
        "Planned": {"Fn::Equals": [{"Ref": "Mode"}, "scheduled"]},
        "Emergency": {"Fn::Not": [{"Condition": "Planned"}]},
        "Both": {"Fn::And": [{"Condition": "Planned"}, {"Condition": "Emergency"}]},
        "Either": {"Fn::Or": [{"Condition": "Planned"}, {"Condition": "Emergency"}]},
        "Same": {"Condition": "Either"},
        "NumbersAreText": {"Fn::Equals": [30, "30"]},
    }
    assert conditions(declared, SCOPE) == {
        "Planned": True,
        "Emergency": False,
        "Both": False,
        "Either": True,
        "Same": True,
        "NumbersAreText": True,
    }


@pytest.mark.parametrize(
    "declared",
    [
        {"A": {"Condition": "B"}},
        {"A": {"Condition": "B"}, "B": {"Condition": "A"}},
        {"A": {"Fn::Sub": "true"}},
    ],
)
def test_a_condition_that_cannot_be_decided_is_refused(declared: Any) -> None:
    with pytest.raises(DeploymentError, match="condition"):
        conditions(declared, SCOPE)


def test_an_override_wins_over_the_default_and_lists_are_split() -> None:
    declared: dict[str, Any] = {
        "Days": {"Type": "Number", "Default": 30, "MinValue": 1, "MaxValue": 1000},
        "Services": {"Type": "CommaDelimitedList", "Default": "web-console, auth-service"},
        "Dry": {"Type": "String", "Default": False, "AllowedValues": [True, False]},
    }
    assert parameter_values(declared, {"Days": "90"}) == {
        "Days": "90",
        "Services": ["web-console", "auth-service"],
        "Dry": "false",
    }


@every_case(
    ("declaration", "value", "message"),
    [
        ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", "must be one of a, b, not 'c'"),
        ({"Type": "String", "AllowedPattern": "[a-z]+"}, "A", r"must match \[a-z\]\+"),
        ({"Type": "String", "AllowedPattern": "a", "ConstraintDescription": "must be a letter"},
         "A", "must be a letter"),
        ({"Type": "String", "MinLength": 2}, "a", "wrong length"),
        ({"Type": "Number"}, "many", "must be a number"),
        ({"Type": "Number", "MinValue": 1, "MaxValue": 9}, "10", "between 1 and 9"),
        ({"Type": "List<Number>"}, "1,x", "must be a number"),
        ({"Type": "AWS::SSM::Parameter::Value<String>"}, "x", "cannot be looked up locally"),
    ],
)  # fmt: skip
def test_a_value_against_the_rules_is_refused(
    declaration: dict[str, Any], value: str, message: str
) -> None:
    with pytest.raises(DeploymentError, match=message):
        parameter_values({"P": declaration}, {"P": value})


def test_all_problems_with_parameters_are_named_at_once_and_no_secret_is_shown() -> None:
    declared: dict[str, Any] = {
        "Needed": {"Type": "String"},
        "Hidden": {"Type": "String", "NoEcho": True, "AllowedPattern": "x"},
    }
    with pytest.raises(DeploymentError) as refused:
        parameter_values(declared, {"Unknown": "1", "Hidden": "do-not-show"})
    message = str(refused.value)
    assert "there is no parameter Unknown" in message
    assert "Needed needs a value" in message
    assert "Hidden must match x" in message
    assert "do-not-show" not in message
