"""Who imports what; the layers themselves are contracts of import-linter in pyproject.toml."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.project import FUNCTION_FILES, PACKAGE, ROOT

MODULES = sorted(PACKAGE.rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports, at its top or inside a function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def named(path: Path) -> str:
    return path.relative_to(PACKAGE.parents[2]).as_posix()


def contract(name: str) -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = (
        one for one in tomllib.loads(text)["tool"]["importlinter"]["contracts"] if one["id"] == name
    )
    return dict(found)


def test_every_package_but_adapters_is_kept_from_vendors() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("_", "py.typed"))}
    kept = {module.removeprefix("keyturn.") for module in contract("vendors")["source_modules"]}
    assert kept == parts - {"adapters", "telemetry", "wiring"}
    assert contract("floors")["exhaustive"], "import-linter refuses a package without a floor"


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=named)
def test_a_function_imports_the_package_and_the_standard_library_alone(path: Path) -> None:
    roots = {module.split(".")[0] for module in imported(path)}
    assert roots <= {"functools", "json", "time", "typing", "keyturn"}
    assert "keyturn.adapters" not in set(imported(path))


@pytest.mark.parametrize("path", [*MODULES, *FUNCTION_FILES], ids=named)
def test_the_environment_is_read_by_settings_alone(path: Path) -> None:
    reads = {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
    }
    assert reads == ({"environ"} if path == PACKAGE / "settings" / "loading.py" else set())
    assert path == PACKAGE / "settings" / "loading.py" or "os" not in set(imported(path))


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=named)
def test_a_function_does_not_know_the_local_stack_or_the_tests(path: Path) -> None:
    assert not {"local", "tests"} & {module.split(".")[0] for module in imported(path)}


def test_adapters_are_imported_where_they_are_wired_and_by_each_other_alone() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if any(module.startswith("keyturn.adapters") for module in imported(path))
    }
    assert users == {"adapters", "wiring.py"}
