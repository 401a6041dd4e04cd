"""Environment variables: each function is given those that its code uses, and no others.

`settings.load` reads every variable of a function's settings, used or not. So what is observed here
is who reads the settings themselves: while `wiring` joins a function's parts, and afterwards in the
source of those parts that keep them.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyturn import wiring
from keyturn.settings import loading
from tests.conftest import ARN
from tests.project import FUNCTIONS, PACKAGE, ROOT, environment, parsed

# By Powertools, see test_telemetry.
READ_OTHERWISE = {"POWERTOOLS_SERVICE_NAME"}
VAULT = {
    "DELIVERY_MODE": "vault",
    "VAULT_ADDRESS": "https://vault.test:8200",
    "VAULT_PATH": "web-console",
    "VAULT_STATIC_SECRET": "web-console",
}
# Together they go through every branch of `wiring`.
VARIANTS: list[dict[str, str]] = [
    {"SLACK_WEBHOOK_SECRET": ARN},
    {"DELIVERY_MODE": "external-secrets", "EXTERNAL_SECRET": "session-key"},
    {**VAULT, "VAULT_ROLE": "keyturn"},
    {**VAULT, "VAULT_AUTHENTICATION": "approle", "VAULT_CREDENTIALS_SECRET": ARN},
    {"REDIS_AUTHENTICATION": "password", "REDIS_PASSWORD_SECRET": ARN},
    {"REDIS_AUTHENTICATION": "iam", "REDIS_USER": "keyturn", "REDIS_CACHE_NAME": "sessions"},
]


def recorded(kind: Any, read: set[str]) -> Any:
    """The same settings, which note by field what is read of them."""
    names = {field.name for field in fields(kind)}

    class Recorded(kind):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                read.add(name)
            return super().__getattribute__(name)

    return Recorded


def kept(part: object) -> list[object]:
    """The values of an object's attributes."""
    return [*getattr(part, "__dict__", {}).values()]


def parts(joined: object, seen: set[int]) -> Iterator[object]:
    """An object of the package and those that it is made of."""
    if id(joined) in seen or isinstance(joined, type):
        return
    seen.add(id(joined))
    if isinstance(joined, partial):
        for inner in (joined.func, *joined.args, *joined.keywords.values()):
            yield from parts(inner, seen)
    elif isinstance(joined, list | tuple):
        for inner in joined:
            yield from parts(inner, seen)
    elif type(joined).__module__.startswith("keyturn."):
        yield joined
        for inner in kept(joined):
            yield from parts(inner, seen)


def sources(part: object) -> Iterator[str]:
    """Where a part may read the settings that it keeps: an adapter hands them on to its like."""
    if not type(part).__module__.startswith("keyturn.adapters."):
        yield source_of_class(type(part))  # type: ignore[arg-type]  # a class is hashable
        return
    pending, seen = [Path(inspect.getfile(type(part)))], set[Path]()
    while pending:
        path = pending.pop()
        seen.add(path)
        yield source_of(path)
        pending += imported_adapters(path) - seen


@functools.cache
def source_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def imported_adapters(path: Path) -> set[Path]:
    """The modules of adapters that a file imports."""
    named = {
        PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.module
        and node.module.startswith("keyturn.adapters")
        for module in [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
    }  # fmt: skip
    return {path for path in named if path.is_file()}


@functools.cache
def source_of_class(kind: type) -> str:
    return inspect.getsource(kind)


@functools.cache
def fields_in(source: str, kind: type) -> set[str]:
    """The fields of settings that a source names, those behind a property of theirs included."""
    named = set(re.findall(r"\b_?(?:settings|delivery)\.(\w+)", source))
    for name in [*named]:
        got = inspect.getattr_static(kind, name, None)
        if isinstance(got, property) and got.fget:
            named |= set(re.findall(r"\bself\.(\w+)", inspect.getsource(got.fget)))
    return named


def used(function: str, changes: dict[str, str], patch: pytest.MonkeyPatch) -> set[str]:
    """The variables that a function uses where it is configured like this."""
    plain = environment(function)
    given = plain | {name: value for name, value in changes.items() if name in plain}
    read: set[str] = set()
    loaded: list[Any] = []

    def load(kind: Any) -> Any:
        loaded.append(loading.load(recorded(kind, read), given))
        return loaded[-1]

    patch.setattr(wiring, "load", load)
    handler = (ROOT / "functions" / f"{function}.py").read_text(encoding="utf-8")
    (factory,) = re.findall(r"\bwiring\.(\w+)\(\)", handler)
    joined = getattr(wiring, factory)()
    (own,) = loaded
    for part in parts(joined, set()):
        if any(value is own for value in kept(part)):
            for source in [*sources(part), handler]:
                read |= fields_in(source, type(own))  # type: ignore[arg-type]  # so it is
    return {name.upper() for name in read}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_given_the_variables_that_it_uses_and_no_others(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    found = set().union(*(used(function, changes, monkeypatch) for changes in VARIANTS))
    assert environment(function).keys() - READ_OTHERWISE - found == set()
