"""The files of parameters: what a person fills in, as SAM reads it, checked before it is sent."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import check
from local.deployment import DeploymentError
from local.deployment.parameters import parameter_values
from tests.project import ROOT, parameters, template
from tests.samconfig import CONFIG, ENVIRONMENTS
from tests.template_parameters import SECRET

PARAMETERS: dict[str, dict[str, Any]] = template()["Parameters"]
REQUIRED = {name for name, one in PARAMETERS.items() if "Default" not in one}
SAM = ROOT / ".sam" / "bin" / "python"
# SAM's own reader of parameter_overrides, given what samconfig.toml says.
READ = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(sys.argv[1], None, None)))
"""


@pytest.fixture(autouse=True)
def template_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing takes most of the time of a check."""
    monkeypatch.setattr(check, "read_template", lambda path: template(str(path.relative_to(ROOT))))


def path_of(environment: str) -> Path:
    told: str = CONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    assert told == f"file://deployment/{environment}.yaml"
    return ROOT / told.removeprefix("file://")


def filled_in(path: Path, **own: Any) -> str:
    """The file as it is once a person has filled it in."""
    given = {**parameters(), "ExistingSecretArn": SECRET, **own}
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        f"{name[1]}: {given[name[1]]}"
        if (name := re.match(r"([A-Za-z]+):( \[\])?$", line)) and name[1] in given
        else line
        for line in lines
    )


def read_by_sam(path: Path) -> dict[str, str]:
    if not SAM.exists():
        pytest.skip("make check has not installed SAM yet")
    done = subprocess.run(
        [SAM, "-c", READ, f"file://{path}"], capture_output=True, check=True, timeout=120
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_file_has_every_parameter_that_has_no_default_and_few_others(environment: str) -> None:
    named = yaml.safe_load(path_of(environment).read_text(encoding="utf-8"))
    assert REQUIRED <= named.keys() <= PARAMETERS.keys()
    assert len(named) <= 13
    assert "InitialSessionKey" not in path_of(environment).read_text(encoding="utf-8")


def test_the_environments_are_asked_the_same_and_one_explains_it() -> None:
    named = [list(yaml.safe_load(path_of(one).read_text(encoding="utf-8"))) for one in ENVIRONMENTS]
    assert named[0] == named[1] == named[2]
    text = path_of("default").read_text(encoding="utf-8")
    optional = re.findall(r"(?m)^# ([A-Z]\w+):", text)
    assert set(optional) <= PARAMETERS.keys()
    for paragraph in text.split("\n\n")[1:]:
        assert paragraph.startswith("#")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_incomplete_file_is_refused_with_every_missing_line(
    environment: str,
) -> None:
    found = " ".join(check.problems(path_of(environment)))
    for name in REQUIRED:
        assert f"{name} must " in found


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_required_parameter_refuses_an_empty_answer(name: str) -> None:
    with pytest.raises(DeploymentError):
        parameter_values({name: PARAMETERS[name]}, {name: ""})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_file_that_is_filled_in_can_be_deployed(environment: str, tmp_path: Path) -> None:
    path = tmp_path / "filled.yaml"
    path.write_text(filled_in(path_of(environment)))
    assert check.problems(path) == []
    assert check.read(path)["Services"] == "web-console,auth-service"


def test_sam_reads_a_file_as_the_check_does(tmp_path: Path) -> None:
    path = tmp_path / "filled.yaml"
    more = 'GuardDutyFindings: "true"\nRolloutSeconds: 900\nSessionPrefixes: "s:"\n'
    path.write_text(f"{filled_in(path_of('default'))}\n{more}")
    assert read_by_sam(path) == check.read(path)


def test_what_sam_would_write_differently_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "filled.yaml"
    path.write_text(f"{filled_in(path_of('default'))}\nSecretResourcePolicy: false\n")
    assert check.problems(path) == ['quote "true" and "false" of SecretResourcePolicy']
    assert read_by_sam(path)["SecretResourcePolicy"] == "False"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DeliveryMode: vault", "DeliveryMode vault needs VaultAddress and VaultPath."),
        ("RedisURL: no", "there is no parameter RedisURL"),
        ("RedisUrl: redis://r.test:6379/1\nRedisIamUser: cache/user", "a RedisUrl with rediss://"),
        ("VaultAddress: {a: b}", "a value is a text, a number or a list"),
        ("Services: [a", "expected"),
    ],
)
def test_a_mistake_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "filled.yaml"
    path.write_text(f"{filled_in(path_of('default'))}\n{line}\n")
    assert said in " ".join(check.problems(path))


def test_a_file_that_is_absent_or_empty_is_named(tmp_path: Path) -> None:
    path = tmp_path / "qa.yaml"
    assert str(path) in " ".join(check.problems(path))
    path.write_text("# nothing yet\n")
    assert str(path) in " ".join(check.problems(path))
