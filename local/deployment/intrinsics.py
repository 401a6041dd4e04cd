"""CloudFormation's intrinsic functions, as pure functions of a template and what is known of it.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
`Scope` holds what is known. `conditions` comes first, for it needs parameters alone; `references`
then tells on which resources a value depends, and `resolve` replaces every function by its value
once those exist.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.deployment.errors import DeploymentError
from local.deployment.parameters import ParameterValue, text

_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")
_NO_VALUE = object()


@dataclass(frozen=True)
class Scope:
    """What intrinsic functions can refer to.

    `parameters` include the pseudo parameters (`AWS::Region` and so on); `physical_ids` and
    `attributes` are by logical id and grow as resources are created.
    """

    parameters: Mapping[str, ParameterValue]
    conditions: Mapping[str, bool] = field(default_factory=dict)
    physical_ids: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def conditions(declared: Mapping[str, Any], scope: Scope) -> dict[str, bool]:
    """Decide every condition of the template."""
    return {name: _decide({"Condition": name}, declared, scope, ()) for name in declared}


def references(value: Any, decided: Mapping[str, bool]) -> set[str]:
    """Return the names a value refers to, parameters included, in the branches that apply."""
    if not isinstance(value, dict):
        items = value if isinstance(value, list) else []
        return set().union(*(references(item, decided) for item in items))
    name, argument = _function(value)
    if name == "Ref":
        return {argument}
    if name == "Fn::GetAtt":
        return {_attribute(argument)[0]}
    if name == "Fn::If":
        return references(_branch(argument, decided), decided)
    if name == "Fn::Sub":
        template, own = _substitution(argument)
        names = {each[2].split(".")[0] for each in _VARIABLE.finditer(template) if not each[1]}
        return (names - own.keys()) | references(list(own.values()), decided)
    return references(list(value.values()), decided)


def resolve(value: Any, scope: Scope) -> Any:
    """Replace every intrinsic function within a value; raises DeploymentError where it cannot."""
    resolved = _resolve(value, scope)
    return None if resolved is _NO_VALUE else resolved


def _resolve(value: Any, scope: Scope) -> Any:
    if isinstance(value, list):
        items = (_resolve(item, scope) for item in value)
        return [item for item in items if item is not _NO_VALUE]
    if isinstance(value, str) and "{{resolve:" in value:
        raise DeploymentError("dynamic references ({{resolve:...}}) are not resolved locally")
    if not isinstance(value, dict):
        return value
    name, argument = _function(value)
    if name:
        if name not in _FUNCTIONS:
            raise DeploymentError(f"{name} is not resolved locally")
        return _FUNCTIONS[name](argument, scope)
    pairs = ((key, _resolve(item, scope)) for key, item in value.items())
    return {key: item for key, item in pairs if item is not _NO_VALUE}


def _function(value: Mapping[str, Any]) -> tuple[str | None, Any]:
    if len(value) == 1:
        ((name, argument),) = value.items()
        if name == "Ref" or name.startswith("Fn::"):
            return name, argument
    return None, None


def _ref(name: str, scope: Scope) -> Any:
    if name == "AWS::NoValue":
        return _NO_VALUE
    if name in scope.parameters:
        return scope.parameters[name]
    if name in scope.physical_ids:
        return scope.physical_ids[name]
    raise DeploymentError(f"{name} is neither a parameter nor a resource that is deployed")


def _get_att(argument: str | list[str], scope: Scope) -> Any:
    name, attribute = _attribute(argument)
    if name not in scope.attributes:
        raise DeploymentError(f"{name} is not a resource that is deployed")
    known = scope.attributes[name]
    if attribute not in known:
        raise DeploymentError(f"{name}.{attribute} is not known locally, only {sorted(known)}")
    return known[attribute]


def _attribute(argument: str | list[str]) -> tuple[str, str]:
    if isinstance(argument, str):
        name, _, attribute = argument.partition(".")
        return name, attribute
    return argument[0], argument[1]


def _sub(argument: str | list[Any], scope: Scope) -> str:
    template, own = _substitution(argument)

    def replace(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal:
            return f"${{{name}}}"
        if name in own:
            return text(_resolve(own[name], scope))
        return text(_get_att(name, scope) if "." in name else _ref(name, scope))

    return _VARIABLE.sub(replace, template)


def _substitution(argument: str | list[Any]) -> tuple[str, dict[str, Any]]:
    return (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])


def _join(argument: list[Any], scope: Scope) -> str:
    return str(argument[0]).join(text(item) for item in _resolve(argument[1], scope))


def _split(argument: list[Any], scope: Scope) -> list[str]:
    return text(_resolve(argument[1], scope)).split(argument[0])


def _select(argument: list[Any], scope: Scope) -> Any:
    index, items = int(_resolve(argument[0], scope)), _resolve(argument[1], scope)
    if not 0 <= index < len(items):
        raise DeploymentError(f"Fn::Select: there is no item {index} in a list of {len(items)}")
    return items[index]


def _if(argument: list[Any], scope: Scope) -> Any:
    return _resolve(_branch(argument, scope.conditions), scope)


def _branch(argument: list[Any], decided: Mapping[str, bool]) -> Any:
    name, when_true, when_false = argument
    if name not in decided:
        raise DeploymentError(f"Fn::If: there is no condition {name}")
    return when_true if decided[name] else when_false


def _decide(
    expression: Mapping[str, Any], declared: Mapping[str, Any], scope: Scope, path: tuple[str, ...]
) -> bool:
    ((name, argument),) = expression.items()
    if name == "Condition":
        if argument not in declared or argument in path:
            raise DeploymentError(f"condition {argument} is missing or refers to itself")
        return _decide(declared[argument], declared, scope, (*path, argument))
    if name == "Fn::Equals":
        left, right = (_resolve(side, scope) for side in argument)
        return text(left) == text(right)
    if name not in {"Fn::And", "Fn::Or", "Fn::Not"}:
        raise DeploymentError(f"a condition cannot be made of {name}")
    parts = [_decide(each, declared, scope, path) for each in argument]
    return {"Fn::And": all(parts), "Fn::Or": any(parts), "Fn::Not": not parts[0]}[name]


_FUNCTIONS: Mapping[str, Callable[[Any, Scope], Any]] = {
    "Ref": _ref,
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::If": _if,
}
