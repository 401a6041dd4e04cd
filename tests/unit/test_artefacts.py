"""Which code the functions run: what BUILT asks for, what the demo calls it, and what it needs."""

from pathlib import Path

import pytest

from local import artefacts


@pytest.mark.parametrize("built", ["", "0"])
def test_the_source_tree_runs_unless_what_is_built_is_asked_for(built: str) -> None:
    assert artefacts.chosen(built) == artefacts.SOURCE


def test_what_is_built_runs_where_there_is_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "BUILT", tmp_path / "template.yaml")
    with pytest.raises(ValueError, match="Nothing is built for this machine: make build PLATFORM="):
        artefacts.chosen("1")
    artefacts.BUILT.touch()
    assert artefacts.chosen("1") == artefacts.BUILT


def test_what_is_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="BUILT is 1 or nothing, not 'yes'"):
        artefacts.chosen("yes")


def test_what_is_deployed_is_named_by_its_folder(tmp_path: Path) -> None:
    assert artefacts.name_of(artefacts.SOURCE) == "template.yaml"
    assert artefacts.name_of(artefacts.BUILT) == "the built artefacts in out/here/build"
    elsewhere = tmp_path / "template.yaml"
    assert artefacts.name_of(elsewhere) == f"the built artefacts in {tmp_path}"


def test_nothing_is_written_beside_what_was_built() -> None:
    assert artefacts.variables(artefacts.SOURCE) == {}
    assert artefacts.variables(artefacts.BUILT) == {"PYTHONDONTWRITEBYTECODE": "1"}
