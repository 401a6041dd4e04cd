"""The vocabulary of errors: every word is explained, and the same everywhere."""

import ast
import builtins
import re

import pytest

from keyturn import errors
from tests.project import FUNCTION_FILES, PACKAGE, ROOT
from tests.vocabulary import retry_me, stop

CONCRETE = [*retry_me(), *stop()]
OPERATIONS = ROOT / "docs" / "operations.md"


def defined() -> set[str]:
    """Every class of the module, the families included."""
    return {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.KeyturnError)
    }


def used() -> set[str]:
    """Every error that the package or a function names as `errors.X`."""
    return {
        node.attr
        for path in [*PACKAGE.rglob("*.py"), *FUNCTION_FILES]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "errors"
    }


@pytest.mark.parametrize("error", CONCRETE, ids=lambda error: error.__name__)
def test_an_error_says_what_it_means(error: type[errors.KeyturnError]) -> None:
    own = error.__doc__ or ""
    assert own.endswith(".")
    assert own not in {parent.__doc__ for parent in error.__mro__[1:]}


@pytest.mark.parametrize("error", CONCRETE, ids=lambda error: error.__name__)
def test_an_error_has_no_ancestor_of_a_vendor(error: type[errors.KeyturnError]) -> None:
    """And none such as TimeoutError or OSError, which an `except` elsewhere might catch."""
    ancestors = [parent for parent in error.__mro__ if parent.__module__ != errors.__name__]
    assert ancestors == [Exception, BaseException, object]


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
    assert {error.__name__ for error in CONCRETE} <= used()
    assert used() <= defined()


def test_every_error_is_explained_to_operators_and_no_other_is() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    headings = re.findall(r"^### (\S+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == {error.__name__ for error in CONCRETE}
