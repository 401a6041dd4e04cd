"""Check a file of parameters against the template before anything is built or sent.

    python -m deployment.check deployment/staging.yaml

Exits with 1 and names every problem. AWS's own checks are the same and come later, one at a time.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from local.deployment import rules
from local.deployment.errors import DeploymentError
from local.deployment.parameters import ParameterValue, parameter_values
from local.deployment.template import read_template

ROOT = Path(__file__).parents[1]
# Which secret a stack has may be an earlier deployment's answer: AWS checks it.
DECIDED_BEFORE = "TheSecretIsGivenOnce"


def read(path: Path) -> dict[str, str]:
    """Read a file as `sam deploy` does: lists joined by commas, nothing for an empty line.

    Raises DeploymentError for what SAM would pass on differently from how it is written.
    """
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise DeploymentError(f"{path} has no lines of the form Name: value")
    unquoted = [name.value for name, value in node.value if _is_capitalised(value)]
    if unquoted:
        raise DeploymentError(f'quote "true" and "false" of {", ".join(unquoted)}')
    return {name.value: ",".join(_items(value)) for name, value in node.value}


def problems(path: Path) -> list[str]:
    """Return what keeps a file from being deployed; empty where nothing does."""
    template = read_template(ROOT / "template.yaml")
    try:
        values = parameter_values(template["Parameters"], read(path))
        checked = {name: one for name, one in template["Rules"].items() if name != DECIDED_BEFORE}
        rules.check(checked, values)
        _check_redis(values)
    except (DeploymentError, OSError, yaml.YAMLError) as problem:
        return str(problem).removeprefix("parameters: ").removeprefix("rules: ").split("; ")
    return []


def _check_redis(values: Mapping[str, ParameterValue]) -> None:
    """Raise DeploymentError for a login without TLS: a rule cannot look into a URL."""
    has_login = values["RedisPasswordSecret"] or values["RedisIamUser"]
    if has_login and str(values["RedisUrl"]).startswith("redis:"):
        raise DeploymentError("RedisPasswordSecret and RedisIamUser need a RedisUrl with rediss://")


def _is_capitalised(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and _is_switch(node.value)


def _is_switch(text: str) -> bool:
    return text.lower() in {"true", "false"}


def _items(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        yield from (item.value.strip() for item in node.value if item.value)
    elif isinstance(node, yaml.ScalarNode):
        yield "" if node.tag == "tag:yaml.org,2002:null" else node.value
    else:
        raise DeploymentError(f"a value is a text, a number or a list, not {node.value!r}")


def main() -> int:
    """Print each problem on a line."""
    path = Path(sys.argv[1])
    found = problems(path)
    for problem in found:
        sys.stderr.write(f"{path}: {problem}\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
