"""Lambda's limit of 4,096 bytes for all environment variables of a function together.

AWS measures them as one JSON object ("String measured: {...}" in its error). Every parameter that
reaches an environment has a longest value, so the worst stack can be computed, and stays well
below. No variable holds a certificate.
"""

import functools
import re
from typing import Any

import pytest

from local.deployment import DeploymentError
from local.deployment.intrinsics import Scope, conditions, references, resolve
from local.deployment.parameters import parameter_values, text
from local.functions import ENVIRONMENT_BYTES, environment_bytes
from tests.every_case import every_case
from tests.project import FUNCTIONS, functions, logical_id, parameters, template, variables_of

BUDGET = 3500
PARAMETERS: dict[str, dict[str, Any]] = template()["Parameters"]
# The longest of each there is: the partition and the Region, and as long a stack name as
# docs/deploy.md permits. AWS makes names of the logical id and twelve letters.
STACK = "s" * 60
PLACE = "arn:aws-us-gov:{service}:ap-southeast-1:123456789012:{name}"
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "ap-southeast-1",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com.cn",
}
SERVICES = {
    "AWS::SecretsManager::Secret": ("secretsmanager", "secret:{0}-AbCdEf"),
    "AWS::Serverless::StateMachine": ("states", "stateMachine:{0}"),
    "AWS::SNS::Topic": ("sns", "{0}"),
}
# What a longest value begins with; the rest is filled up.
BEGINNINGS = {
    "ExistingSecretArn": PLACE.format(service="secretsmanager", name="secret:"),
    "VaultCredentialsSecret": PLACE.format(service="secretsmanager", name="secret:"),
    "RedisPasswordSecret": PLACE.format(service="secretsmanager", name="secret:"),
    "SlackWebhookSecret": PLACE.format(service="secretsmanager", name="secret:"),
    "FindingScopeRoles": "arn:aws-us-gov:iam::123456789012:role/",
    "ClusterEndpoint": "https://",
    "VaultAddress": "https://",
    "RedisUrl": "rediss://",
    "VaultPath": "secret/data/",
    "RedisIamUser": "a" * 40 + "/",
    "FindingLimits": "1440",
    "KeyAgeDays": "365",
    "HealthUrls": "https://",
    "LoginUrl": "https://",
}
ENDINGS = {
    **{name: "-AbCdEf" for name in BEGINNINGS if name.endswith(("Arn", "Secret"))},
    "RedisUrl": ":65535/15",
    "FindingLimits": ",15",
    "KeyAgeDays": ",365",
}


def longest(name: str) -> str:
    """The longest value that a parameter takes."""
    declared = PARAMETERS[name]
    if "AllowedValues" in declared:
        return max(map(text, declared["AllowedValues"]), key=len)
    if declared["Type"] == "Number":
        return str(declared["MaxValue"])
    begin, end = BEGINNINGS.get(name, ""), ENDINGS.get(name, "")
    for length in range(declared.get("MaxLength", 300), 0, -1):
        filled = begin + "a" * (length - len(begin) - len(end)) + end
        if name == "Services":
            filled = ",".join(["a" * 253] * 3)[:length]
        if re.fullmatch(declared["AllowedPattern"], filled):
            return filled
    raise AssertionError(name)


@functools.cache
def used() -> frozenset[str]:
    """The parameters of which a value reaches the environment of a function."""
    variables = [variables_of(function) for function in functions().values()]
    found = {
        name
        for holds in (True, False)
        for name in references(variables, dict.fromkeys(template()["Conditions"], holds))
    }
    return frozenset(found & PARAMETERS.keys())


def measured(function: str, known: dict[str, Any]) -> int:
    resources = template()["Resources"]
    names = {}
    for name, resource in resources.items():
        service, form = SERVICES.get(resource["Type"], ("iam", "{0}"))
        made = form.format(f"{STACK}-{name}-ABCDEFGHIJKL")
        if resource["Type"] == "AWS::IAM::Role":
            names[name] = "r" * 64
        else:
            names[name] = PLACE.format(service=service, name=made)
    decided = conditions(template()["Conditions"], Scope(known))
    scope = Scope(known, conditions=decided, physical_ids=names)
    variables = resolve(variables_of(functions()[logical_id(function)]), scope)
    return environment_bytes({name: text(value) for name, value in variables.items()})


def worst(**own: str) -> dict[str, Any]:
    """The values of a stack of which every parameter that matters is as long as it may be."""
    longs = {name: longest(name) for name in used()}
    return {**parameter_values(PARAMETERS, {**parameters(), **longs, **own}), **PSEUDO}


@every_case("function", FUNCTIONS)
def test_everything_on_and_as_long_as_it_may_be_stays_below_the_budget(function: str) -> None:
    assert measured(function, worst()) < BUDGET < ENVIRONMENT_BYTES
    assert measured(function, worst(ExistingSecretArn="")) < BUDGET


def test_a_parameter_that_reaches_an_environment_has_a_longest_value() -> None:
    for name in sorted(used()):
        declared = PARAMETERS[name]
        if "AllowedValues" in declared or declared["Type"] == "Number":
            continue
        assert declared["Type"] == "String", f"the items of {name}, a list, cannot be counted"
        value = longest(name)
        parameter_values({name: declared}, {name: value})
        for longer in (value + "a", value[:-1] + "aa", "a" + value):
            with pytest.raises(DeploymentError, match=name):
                parameter_values({name: declared}, {name: longer})


def test_a_character_of_such_a_parameter_is_one_byte() -> None:
    """JSON writes a quotation mark, a backslash and what is not ASCII in more."""
    for name in sorted(used()):
        pattern = PARAMETERS[name].get("AllowedPattern", "")
        value = longest(name) if pattern else ""
        for place in range(0, len(value), 7):
            for wide in ('"', "\\", "é", "\n", "\x01"):
                changed = value[:place] + wide + value[place + 1 :]
                assert not re.fullmatch(pattern, changed), name


def test_no_variable_is_a_certificate() -> None:
    certificates = {
        name
        for name, one in PARAMETERS.items()
        if "LS0tLS1CRUdJTi" in one.get("AllowedPattern", "")
    }
    assert len(certificates) == 3
    assert not certificates & used()


def test_the_measure_is_that_of_the_json_object() -> None:
    assert environment_bytes({"A": "b"}) == len('{"A":"b"}')
    assert environment_bytes({"A": '"é'}) == len('{"A":"\\"é"}'.encode())
