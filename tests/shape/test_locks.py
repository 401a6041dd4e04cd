"""The lock files hold versions and hashes, and no address of a package index."""

import re
from pathlib import Path

import pytest

from tests.project import ROOT

LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "layers/keyturn/requirements.txt"]
REQUIREMENT = re.compile(r"[a-z0-9][a-z0-9.-]*==[\w.+]+(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_holds_requirements_and_hashes_alone(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    others = [
        line for line in lines if not REQUIREMENT.fullmatch(line) and not HASH.fullmatch(line)
    ]
    assert others == []


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_requirements_file_is_locked(path: Path) -> None:
    """Each name that the `.in` file lists is in its lock."""
    listed = path.with_suffix(".in").read_text(encoding="utf-8")
    names = re.findall(r"(?m)^([a-z0-9][a-z0-9.-]*)", listed)
    locked = re.findall(r"(?m)^([a-z0-9][a-z0-9.-]*)==", path.read_text(encoding="utf-8"))
    assert names
    assert set(names) <= set(locked)
