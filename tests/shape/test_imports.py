"""Who imports what; the layers themselves are contracts of import-linter in pyproject.toml."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import FUNCTION_FILES, PACKAGE, ROOT

NOUNS = [
    "alert",
    "alerts",
    "caller",
    "care",
    "channels",
    "checks",
    "commands",
    "concern",
    "contradictions",
    "delivery",
    "delivery_state",
    "drift",
    "drift_alerts",
    "equipment",
    "errors",
    "exposure",
    "finding",
    "finding_event",
    "finding_history",
    "guide",
    "key",
    "labels",
    "log_lines",
    "log_report",
    "logs",
    "looks",
    "measures",
    "messages",
    "protection",
    "protection_alerts",
    "purge",
    "purge_progress",
    "questions",
    "record",
    "recovery",
    "response",
    "rollout",
    "rollout_state",
    "run",
    "secret",
    "sessions",
    "settings",
    "stamp",
    "synchronization",
    "trigger",
    "validation",
    "variables",
    "vault_delivery",
    "vault_settings",
    "vault_synchronization",
    "watch",
    "watch_call",
    "window",
    "workload",
]
VENDORS = {
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "hvac",
    "kubernetes",
    "redis",
    "requests",
    "urllib3",
    "valkey",
}
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


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_knows_no_vendor(noun: str) -> None:
    vendors = {module.split(".")[0] for module in imported(PACKAGE / f"{noun}.py")} & VENDORS
    assert vendors == set()


def test_every_module_is_a_noun_or_has_another_known_part() -> None:
    parts = {path.stem for path in PACKAGE.glob("*.py")}
    assert parts == {*NOUNS, "__init__", "telemetry", "wiring"}


@pytest.mark.parametrize(
    ("contract", "others"),
    [("vendors", {"adapters", "telemetry", "wiring"}), ("telemetry", {"telemetry"})],
)
def test_a_contract_of_import_linter_is_about_every_module_that_it_can_be_about(
    contract: str, others: set[str]
) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = (
        one["source_modules"]
        for one in tomllib.loads(text)["tool"]["importlinter"]["contracts"]
        if one["id"] == contract
    )
    expected = {*NOUNS, "adapters", "telemetry", "wiring"} - others
    assert found == [f"keyturn.{name}" for name in sorted(expected)]


def test_every_module_has_a_layer() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (contract,) = (
        one
        for one in tomllib.loads(text)["tool"]["importlinter"]["contracts"]
        if one["id"] == "layers"
    )
    placed = [module for layer in contract["layers"] for module in layer.split(" | ")]
    assert sorted(placed) == sorted(
        f"keyturn.{name}" for name in [*NOUNS, "adapters", "telemetry", "wiring"]
    )


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=named)
def test_a_function_imports_the_package_and_the_standard_library_alone(path: Path) -> None:
    roots = {module.split(".")[0] for module in imported(path)}
    assert roots <= {"json", "time", "typing", "keyturn"}
    assert "keyturn.adapters" not in set(imported(path))


@pytest.mark.parametrize("path", [*MODULES, *FUNCTION_FILES], ids=named)
def test_the_environment_is_read_by_settings_alone(path: Path) -> None:
    reads = {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
    }
    assert reads == ({"environ"} if path == PACKAGE / "settings.py" else set())
    assert path == PACKAGE / "settings.py" or "os" not in set(imported(path))


@pytest.mark.parametrize("path", [*MODULES, *FUNCTION_FILES], ids=named)
def test_the_product_does_not_know_the_local_stack_or_the_tests(path: Path) -> None:
    assert not {"local", "tests"} & {module.split(".")[0] for module in imported(path)}


def test_adapters_are_imported_where_they_are_wired_and_by_each_other_alone() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if any(module.startswith("keyturn.adapters") for module in imported(path))
    }
    assert users == {"adapters", "wiring.py"}
