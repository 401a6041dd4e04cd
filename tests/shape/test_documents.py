"""What the documents name exists: files, tests, parameters, outputs."""

import functools
import re
from pathlib import Path

import pytest

from local.deployment.deploy import NESTED
from tests.project import DOCUMENTS, ROOT, document, template

FOLDERS = {"bench", "docs", "functions", "kubernetes", "layers", "local", "statemachine", "tests"}
DEPLOY = document(ROOT / "docs" / "deploy.md")
THREATS = document(ROOT / "docs" / "threat-model.md")


@functools.cache
def slugs(path: Path) -> set[str]:
    """The anchors of a document's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", document(path.resolve()))
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_file_that_a_document_names_exists() -> None:
    gone = []
    for path in DOCUMENTS:
        named = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|json|yaml|txt|in))`", document(path))
        own = [ROOT / name for name in named if name.split("/")[0] in FOLDERS]
        linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document(path))
        there = [*own, *(path.parent / name for name in linked)]
        gone += [f"{path}: {one}" for one in there if not one.exists()]
    assert gone == []


def test_every_heading_that_a_document_links_to_exists() -> None:
    links = [
        (path, name, anchor)
        for path in DOCUMENTS
        for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document(path))
    ]
    assert links
    for path, name, anchor in links:
        assert anchor in slugs(path.parent / name if name else path), f"{path}: {name}#{anchor}"


def test_every_threat_is_there_and_names_what_holds_it() -> None:
    rows = re.findall(r"(?m)^\| (T\d+) \|(.*)\|$", THREATS)
    assert [number for number, _ in rows] == [f"T{number}" for number in range(1, 25)]
    for _, row in rows:
        *_, held_by = row.split("|")
        held = re.findall(r"`([^`]+)`", held_by)
        assert held
        assert all((ROOT / name).exists() for name in held)


def test_the_guide_names_parameters_and_outputs_that_exist() -> None:
    outputs = set(re.findall(r"\$\(output (\w+)", DEPLOY))
    assert outputs
    assert outputs <= set(template()["Outputs"])
    table = re.findall(r"(?m)^\| (`[^|]+`) \|", DEPLOY)
    parameters = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    parameters |= set(re.findall(r"`([A-Z]\w+)=", DEPLOY))
    assert parameters
    assert parameters <= set(template()["Parameters"])


def test_the_readme_names_every_parameter_without_a_default_and_few_others() -> None:
    (table,) = re.findall(r"(?s)### Parameters\n(.*?)\n### ", document(ROOT / "README.md"))
    rows = re.findall(r"(?m)^\| ([^|]+) \|", table)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    declared = template()["Parameters"]
    assert {name for name, one in declared.items() if "Default" not in one} <= named
    assert named <= set(declared)
    assert len(named) <= len(declared) / 2


def test_no_check_runs_the_same_tool_twice() -> None:
    """`sam validate --lint` is cfn-lint with other defaults, and validates nothing else."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tools = re.findall(r"(?m)^\t@.*/bin/([\w-]+(?: validate)?)", makefile)
    linters = [tool for tool in tools if tool in {"cfn-lint", "sam validate"}]
    assert linters == ["cfn-lint"]


def test_both_templates_are_linted_and_scanned() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    nested = [one["Properties"]["TemplateURL"] for one in template()["Resources"].values()
              if one["Type"] == NESTED]  # fmt: skip
    (named,) = re.findall(r"(?m)^TEMPLATES := (.*)$", makefile)
    assert named.split() == ["template.yaml", *nested]
    for tool in ("cfn-lint", "checkov --file"):
        assert f"{tool} $(TEMPLATES)" in makefile


def test_the_guide_asks_for_the_concurrency_that_the_template_reserves() -> None:
    functions = template()["Resources"].values()
    reserved = sum(one["Properties"].get("ReservedConcurrentExecutions", 0) for one in functions
                   if one["Type"] == "AWS::Serverless::Function")  # fmt: skip
    assert f"At least {100 + reserved}:" in DEPLOY


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_two_commands_of_the_readme_stand_as_commands(command: str) -> None:
    assert f"\n    {command}\n" in document(ROOT / "README.md")
