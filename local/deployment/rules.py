"""The rules of a template: combinations of parameters that are refused before anything is made.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
A rule knows parameters alone, and functions of its own beside those of conditions.
"""

from collections.abc import Mapping
from typing import Any

from local.deployment.errors import DeploymentError
from local.deployment.parameters import ParameterValue, text

Values = Mapping[str, ParameterValue]


def check(declared: Mapping[str, Any], values: Values) -> None:
    """Raise DeploymentError with the descriptions of all assertions that do not hold."""
    broken = [
        assertion.get("AssertDescription", f"rule {name} does not hold")
        for name, rule in declared.items()
        if "RuleCondition" not in rule or _holds(rule["RuleCondition"], values)
        for assertion in rule["Assertions"]
        if not _holds(assertion["Assert"], values)
    ]
    if broken:
        raise DeploymentError("rules: " + " ".join(broken))


def _holds(expression: Mapping[str, Any], values: Values) -> bool:
    ((name, argument),) = expression.items()
    if name in {"Fn::And", "Fn::Or", "Fn::Not"}:
        parts = [_holds(part, values) for part in argument]
        return {"Fn::And": all(parts), "Fn::Or": any(parts), "Fn::Not": not parts[0]}[name]
    if name == "Fn::Equals":
        left, right = (_value(side, values) for side in argument)
        return left == right
    if name == "Fn::EachMemberEquals":
        members, wanted = (_value(side, values) for side in argument)
        return all(member == wanted for member in members)
    raise DeploymentError(f"{name} cannot be used in a rule locally")


def _value(side: Any, values: Values) -> ParameterValue:
    if isinstance(side, Mapping):
        ((name, argument),) = side.items()
        if name != "Ref" or argument not in values:
            raise DeploymentError(f"a rule knows parameters alone, not {name} {argument}")
        return values[argument]
    return [text(item) for item in side] if isinstance(side, list) else text(side)
