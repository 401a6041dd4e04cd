"""Deploys a template: parameters, conditions, order, then one resource after the other."""

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.cloud import Cloud
from local.deployment import rules
from local.deployment.errors import DeploymentError
from local.deployment.intrinsics import Scope, conditions, references, resolve
from local.deployment.parameters import parameter_values, text
from local.deployment.resources import creator_of
from local.deployment.stack import Created, Stack
from local.deployment.template import read_template, translate
from local.functions import Functions

STACK_NAME = "keyturn"
NESTED = "AWS::CloudFormation::Stack"
_FAILURES = (BotoCoreError, ClientError, KeyError, OSError, TypeError, ValueError)


@dataclass(frozen=True)
class DeployedResource:
    """A resource as it was created, its properties resolved; for tests of policies and alarms."""

    kind: str
    properties: Mapping[str, Any] = field(repr=False)  # a secret's value may be among them
    physical_id: str


@dataclass(frozen=True)
class Deployment:
    """What a template and its nested ones became; every mapping but `outputs` is by logical id."""

    outputs: Mapping[str, str]
    resources: Mapping[str, DeployedResource]

    @property
    def physical_ids(self) -> dict[str, str]:
        """What `Ref` of each resource returns: a name, an ARN or a URL."""
        return {name: resource.physical_id for name, resource in self.resources.items()}

    @property
    def functions(self) -> dict[str, str]:
        """The names of the functions."""
        return {
            name: resource.physical_id
            for name, resource in self.resources.items()
            if resource.kind == "AWS::Lambda::Function"
        }


def deploy(
    template: Path,
    parameters: Mapping[str, str],
    cloud: Cloud,
    functions: Functions,
    *,
    stack_name: str = STACK_NAME,
) -> Deployment:
    """Deploy a SAM template to the local cloud.

    Raises DeploymentError, which names the resource, for whatever cannot be deployed; what was
    created before stays until the cloud is closed.
    """
    source = read_template(template)
    values = parameter_values(source.get("Parameters", {}), parameters)
    rules.check(source.get("Rules", {}), values)
    translated = translate(source, values, cloud.region)
    scope, physical_ids, attributes = _scope(translated, values, cloud, stack_name)
    stack = Stack(stack_name, template.parent.resolve(), cloud, functions)
    wanted = _wanted(translated["Resources"], scope.conditions)
    for kind in {resource["Type"] for resource in wanted.values()} - {NESTED}:
        creator_of(kind)
    resources: dict[str, DeployedResource] = {}
    for name in order(wanted, scope.conditions):
        kind = wanted[name]["Type"]
        if kind == NESTED:
            resources |= _deploy_nested(name, wanted[name], scope, stack)
            continue
        properties, created = _create(name, wanted[name], scope, stack)
        physical_ids[name], attributes[name] = created.physical_id, created.attributes
        resources[name] = DeployedResource(kind, properties, created.physical_id)
    outputs = _wanted(translated.get("Outputs", {}), scope.conditions)
    return Deployment(
        {name: str(resolve(output["Value"], scope)) for name, output in outputs.items()}, resources
    )


def order(resources: Mapping[str, Any], decided: Mapping[str, bool]) -> Iterable[str]:
    """Return the resources' names so that each comes after those it depends on."""
    graph = {}
    for name, resource in resources.items():
        needs = references(resource.get("Properties", {}), decided)
        explicit = resource.get("DependsOn", [])
        needs.update([explicit] if isinstance(explicit, str) else explicit)
        graph[name] = needs & resources.keys()
    try:
        return tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(error.args[1])
        raise DeploymentError(f"these resources wait for each other: {circle}") from error


def _scope(
    template: Mapping[str, Any], values: Mapping[str, Any], cloud: Cloud, stack_name: str
) -> tuple[Scope, dict[str, str], dict[str, Mapping[str, Any]]]:
    pseudo = {
        "AWS::AccountId": cloud.account,
        "AWS::Partition": "aws",
        "AWS::Region": cloud.region,
        "AWS::StackId": f"arn:aws:cloudformation:{cloud.region}:{cloud.account}:stack/{stack_name}",
        "AWS::StackName": stack_name,
        "AWS::URLSuffix": "amazonaws.com",
    }
    known = {**values, **pseudo}
    decided = conditions(template.get("Conditions", {}), Scope(known))
    physical_ids: dict[str, str] = {}
    attributes: dict[str, Mapping[str, Any]] = {}
    return Scope(known, decided, physical_ids, attributes), physical_ids, attributes


def _wanted(entries: Mapping[str, Any], decided: Mapping[str, bool]) -> dict[str, Any]:
    return {
        name: entry
        for name, entry in entries.items()
        if "Condition" not in entry or decided[entry["Condition"]]
    }


def _deploy_nested(
    name: str, resource: Mapping[str, Any], scope: Scope, stack: Stack
) -> Mapping[str, DeployedResource]:
    """Deploy a nested template into the same cloud. Nothing refers to the nested stack itself."""
    properties = resolve(resource["Properties"], scope)
    given = {key: text(value) for key, value in properties.get("Parameters", {}).items()}
    template, nested_name = stack.root / properties["TemplateURL"], stack.name_of(name)
    try:
        nested = deploy(template, given, stack.cloud, stack.functions, stack_name=nested_name)
    except DeploymentError as error:
        raise DeploymentError(f"{name} ({NESTED}): {error}") from error
    return nested.resources


def _create(
    name: str, resource: Mapping[str, Any], scope: Scope, stack: Stack
) -> tuple[Mapping[str, Any], Created]:
    kind = resource["Type"]
    try:
        properties = resolve(resource.get("Properties", {}), scope)
        return properties, creator_of(kind)(name, properties, stack)
    except DeploymentError as error:
        raise DeploymentError(f"{name} ({kind}): {error}") from error
    except _FAILURES as error:
        raise DeploymentError(f"{name} ({kind}): {type(error).__name__}: {error}") from error
