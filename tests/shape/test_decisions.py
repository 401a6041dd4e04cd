"""The index of the decisions equals their files."""

import re
from pathlib import Path

from tests.project import ROOT

FOLDER = ROOT / "docs" / "decisions"
FILES = sorted(FOLDER.glob("[0-9]*.md"))
HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>.+)\n\n"
    r"- Status: (?P<status>Accepted|Superseded by \d{4})\n"
    r"- Date: (?P<date>\d{4}-\d{2}-\d{2})\n\n"
)


def head(path: Path) -> re.Match[str]:
    found = HEAD.match(path.read_text(encoding="utf-8"))
    assert found, f"{path.name} does not begin as template.md does"
    return found


def test_the_index_has_one_row_for_each_decision() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [line for line in index.splitlines() if re.match(r"\| \d", line)]
    assert rows == [
        f"| {path.name[:4]} | [{head(path)['title']}]({path.name}) "
        f"| {head(path)['status']} | {head(path)['date']} |"
        for path in FILES
    ]


def test_the_numbers_have_no_gap() -> None:
    numbers = [int(head(path)["number"]) for path in FILES]
    assert numbers == [int(path.name[:4]) for path in FILES]
    assert numbers == list(range(1, len(FILES) + 1))


def test_the_template_has_the_head_of_a_decision() -> None:
    template = (FOLDER / "template.md").read_text(encoding="utf-8")
    assert HEAD.match(template.replace("# N.", "# 1.").replace("YYYY-MM-DD", "2026-01-01"))
