"""One name everywhere: state, function, file, good input and log line; and small files."""

import ast
import re
from pathlib import Path

from keyturn.run import ledger
from tests.project import (
    EVENTS,
    FUNCTION_FILES,
    FUNCTIONS,
    PACKAGE,
    ROOT,
    functions,
    logical_id,
    parsed,
    snake_case,
    state_machine,
    states,
)

# Called by Secrets Manager and by event rules.
NO_STATES = ["rotate_secret", "respond_to_finding", "watch_key"]
TASKS = [state.function for state in states(state_machine()) if state.is_task]
# States that work with another's function, and say so by what they give it.
BORROWED = {
    "ConfirmDelivery": "DeliverKey",
    "DestroyExposedVersions": "DeliverKey",
    "MarkExposed": "DeliverKey",
    "PurgeBeforeRestart": "PurgeSessions",
    "NotifyUnrecorded": "FinishRotation",
}
RESULTS = {
    "FinishRotation": "record",
    "NotifyUnrecorded": "record",
}
MODULES = sorted(PACKAGE.rglob("*.py"))
SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def step_names(path: Path) -> list[str]:
    """The names given to `@step(...)` in a file."""
    return [
        decorator.args[0].value
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "step"
        and isinstance(decorator.args[0], ast.Constant)
        and isinstance(decorator.args[0].value, str)
    ]


def test_every_state_that_works_has_a_function_of_its_name_and_no_other_exists() -> None:
    assert sorted({*NO_STATES, *map(snake_case, TASKS)}) == FUNCTIONS


def test_every_function_file_is_a_function_of_the_template_and_no_other_exists() -> None:
    assert sorted(map(logical_id, FUNCTIONS)) == sorted(functions())


def test_every_function_has_a_good_input_and_no_other_exists() -> None:
    assert sorted(path.stem for path in EVENTS.glob("*.json")) == FUNCTIONS


def test_the_log_line_of_a_function_carries_its_name() -> None:
    for path in FUNCTION_FILES:
        assert [f"{name}Function" for name in step_names(path)] == [logical_id(path.stem)]


def test_the_template_names_the_handler_by_its_file() -> None:
    for function in FUNCTIONS:
        assert functions()[logical_id(function)]["Handler"] == f"{function}.handler"


def test_a_task_calls_the_function_of_its_name_and_writes_under_its_own() -> None:
    for state in states(state_machine()):
        if state.is_task:
            assert state.function == BORROWED.get(state.name, state.name)
            written = RESULTS.get(state.name, snake_case(state.name))
            assert state.body["ResultPath"] == f"$.{written}"


def test_the_record_knows_the_states_in_their_order() -> None:
    machine = state_machine()["States"]
    steps = {name: body for name, body in machine.items() if name in ledger.STEPS}
    assert list(steps) == list(ledger.STEPS)
    for name, entry in ledger.STEPS.items():
        assert steps[name]["ResultPath"] == f"$.{entry}"
    worked = [name for name, body in machine.items() if body["Type"] in {"Task", "Map"}]
    others = [name for name in worked if name not in ledger.STEPS]
    assert others == [
        "AnnounceEmergency",
        "PurgeBeforeRestart",
        "MarkExposed",
        "DestroyExposedVersions",
        "RestorePreviousKey",
        "FinishRotation",
        "NotifyUnrecorded",
    ]


def test_a_module_is_named_after_what_it_is_about() -> None:
    for path in [*FUNCTION_FILES, *MODULES]:
        inside = path.relative_to(PACKAGE.parents[2]).with_suffix("")
        assert not SAY_NOTHING & {*inside.parts}, path


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_a_handlers_file_is_read_at_a_glance() -> None:
    assert [path for path in FUNCTION_FILES if lines(path) > 30] == []


def test_a_module_fits_in_the_head() -> None:
    assert [path for path in MODULES if lines(path) > 400] == []


def test_no_function_is_longer_than_forty_lines() -> None:
    longer = [
        f"{path}: {node.name}"
        for path in [*FUNCTION_FILES, *MODULES]
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 40
    ]
    assert longer == []


def test_the_name_of_a_test_is_a_short_sentence() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    names = [
        name
        for path in files
        for name in re.findall(r"(?m)^ *def test_(\w+)", path.read_text(encoding="utf-8"))
    ]
    assert names
    assert [name for name in names if len(name) >= 70] == []
