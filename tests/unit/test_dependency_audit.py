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
FOUND = "redis 8.1.0 has the vulnerability PYSEC-2026-1, fixed in 8.1.1.\n"
SAYS = "Known vulnerabilities: "
UNASKED = f"{SAYS}NOTHING WAS AUDITED, no service could be asked (ERROR: No).\n"

Report = list[dict[str, Any]] | None


def audit(folder: Path, **reports: Report) -> tuple[int, str]:
    """Run it with a pip-audit that reports this of each service; None is one that is silent."""
    for service in ("pypi", "osv"):
        report = reports.get(service)
        bad = report is None or any(one.get("vulns") for one in report)
        if report is not None:
            text = json.dumps({"dependencies": report, "fixes": []})
            (folder / f"{service}.report").write_text(text)
        (folder / f"{service}.code").write_text(str(int(bad)))
    tool = folder / "pip-audit"
    tool.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --vulnerability-service ] || exit 9\n'
        f"report={folder}/$2.report code={folder}/$2.code\n"
        'while [ "$1" != --output ]; do shift; done\n'
        '[ ! -f "$report" ] || cp "$report" "$2"\n'
        'echo "ERROR: No" >&2\n'
        'exit "$(cat "$code")"\n'
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
    ("pypi", "code", "says"),
    [
        ([CLEAN], 0, ""),
        ([CLEAN, BAD], 1, FOUND),
        ([CLEAN, UNKNOWN], 0, f"{SAYS}not looked for, the service knows nothing of six.\n"),
        (
            [BAD, UNKNOWN],
            1,
            f"{FOUND}{SAYS}not looked for, the service knows nothing of six.\n",
        ),
        ([], 1, f"{SAYS}nothing was audited, the lock file names no package.\n"),
    ],
    ids=["clean", "vulnerable", "one-unknown", "vulnerable-and-unknown", "empty"],
)
def test_a_vulnerability_fails_and_what_was_not_looked_for_is_said(
    tmp_path: Path, pypi: Report, code: int, says: str
) -> None:
    assert audit(tmp_path, pypi=pypi) == (code, says)


@pytest.mark.parametrize("pypi", [[UNKNOWN], None], ids=["all-unknown", "no-answer"])
@pytest.mark.parametrize(
    ("osv", "code", "says"), [([CLEAN], 0, ""), ([BAD], 1, FOUND)], ids=["clean", "vulnerable"]
)
def test_where_one_service_knows_no_package_another_is_asked(
    tmp_path: Path, pypi: Report, osv: Report, code: int, says: str
) -> None:
    assert audit(tmp_path, pypi=pypi, osv=osv) == (code, says)


def test_an_audit_in_which_every_service_knows_no_package_fails(tmp_path: Path) -> None:
    code, said = audit(tmp_path, pypi=[UNKNOWN], osv=[UNKNOWN])
    assert code == 1
    assert said == f"{SAYS}nothing was audited, no service knows any of the packages.\n"


@pytest.mark.parametrize("pypi", [[UNKNOWN], None], ids=["a-mirror-answers", "nobody-answers"])
def test_that_nothing_was_audited_is_said_where_no_service_can_be_asked(
    tmp_path: Path, pypi: Report
) -> None:
    assert audit(tmp_path, pypi=pypi) == (0, UNASKED)
