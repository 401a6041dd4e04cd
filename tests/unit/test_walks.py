"""The walks of docs/architecture.md: the product files that a key and a failure really pass.

Each function is joined by the real `wiring`, which gives the files of its adapters, and its handler
runs on the fakes, which gives the files that decide.
"""

import contextlib
import importlib
import inspect
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import keyturn
from keyturn import errors, wiring
from keyturn.run.ledger import STEPS
from tests.conftest import NEW, OLD
from tests.ledgers import caught
from tests.project import ROOT, document, environment, event
from tests.stage import Context, Stage, handler_of

PRODUCT = (ROOT / "layers" / "keyturn" / "keyturn", ROOT / "functions")
ADAPTERS = "keyturn.adapters."


def files_of(heading: str) -> list[str]:
    """The files that the page lists under a heading, each once."""
    page = document(ROOT / "docs" / "architecture.md")
    section = page.split(f"### {heading}\n")[1].split("\n#")[0]
    listed = re.findall(r"`((?:functions|statemachine|keyturn)/[\w./]+)`", section)
    assert len(listed) == len(set(listed)), "a file stands in the walk twice"
    return sorted(listed)


def name_of(path: str) -> str:
    """A product file's name in the page; empty for every other file."""
    for folder in PRODUCT:
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder.parent).as_posix()
    return ""


@contextmanager
def files_called(files: set[str]) -> Iterator[None]:
    """Add the product files of every function that is called meanwhile, in any thread."""
    seen: set[str] = set()

    def note(frame: FrameType, kind: str, _argument: Any) -> None:
        # The body of a module or a class runs when it is imported, which is no call.
        if kind == "call" and frame.f_code.co_flags & inspect.CO_NEWLOCALS:
            seen.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        files |= {name_of(path) for path in seen} - {""}


def adapters_in(joined: object) -> set[str]:
    """The files of the adapters that an object holds, directly or through other objects."""
    found: set[str] = set()
    waiting, met = [joined], set()
    while waiting:
        held = waiting.pop()
        module = type(held).__module__
        if id(held) in met or not (module.startswith("keyturn.") or isinstance(held, list)):
            continue
        met.add(id(held))
        if module.startswith(ADAPTERS):
            found.add(name_of(str(sys.modules[module].__file__)))
        waiting += held if isinstance(held, list) else getattr(held, "__dict__", {}).values()
    return found


@pytest.fixture
def stage() -> Stage:
    """Two services that run the old key; every module is imported."""
    for module in pkgutil.walk_packages(keyturn.__path__, "keyturn."):
        importlib.import_module(module.name)
    return Stage()


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[str]]:
    """Record the files of calls of one function: how it is joined, and what its handler calls."""

    def record(function: str, stage: Stage, *events: dict[str, Any]) -> set[str]:
        files: set[str] = set()
        with monkeypatch.context() as patch:
            patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
            given = environment(function)
            for name, value in {**given, "SLACK_WEBHOOK_SECRET": given["SECRET_ARN"]}.items():
                patch.setenv(name, value)
            with files_called(files):
                joined = getattr(wiring, function)()
            files |= adapters_in(joined)
            stage.wire(patch)
            with files_called(files):
                handler = handler_of(function, patch)
                for given in events:
                    with contextlib.suppress(errors.RolloutFailed):
                        handler(given, Context())
        return files

    return record


def key_walk(stage: Stage, record: Callable[..., set[str]]) -> list[set[str]]:
    """The files of each function that a key passes on its way to the pods."""
    stage.store.documents.pop(NEW, None)
    steps = ("createSecret", "setSecret", "testSecret", "finishSecret")
    rotate = [{**event("rotate_secret"), "Step": step} for step in steps]
    files = [record("rotate_secret", stage, *rotate)]
    files += [record(name, stage, event(name)) for name in ("deliver_key", "restart_service")]
    assert stage.target.value == stage.new.base64
    assert stage.cluster.restarts == [("web-console", False)]
    return files


def failure_walk(stage: Stage, record: Callable[..., set[str]]) -> list[set[str]]:
    """The files of each function that a failed rollout passes on its way to Slack."""
    stage.promote()
    stage.restart_all()
    stuck, *_ = stage.cluster.pods_of["web-console"]
    stuck = replace(stuck, waiting_reasons=("ErrImagePull",))
    stage.cluster.pods_of["web-console"] = [stuck]
    failure = {"failures": {STEPS["RestartServices"]: caught("RolloutFailed", "1 of 2 new")}}
    files = [
        record(name, stage, {**event(name), **failure})
        for name in ("check_rollout", "restore_previous_key", "finish_rotation")
    ]
    assert stage.store.stages[OLD] == ["AWSCURRENT"]
    assert [message.kind for message in stage.channel.told] == ["Session Key Rotation Failed"]
    return files


def test_every_function_passes_the_files_that_the_page_lists(
    stage: Stage, record: Callable[..., set[str]]
) -> None:
    files = [*key_walk(stage, record), *failure_walk(Stage(), record)]
    assert sorted(set.intersection(*files)) == files_of("In every function")


def test_a_key_passes_the_files_that_the_page_lists(
    stage: Stage, record: Callable[..., set[str]]
) -> None:
    passed = set().union(*key_walk(stage, record))
    assert sorted(passed - set(files_of("In every function"))) == files_of("The walk of a key")


def test_a_failure_passes_the_files_that_the_page_lists(
    stage: Stage, record: Callable[..., set[str]]
) -> None:
    passed = set().union(*failure_walk(stage, record))
    assert sorted(passed - set(files_of("In every function"))) == files_of("The walk of a failure")
