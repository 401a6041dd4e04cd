"""The parameters: in groups for the console, each with a form, no impossible combination."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from local.deployment import DeploymentError
from local.deployment.parameters import parameter_values
from tests.every_case import every_case
from tests.project import FUNCTIONS, environment, logical_id, monitoring_template, stack, template
from tests.template_parameters import (
    EVERYTHING,
    EXISTING,
    FORMS,
    IAM_LOGIN,
    KMS_KEY,
    OPERATOR,
    PASSWORD,
    ROLE,
    SECRET,
    VAULT,
    VPC,
)

PARAMETERS: dict[str, dict[str, Any]] = template()["Parameters"]
CONSOLE = template()["Metadata"]["AWS::CloudFormation::Interface"]

REFUSED: list[tuple[str, dict[str, str]]] = [
    ("TheSecretIsGivenOnce", {"InitialSessionKey": ""}),
    ("TheSecretIsGivenOnce", {"ExistingSecretArn": SECRET}),
    ("KmsKeysEncryptSomething", {"KmsKeyArns": KMS_KEY}),
    ("ReadersAreNamed", OPERATOR),
    ("ReadersAreNamed", {"DeliveryMode": "none"}),
    ("ExternalSecretIsNamed", {"DeliveryMode": "external-secrets", "ConsumerRoles": ROLE}),
    ("VaultSecretIsNamed", {**VAULT, "VaultAddress": ""}),
    ("VaultSecretIsNamed", {**VAULT, "VaultPath": ""}),
    ("VaultSecretIsNamed", {**VAULT, "VaultCredentialsSecret": ""}),
    ("VaultCredentialsAreUsed", {"VaultCredentialsSecret": SECRET}),
    ("VaultCredentialsAreUsed", {**VAULT, "VaultRole": "keyturn"}),
    ("RedisHasOneLogin", {**PASSWORD, **IAM_LOGIN}),
    ("SubnetsHaveGroups", {"SubnetIds": "subnet-12345678"}),
    ("GroupsHaveSubnets", {"SecurityGroupIds": "sg-12345678"}),
]


def test_every_parameter_is_in_one_group_in_the_order_of_a_rotation() -> None:
    grouped = [name for group in CONSOLE["ParameterGroups"] for name in group["Parameters"]]
    assert Counter(grouped).most_common(1)[0][1] == 1
    assert grouped == list(PARAMETERS)
    for group in CONSOLE["ParameterGroups"]:
        assert group["Label"]["default"]


@every_case("name", list(PARAMETERS))
def test_a_parameter_says_what_it_is_for(name: str) -> None:
    assert PARAMETERS[name]["Description"].endswith((".", ")"))


@every_case("name", list(PARAMETERS))
def test_a_parameter_has_a_form_and_says_so_when_it_is_broken(name: str) -> None:
    declared = PARAMETERS[name]
    if "AllowedValues" in declared:
        return
    if declared["Type"] == "Number":
        assert declared["MinValue"] < declared["MaxValue"]
        return
    assert declared["AllowedPattern"].startswith("^")
    assert declared["AllowedPattern"].endswith("$")
    assert declared["ConstraintDescription"].startswith("must ")
    assert not re.fullmatch(declared["AllowedPattern"], "no such thing, is there?")


@every_case("name", list(template()["Outputs"]))
def test_an_output_says_what_it_is_for(name: str) -> None:
    assert template()["Outputs"][name]["Description"].endswith(".")


@every_case(("name", "good", "bad"), FORMS)
def test_a_form_takes_what_is_right_and_names_what_is_not(name: str, good: str, bad: str) -> None:
    declared = {name: PARAMETERS[name]}
    parameter_values(declared, {name: good})
    with pytest.raises(DeploymentError, match=re.escape(PARAMETERS[name]["ConstraintDescription"])):
        parameter_values(declared, {name: bad})


@every_case(
    "parameters",
    [
        {},
        EXISTING,
        {**EXISTING, "KmsKeyArns": KMS_KEY},
        PASSWORD,
        IAM_LOGIN,
        VPC,
        {**OPERATOR, "ConsumerRoles": ROLE},
        {**OPERATOR, "SecretResourcePolicy": "false"},
        {"RedisCertificateAuthority": "LS0tLS1CRUdJTiBD"},
        {"GuardDutyFindings": "with-samples"},
        EVERYTHING,
    ],
)
def test_what_fits_together_can_be_deployed(parameters: Mapping[str, str]) -> None:
    assert stack(**parameters)


@every_case(("rule", "parameters"), REFUSED)
def test_what_does_not_fit_together_is_refused(rule: str, parameters: dict[str, str]) -> None:
    said = [one["AssertDescription"] for one in template()["Rules"][rule]["Assertions"]]
    assert all(text.endswith(".") for text in said)
    with pytest.raises(DeploymentError) as refused:
        stack(**parameters)
    assert str(refused.value).removeprefix("rules: ") in said


def test_every_rule_is_seen_to_refuse() -> None:
    assert {rule for rule, _ in REFUSED} == set(template()["Rules"])


REDIS = {"REDIS_HOST": "r.test", "REDIS_PORT": "6380", "REDIS_DATABASE": "4", "REDIS_TLS": "true"}
LOGIN = {"REDIS_AUTHENTICATION": "iam", "REDIS_USER": "keyturn", "REDIS_CACHE_NAME": "sessions"}
NO_LOGIN = {"REDIS_AUTHENTICATION": "none", "REDIS_USER": "", "REDIS_CACHE_NAME": ""}
DERIVED: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("purge_sessions", {"RedisUrl": "rediss://r.test:6380/4"}, REDIS),
    ("purge_sessions", {"RedisUrl": "redis://r.test:6380/4"}, {**REDIS, "REDIS_TLS": "false"}),
    ("purge_sessions", {}, NO_LOGIN),
    ("purge_sessions", PASSWORD, {**NO_LOGIN, "REDIS_AUTHENTICATION": "password"}),
    ("watch_key", IAM_LOGIN, LOGIN),
    ("purge_sessions", {}, {"PURGE_MODE": "scan", "PURGE_PACE": "fast"}),
    (
        "purge_sessions",
        {"PurgeMode": "gentle-scan"},
        {"PURGE_MODE": "scan", "PURGE_PACE": "gentle"},
    ),
    ("purge_sessions", {"PurgeMode": "flush"}, {"PURGE_MODE": "flush", "PURGE_PACE": "fast"}),
    (
        "deliver_key",
        VAULT,
        {
            "VAULT_MOUNT": "secret",
            "VAULT_PATH": "trading-platform/web-console",
            "VAULT_AUTHENTICATION": "approle",
            "VAULT_AUTH_MOUNT": "approle",
            "VAULT_STATIC_SECRET": "",
        },
    ),
    ("deliver_key", {**VAULT, "VaultAuthMount": ""}, {"VAULT_AUTHENTICATION": "token"}),
    (
        "deliver_key",
        {**VAULT, "VaultAuthMount": "", "VaultCredentialsSecret": "", "VaultRole": "keyturn"},
        {"VAULT_AUTHENTICATION": "iam", "VAULT_AUTH_MOUNT": "aws"},
    ),
    (
        "deliver_key",
        {**VAULT, "SyncResource": "web"},
        {"VAULT_STATIC_SECRET": "web", "EXTERNAL_SECRET": ""},
    ),
    ("deliver_key", OPERATOR, {"VAULT_STATIC_SECRET": "", "EXTERNAL_SECRET": "session-key"}),
    (
        "deliver_key",
        {"KeyField": "KEY"},
        {"VAULT_FIELD": "KEY", "KUBERNETES_SECRET_KEY": "KEY", "VAULT_PATH": ""},
    ),
    (
        "respond_to_finding",
        {"FindingLimits": "90,4", "GuardDutyFindings": "with-samples"},
        {
            "FINDING_COOLDOWN_MINUTES": "90",
            "FINDING_DAILY_LIMIT": "4",
            "ALLOW_SAMPLE_FINDINGS": "true",
        },
    ),
    ("respond_to_finding", {}, {"ALLOW_SAMPLE_FINDINGS": "false"}),
    (
        "watch_key",
        {"KeyAgeDays": "20,40"},
        {"KEY_AGE_WARNING_DAYS": "20", "KEY_AGE_CRITICAL_DAYS": "40"},
    ),
]


@every_case(("function", "parameters", "variables"), DERIVED)
def test_variables_are_derived_from_a_parameter(
    function: str, parameters: dict[str, str], variables: dict[str, str]
) -> None:
    assert environment(function, **parameters).items() >= variables.items()


def test_parameters_are_few() -> None:
    assert len(PARAMETERS) < 50


def test_what_is_optional_is_under_a_condition() -> None:
    always = stack()
    for parameters, gone in (
        (EXISTING, {"SessionKeySecret"}),
        ({"SecretResourcePolicy": "false"}, {"SessionKeySecretPolicy"}),
        (
            {"GuardDutyFindings": "false"},
            {
                "GuardDutyRule",
                "EventBridgeMayRespond",
                "RespondToFindingFunction",
                "RespondToFindingFunctionRole",
                "FindingFailedAlarm",
            },
        ),
    ):
        assert set(always) - set(stack(**parameters)) == gone
    assert set(stack(**EVERYTHING)) == {
        *template()["Resources"],
        *monitoring_template()["Resources"],
    }


def test_no_function_is_in_a_vpc_unless_subnets_are_given() -> None:
    in_vpc = template()["Globals"]["Function"]["VpcConfig"]["Fn::If"]
    assert in_vpc[0] == "InVpc"
    assert in_vpc[2] == {"Ref": "AWS::NoValue"}
    for function in FUNCTIONS:
        assert "VpcConfig" not in template()["Resources"][logical_id(function)]["Properties"]
