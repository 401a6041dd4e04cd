"""Policies judged as AWS does: whether a statement speaks of a call, and what follows.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
Only what the template uses is known. Anything else is an error, so no condition is passed over.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]
Found = str | tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """An API call in IAM's words; `context` holds the condition keys that come with it.

    A key of several values, such as `aws:TagKeys`, has a tuple of them.
    """

    action: str
    resource: str
    context: Mapping[str, Found] = field(default_factory=dict, hash=False)


def statements(policy: Mapping[str, Any]) -> list[Statement]:
    """The statements of a policy document."""
    found: list[Statement] = policy["Statement"]
    return found


def listed(value: Any) -> list[Any]:
    """One or several, as a list."""
    return list(value) if isinstance(value, list) else [value]


def rights(statement: Statement) -> Iterator[tuple[str, str]]:
    """Each action of a statement with each of its resources."""
    for action in listed(statement["Action"]):
        for resource in listed(statement["Resource"]):
            yield action, resource


def covers(right: tuple[str, str], statement: Statement, call: Call) -> bool:
    """Whether one right of a statement is about a call, its conditions included."""
    action, resource = right
    return (
        like(action, call.action)
        and like(resource, call.resource)
        and _holds(statement.get("Condition", {}), call.context)
    )


def speaks_of(statement: Statement, call: Call) -> bool:
    """Whether a statement is about a call."""
    return any(covers(right, statement, call) for right in rights(statement))


def allows(given: Iterable[Statement], call: Call) -> bool:
    """Whether the statements allow a call, and none of them denies it."""
    speaking = [statement for statement in given if speaks_of(statement, call)]
    return {one["Effect"] for one in speaking} == {"Allow"}


def denies(given: Iterable[Statement], call: Call) -> bool:
    """Whether a statement denies a call."""
    return any(one["Effect"] == "Deny" and speaks_of(one, call) for one in given)


def like(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern of * and ?, as StringLike and ArnLike compare."""
    parts = re.split(r"([*?])", pattern)
    wild = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), text))


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, Found]) -> bool:
    return all(
        _compare(operator, [str(value) for value in listed(values)], context.get(name))
        for operator, compared in condition.items()
        for name, values in compared.items()
    )


def _compare(operator: str, values: list[str], found: Found | None) -> bool:
    """Compare by an operator; of a key of several values, each with the operator that is named.

    Without a value ForAllValues is met and ForAnyValue is not; IAM User Guide, "Set operators for
    multivalued context keys".
    """
    of_set, _, plain = operator.rpartition(":")
    if plain == "Null":
        return (found is None) is (values == ["true"])
    if of_set:
        each = [_compare(plain, values, one) for one in _several(found)]
        return {"ForAllValues": all, "ForAnyValue": any}[of_set](each)
    assert not isinstance(found, tuple), f"{operator} compares a single value"
    if operator == "ArnNotLike":
        return found is None or not any(like(value, found) for value in values)
    if operator in {"StringEquals", "Bool"}:
        return found in values
    if operator in {"StringLike", "ArnLike", "ArnEquals"}:
        return found is not None and any(like(value, found) for value in values)
    raise AssertionError(f"the condition operator {operator} is not judged")


def _several(found: Found | None) -> tuple[str, ...]:
    """The values of a key that may have several."""
    if found is None:
        return ()
    return found if isinstance(found, tuple) else (found,)
