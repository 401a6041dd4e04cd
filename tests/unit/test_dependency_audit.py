"""`.ci/audit`: what becomes of each thing that pip-audit can say."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.project import ROOT

CLEAN = {"name": "redis", "version": "8.1.0", "vulns": []}
HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["8.1.1"], "aliases": [], "description": "Bad."}
BAD = {**CLEAN, "vulns": [HOLE]}
UNKNOWN = {"name": "six", "skip_reason": "Dependency not found"}


def audit(folder: Path, dependencies: list[dict[str, Any]] | None) -> tuple[int, str]:
    """Run it with a pip-audit that reports this; None is one that could not ask its service."""
    report = "" if dependencies is None else json.dumps({"dependencies": dependencies, "fixes": []})
    bad = dependencies is None or any(one.get("vulns") for one in dependencies)
    (folder / "report.json").write_text(report)
    tool = folder / "pip-audit"
    tool.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != --output ]; do shift; done\n'
        f'cat {folder}/report.json >"$2"\n'
        'echo "ERROR: No" >&2\n'
        f"exit {int(bad)}\n"
    )
    tool.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / ".ci" / "audit"), "requirements.txt"],
        check=False,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("dependencies", "code", "says"),
    [
        ([CLEAN], 0, ""),
        ([CLEAN, BAD], 1, "redis 8.1.0 has the vulnerability PYSEC-2026-1, fixed in 8.1.1.\n"),
        (
            [CLEAN, UNKNOWN],
            0,
            "Known vulnerabilities: not looked for, the service knows nothing of six.\n",
        ),
        (
            [UNKNOWN],
            0,
            "Known vulnerabilities: not looked for, the service knows nothing of any package.\n",
        ),
        (
            None,
            0,
            "Known vulnerabilities: not looked for, the service could not be asked (ERROR: No).\n",
        ),
    ],
    ids=["clean", "vulnerable", "one-unknown", "all-unknown", "no-service"],
)
def test_a_vulnerability_fails_and_what_was_not_looked_for_is_said(
    tmp_path: Path, dependencies: list[dict[str, Any]] | None, code: int, says: str
) -> None:
    assert audit(tmp_path, dependencies) == (code, says)


def test_a_vulnerability_fails_beside_what_is_unknown(tmp_path: Path) -> None:
    code, said = audit(tmp_path, [BAD, UNKNOWN])
    assert code == 1
    assert "PYSEC-2026-1" in said
    assert "six" in said
