"""The values of a template's parameters: overrides over defaults, checked against their rules.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
"""

import re
from collections.abc import Mapping
from typing import Any

from local.deployment.errors import DeploymentError

Declaration = Mapping[str, Any]
ParameterValue = str | list[str]


def parameter_values(
    declared: Mapping[str, Declaration], overrides: Mapping[str, str]
) -> dict[str, ParameterValue]:
    """Return each parameter's value: text, or a list of texts for a list type.

    Raises DeploymentError for an unknown override, a missing value or a value against the rules;
    all such problems are named at once, and no value of a `NoEcho` parameter.
    """
    unknown = sorted(overrides.keys() - declared.keys())
    problems = [f"there is no parameter {name}" for name in unknown]
    values: dict[str, ParameterValue] = {}
    for name, declaration in declared.items():
        if name not in overrides and "Default" not in declaration:
            problems.append(f"{name} needs a value: it has no default")
            continue
        value = overrides.get(name, text(declaration.get("Default")))
        is_list = _is_list(declaration["Type"])
        items = [item.strip() for item in value.split(",")] if is_list else [value]
        values[name] = items if is_list else value
        problems += (
            f"{name} {problem}" for item in items if (problem := _problem(declaration, item))
        )
    if problems:
        raise DeploymentError("parameters: " + "; ".join(problems))
    return values


def text(value: object) -> str:
    """Write a YAML scalar as CloudFormation does, which knows texts only."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_list(kind: str) -> bool:
    if kind.startswith("AWS::SSM::"):
        raise DeploymentError(f"parameters of type {kind} cannot be looked up locally")
    return kind == "CommaDelimitedList" or kind.startswith("List<")


def _problem(declaration: Declaration, value: str) -> str | None:
    shown = "its value" if declaration.get("NoEcho") else repr(value)
    if "AllowedValues" in declaration:
        allowed = [text(each) for each in declaration["AllowedValues"]]
        if value not in allowed:
            return f"must be one of {', '.join(allowed)}, not {shown}"
    pattern = declaration.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        hint = declaration.get("ConstraintDescription") or f"must match {pattern}"
        return f"{hint}, which {shown} does not"
    if not declaration.get("MinLength", 0) <= len(value) <= declaration.get("MaxLength", 4096):
        return f"has the wrong length: {shown}"
    if declaration["Type"] in {"Number", "List<Number>"}:
        return _number_problem(declaration, value)
    return None


def _number_problem(declaration: Declaration, value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return f"must be a number, not {value!r}"
    low, high = declaration.get("MinValue"), declaration.get("MaxValue")
    if (low is not None and number < low) or (high is not None and number > high):
        return f"must be between {low} and {high}, not {value}"
    return None
