"""The vocabulary of errors: every word is explained, and the same everywhere."""

import ast
import builtins
import re
from collections.abc import Callable

import pytest

from keyturn import errors
from tests.project import FUNCTION_FILES, PACKAGE, ROOT, parsed
from tests.vocabulary import retry_me, stop

CONCRETE = [*retry_me(), *stop()]
SOURCES = [*PACKAGE.rglob("*.py"), *FUNCTION_FILES]
ASK_FOR_A_CLASS = {"isinstance", "issubclass", "contextlib.suppress"}
OPERATIONS = ROOT / "docs" / "operations.md"


def defined() -> set[str]:
    """Every class of the module, the families included."""
    return {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.KeyturnError)
    }


def raised(tree: ast.AST) -> list[str]:
    """The errors that a piece of code raises, constructs, returns or hands to a function.

    One that it only catches, compares or puts into a list to be caught is not among them.
    """
    given: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc:
            given.append(node.exc)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Attribute):
            given.append(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) not in ASK_FOR_A_CLASS:
            given += [one for one in (node.func, *node.args) if isinstance(one, ast.Attribute)]
    return [name for one in given for name in named(one)]


def named(tree: ast.AST) -> list[str]:
    """The errors of a piece of code."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "errors"
    ]


def of_the_sources(find: Callable[[ast.AST], list[str]]) -> set[str]:
    return {name for path in SOURCES for name in find(parsed(path))}


def test_an_error_says_what_it_means() -> None:
    for error in CONCRETE:
        own = error.__doc__ or ""
        assert own.endswith("."), error
        assert own not in {parent.__doc__ for parent in error.__mro__[1:]}, error


def test_an_error_has_no_ancestor_of_a_vendor() -> None:
    """And none such as TimeoutError or OSError, which an `except` elsewhere might catch."""
    for error in CONCRETE:
        ancestors = [parent for parent in error.__mro__ if parent.__module__ != errors.__name__]
        assert ancestors == [Exception, BaseException, object], error


def test_an_error_is_either_retried_or_ends_the_run() -> None:
    retried, stopped = set(retry_me()), set(stop())
    assert not retried & stopped
    families = {"KeyturnError", "RetryMe", "Stop", "KeyInvalid"}
    assert {error.__name__ for error in retried | stopped} == defined() - families


def test_no_error_has_the_name_of_a_builtin_or_of_the_platforms() -> None:
    for error in CONCRETE:
        assert not hasattr(builtins, error.__name__)
        assert "." not in error.__name__


def test_every_error_is_raised_somewhere_and_no_other_is() -> None:
    assert {error.__name__ for error in CONCRETE} - of_the_sources(raised) == set()
    assert of_the_sources(named) - defined() == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise errors.LoginBroken('x') from error", ["LoginBroken"]),
        ("fail(errors.LoginBroken)", ["LoginBroken"]),
        ("return errors.LoginBroken", ["LoginBroken"]),
        ("try: pass\nexcept (errors.LoginBroken, OSError): raise", []),
        ("isinstance(error, errors.LoginBroken)", []),
        ("with contextlib.suppress(errors.LoginBroken): pass", []),
        ("kind is errors.LoginBroken", []),
        ("CAUGHT = (errors.LoginBroken, errors.RolloutFailed)", []),
    ],
)
def test_an_error_that_is_only_caught_is_not_raised(code: str, found: list[str]) -> None:
    assert [*dict.fromkeys(raised(ast.parse(code)))] == found


def test_every_error_is_explained_to_operators_and_no_other_is() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    headings = re.findall(r"^### (\S+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == {error.__name__ for error in CONCRETE}
