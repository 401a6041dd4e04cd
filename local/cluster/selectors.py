"""Label and field selectors: which objects a list or a watch is about.

Source: Kubernetes, "Labels and Selectors" and "Field Selectors".
"""

import re
from collections.abc import Callable, Mapping

from local.cluster.errors import bad_request
from local.cluster.resources import Json

Predicate = Callable[[Json], bool]

_COMMA = re.compile(r",(?![^()]*\))")
_IN = re.compile(r"^([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)$")
_EQUALITY = re.compile(r"^([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)$")
_PRESENCE = re.compile(r"^(!?)\s*([\w./-]+)$")
_FIELD = re.compile(r"^([\w.]+)(==|=|!=)(.*)$")

FIELDS = {
    "pods": ("metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"),
    "events": ("metadata.name", "metadata.namespace", "involvedObject.name", "reason", "type"),
    "secrets": ("metadata.name", "metadata.namespace", "type"),
}
OTHER_FIELDS = ("metadata.name", "metadata.namespace")


def label_selector(text: str) -> Predicate:
    """Whether an object's labels fit, e.g. 'app=web,tier in (a, b),!old'; '' fits everything.

    Raises `StatusError` 400 for what is no selector.
    """
    terms = [_label_term(term.strip()) for term in _COMMA.split(text) if term.strip()]
    return lambda item: all(term(item["metadata"].get("labels") or {}) for term in terms)


def _label_term(text: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _IN.match(text):
        key, operator, values = match.groups()
        wanted = {value.strip() for value in values.split(",")}
        return lambda labels: (labels.get(key) in wanted) == (operator == "in")
    if match := _EQUALITY.match(text):
        key, operator, value = match.groups()
        return lambda labels: (labels.get(key) == value) == (operator != "!=")
    if match := _PRESENCE.match(text):
        absent, key = match.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise bad_request(f'unable to parse requirement: "{text}" is not a label selector')


def field_selector(plural: str, text: str) -> Predicate:
    """Whether an object's fields fit, e.g. 'metadata.name=web,status.phase!=Running'.

    Raises `StatusError` 400 for a field that the resource does not offer.
    """
    terms = [_field_term(plural, term.strip()) for term in text.split(",") if term.strip()]
    return lambda item: all(term(item) for term in terms)


def _field_term(plural: str, text: str) -> Predicate:
    match = _FIELD.match(text)
    if not match:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    path, operator, value = match.groups()
    if path not in FIELDS.get(plural, OTHER_FIELDS):
        raise bad_request(f"field label not supported: {path}")
    return lambda item: (_field(item, path) == value) == (operator != "!=")


def _field(item: Json, path: str) -> str:
    value: object = item
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def selected_name(text: str) -> str:
    """Return the one name that a field selector asks for, '' if it does not.

    RBAC's `resourceNames` reach a list or a watch only through this.
    """
    for term in text.split(","):
        match = _FIELD.match(term.strip())
        if match and match[1] == "metadata.name" and match[2] != "!=":
            return match[3]
    return ""
