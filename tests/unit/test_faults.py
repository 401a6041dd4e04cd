"""`local.faults`: faults on order, each with the error that it has to end in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import demo, faults
from tests.every_case import every_case
from tests.vocabulary import stop

WITHSTOOD = {"log-injection", "old-key-put-back", "hostile-checks", "forged-run"}


@every_case(("name", "fault"), faults.FAULTS.items())
def test_every_fault_ends_in_an_error_that_stops_a_run_or_is_withstood(
    name: str, fault: faults.Fault
) -> None:
    if name in WITHSTOOD:
        assert fault.error is None
    else:
        assert fault.error in {error.__name__ for error in stop()}
    assert fault.says.endswith(".")


def test_a_fault_at_the_start_of_a_run_happens_in_either_mode_once() -> None:
    happened: list[Any] = []
    for state in sorted(faults.STARTS):
        fault = replace(faults.FAILURES["rollout"], happen=happened.append, happened=False)
        stack: Any = state
        assert fault.reach(stack, state) == f"Fault: {fault.says}"
        assert fault.reach(stack, state) is None
    assert happened == sorted(faults.STARTS)


def test_the_permission_to_restart_and_no_other_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    narrowed = faults.FAULTS["access-denied"].options()["rbac"]
    before, after = (list(yaml.safe_load_all(path.read_text())) for path in (faults.RBAC, narrowed))
    rules = [rule for document in before for rule in document.get("rules", ())]
    restarting = [rule for rule in rules if {"patch"} & {*rule["verbs"]}]
    for rule in restarting:
        if rule["resources"] == ["deployments"]:
            rule["verbs"].remove("patch")
    assert after == before
    assert [rule for rule in restarting if rule["resources"] == ["secrets"]]


def test_an_unknown_fault_is_answered_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAULT", "earthquake")
    assert demo.main() == 2
    told = capsys.readouterr().err
    assert all(name in told for name in faults.FAULTS)
