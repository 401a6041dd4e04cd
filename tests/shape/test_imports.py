"""Who imports what; the layers themselves are contracts of import-linter in pyproject.toml."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.every_case import every_case
from tests.project import FUNCTION_FILES, PACKAGE, ROOT, parsed

MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = ROOT / "tests"
IMPORT_OF_A_TEST = re.compile(r"(?m)^\s*(?:from|import) tests\b.*\btest_\w+")


def imported(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports, at its top or inside a function."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


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


def test_a_function_imports_the_package_and_the_standard_library_alone() -> None:
    for path in FUNCTION_FILES:
        modules = set(imported(path))
        roots = {module.split(".")[0] for module in modules}
        assert roots <= {"functools", "json", "time", "typing", "keyturn"}, path
        assert "keyturn.adapters" not in modules, path


def test_the_environment_is_read_by_settings_alone() -> None:
    readers = {
        path
        for path in [*MODULES, *FUNCTION_FILES]
        if "os" in set(imported(path))
        or any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
            for node in ast.walk(parsed(path))
        )
    }
    assert readers == {PACKAGE / "settings" / "loading.py"}


def test_adapters_are_imported_where_they_are_wired_and_by_each_other_alone() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if any(module.startswith("keyturn.adapters") for module in imported(path))
    }
    assert users == {"adapters", "wiring.py"}


def test_no_test_module_is_imported() -> None:
    """Read as text: to parse all tests takes seconds."""
    modules = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    assert any("from tests.project import" in text for text in modules.values())
    importers = {path.name for path, text in modules.items() if IMPORT_OF_A_TEST.search(text)}
    assert importers == set()


@every_case(
    "line",
    [
        "from tests.unit.run.test_run import LEDGER",
        "    from tests.shape import test_names",
        "import tests.shape.test_names as names",
    ],
)
def test_an_import_of_a_test_module_is_recognised(line: str) -> None:
    assert IMPORT_OF_A_TEST.search(f"import re\n{line}\n")
    assert not IMPORT_OF_A_TEST.search(line.replace("test_", ""))
