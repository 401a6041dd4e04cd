"""The deployment as tests see it: the template, the state machine, the functions' files.

Nothing is described twice: what a function's environment is, its name, its time-out are read from
the same files that are deployed.
"""

import ast
import base64
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.secret import key
from local.cluster.certificates import CertificateAuthority
from local.deployment import rules
from local.deployment.deploy import NESTED
from local.deployment.intrinsics import Scope, conditions, resolve
from local.deployment.parameters import parameter_values, text
from local.deployment.template import read_template
from tests.conftest import ARN, AUTHORITIES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "local" / "README.md"]
PACKAGE = ROOT / "layers" / "keyturn" / "keyturn"
EVENTS = ROOT / "tests" / "events"
FUNCTION_FILES = sorted((ROOT / "functions").glob("*.py"))
FUNCTIONS = [path.stem for path in FUNCTION_FILES]

ACCOUNT = "arn:aws:{service}:eu-central-1:123456789012:{name}"
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "keyturn",
    "AWS::URLSuffix": "amazonaws.com",
}
PHYSICAL_IDS = {
    "SessionKeySecret": ARN,
    "CertificateAuthorities": AUTHORITIES,
    "RotateSessionKey": ACCOUNT.format(
        service="states", name="stateMachine:keyturn-rotate-session-key"
    ),
    "Preflight": ACCOUNT.format(service="states", name="stateMachine:keyturn-preflight"),
    "RotateSecretFunctionRole": "keyturn-RotateSecretFunctionRole",
    "DeliverKeyFunctionRole": "keyturn-DeliverKeyFunctionRole",
    "RotationTopic": ACCOUNT.format(service="sns", name="rotations"),
}


@dataclass(frozen=True)
class State:
    """A state, and the `States` that it stands among."""

    name: str
    body: Mapping[str, Any]
    siblings: Mapping[str, Any]
    surrounding: "State | None" = None

    @property
    def function(self) -> str:
        """The function that a task calls, by the name of its own state."""
        return str(self.body["Resource"]).removeprefix("${").removesuffix("FunctionArn}")

    @property
    def is_task(self) -> bool:
        """Whether it calls a function, and waits for it."""
        return bool(self.body["Type"] == "Task" and "FunctionArn" in self.body["Resource"])


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax of a file, read once for all tests of a process."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def template(name: str = "template.yaml") -> dict[str, Any]:
    """A template with its short-form functions read."""
    return read_template(ROOT / name)


def monitoring_template() -> dict[str, Any]:
    """The nested template of the alarms and the dashboard."""
    return template("monitoring.yaml")


@functools.cache
def state_machine() -> dict[str, Any]:
    """The definition as it stands in its file."""
    source = (ROOT / "statemachine" / "rotate_session_key.asl.json").read_text(encoding="utf-8")
    definition: dict[str, Any] = json.loads(source)
    return definition


def states(machine: Mapping[str, Any], surrounding: State | None = None) -> Iterator[State]:
    """Every state, those inside a Map after the Map."""
    for name, body in machine["States"].items():
        state = State(name, body, machine["States"], surrounding)
        yield state
        if "ItemProcessor" in body:
            yield from states(body["ItemProcessor"], state)


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of the template's resources of one type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def functions() -> dict[str, dict[str, Any]]:
    """The properties of every function, what is global included."""
    shared = template()["Globals"]["Function"]
    found = {}
    for name, own in resources("AWS::Serverless::Function").items():
        variables = {**variables_of(shared), **variables_of(own)}
        found[name] = {**shared, **own, "Environment": {"Variables": variables}}
    return found


def variables_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """A function's environment variables, not resolved."""
    found: dict[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return found


def logical_id(function: str) -> str:
    """`check_rollout` -> `CheckRolloutFunction`."""
    return "".join(word.capitalize() for word in function.split("_")) + "Function"


def snake_case(name: str) -> str:
    """`CheckRollout` -> `check_rollout`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class _Attributes(dict[str, Any]):
    """Every attribute of a resource: `Arn` of `KmsKey` is "KmsKey.Arn"."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __contains__(self, _attribute: object) -> bool:
        return True

    def __getitem__(self, attribute: str) -> str:
        return f"{self._name}.{attribute}"


@functools.cache
def stack(**own: str) -> dict[str, dict[str, Any]]:
    """The resources that the templates make of these parameters, every function resolved.

    A `Ref` of a resource is its logical id, a `GetAtt` the id and the attribute. What is global of
    the functions is not included. Those of a nested template stand beside the others.
    """
    source = template()
    values = parameter_values(source["Parameters"], {**parameters(), **own})
    rules.check(source["Rules"], values)
    made = _resolved(source, values)
    for properties in [one["Properties"] for one in made.values() if one["Type"] == NESTED]:
        nested = template(properties["TemplateURL"])
        given = {name: text(value) for name, value in properties["Parameters"].items()}
        assert given.keys() == nested["Parameters"].keys()
        made = {**made, **_resolved(nested, parameter_values(nested["Parameters"], given))}
    return made


def _resolved(source: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    known = {**values, **PSEUDO}
    decided = conditions(source["Conditions"], Scope(known))
    names = {name: name for name in source["Resources"]}
    attributes = {name: _Attributes(name) for name in names}
    scope = Scope(known, conditions=decided, physical_ids=names, attributes=attributes)
    return {
        name: {**resource, "Properties": resolve(resource["Properties"], scope)}
        for name, resource in source["Resources"].items()
        if decided.get(resource.get("Condition"), True)
    }


def of_type(kind: str, made: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The properties of a stack's resources of one type, by logical id."""
    found = {name: one["Properties"] for name, one in made.items() if one["Type"] == kind}
    assert found, f"the stack has no {kind}"
    return found


@functools.cache
def environment(function: str, **own: str) -> dict[str, str]:
    """The environment that the template gives a function, with every value in place."""
    values = parameter_values(template()["Parameters"], {**parameters(), **own})
    known = {**values, **PSEUDO}
    decided = conditions(template()["Conditions"], Scope(known))
    scope = Scope(known, conditions=decided, physical_ids=PHYSICAL_IDS)
    variables = resolve(variables_of(functions()[logical_id(function)]), scope)
    return {name: text(value) for name, value in variables.items()}


def event(function: str) -> dict[str, Any]:
    """A good input of a function."""
    found: dict[str, Any] = json.loads((EVENTS / f"{function}.json").read_text(encoding="utf-8"))
    return found


def parameters() -> dict[str, str]:
    """A value for every parameter that has no default."""
    return dict(_parameters())


@functools.cache
def _parameters() -> Mapping[str, str]:
    authority = CertificateAuthority("cluster").pem
    return {
        "InitialSessionKey": key.generate_key().base64,
        "ClusterName": "production",
        "ClusterEndpoint": "https://cluster.test",
        "ClusterCertificateAuthority": base64.b64encode(authority.encode()).decode(),
        "RedisUrl": "rediss://redis.test:6379/1",
        "HealthUrls": "https://console.test/healthz,https://auth.test/healthz",
        "LoginUrl": "https://console.test/login",
        "LoginRedirectHosts": "idp.test",
    }


@functools.cache
def document(path: Path) -> str:
    """A page with each paragraph, list item and table row in one line, and code indented by four.

    So a test finds a sentence or a command however the page is wrapped.
    """
    lines: list[str] = []
    fence = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        opened = re.match(r"( *)(`{3,})", line)
        if opened and not fence:
            fence = opened[2]
        elif opened and line.strip() == fence:
            fence = ""
        elif fence:
            lines.append(f"    {line}" if line else "")
        elif _goes_on(line) and lines and _is_prose(lines[-1]):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _goes_on(line: str) -> bool:
    """Whether a line belongs to the paragraph or the list item of the line before it."""
    return bool(line.strip()) and not re.match(r" *([-*>]|\d+\.) |[#|]|---", line)


def _is_prose(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", "|", "---", "    "))
