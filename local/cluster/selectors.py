"""Label selectors: which objects a list is about. Field selectors are not served.

Source: Kubernetes, "Labels and Selectors".
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
