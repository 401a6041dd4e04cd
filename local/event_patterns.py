"""Event patterns of EventBridge: whether an event matches a rule.

What the rules of this project use, and no more: a pattern with anything else is refused where it is
deployed, rather than matched too much or too little. moto's `EventPattern` does not match a field
in a list of objects, which the rule on the KMS key needs, and takes 0 for false. Source:
EventBridge User Guide, "Creating Amazon EventBridge event patterns" and "Comparison operators".
"""

from collections.abc import Iterator, Mapping
from typing import Any

SCALARS = str | int | float | bool | None


def check(pattern: Any) -> None:
    """Refuse a pattern with anything that is not understood. Raises ValueError."""
    if not isinstance(pattern, Mapping) or not pattern:
        raise ValueError("an event pattern is an object with at least one field")
    for name, wanted in pattern.items():
        if name.startswith("$"):
            raise ValueError(f"{name} is not emulated in event patterns")
        if isinstance(wanted, Mapping):
            check(wanted)
        elif isinstance(wanted, list) and wanted:
            for one in wanted:
                _check_filter(name, one)
        else:
            raise ValueError(f"{name}: an event pattern holds objects and lists of alternatives")


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether every field of a pattern that was checked finds one of its alternatives."""
    for name, wanted in pattern.items():
        found = event.get(name, _ABSENT) if isinstance(event, Mapping) else _ABSENT
        if isinstance(wanted, Mapping):
            # Of a list of objects any one may match.
            if not any(matches(wanted, one) for one in _objects(found)):
                return False
        elif not any(_accepts(one, list(_values(found))) for one in wanted):
            return False
    return True


_ABSENT = object()


def _values(found: Any) -> Iterator[Any]:
    """A field's values: none where it is absent or an object, each of a list."""
    if isinstance(found, list):
        for one in found:
            yield from _values(one)
    elif found is not _ABSENT and not isinstance(found, Mapping):
        yield found


def _objects(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _check_filter(name: str, wanted: Any) -> None:
    if isinstance(wanted, SCALARS):
        return
    if not isinstance(wanted, Mapping) or len(wanted) != 1:
        raise ValueError(f"{name}: {wanted} is no filter of one operator")
    ((kind, value),) = wanted.items()
    allowed = isinstance(value, {"prefix": str, "exists": bool}.get(kind, ()))
    if not allowed:
        raise ValueError(f"{name}: the filter {wanted} is not emulated in event patterns")


def _accepts(wanted: Any, values: list[Any]) -> bool:
    if not isinstance(wanted, Mapping):
        return any(_is_same(wanted, value) for value in values)
    ((kind, value),) = wanted.items()
    if kind == "exists":
        return bool(values) is value
    return any(isinstance(one, str) and one.startswith(value) for one in values)


def _is_same(wanted: Any, value: Any) -> bool:
    """Equal as JSON: true is not 1, and "1" is not 1."""
    return isinstance(wanted, bool) is isinstance(value, bool) and bool(wanted == value)
