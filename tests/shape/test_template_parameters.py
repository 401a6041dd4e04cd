"""The parameters: in groups for the console, each with a form, no impossible combination."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from keyturn.secret import key
from local.deployment import DeploymentError
from local.deployment.parameters import parameter_values
from tests.project import FUNCTIONS, logical_id, stack, template

PARAMETERS: dict[str, dict[str, Any]] = template()["Parameters"]
CONSOLE = template()["Metadata"]["AWS::CloudFormation::Interface"]
KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-4111-8111-111111111111"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:console/session-key-AbCdEf"
ROLE = "arn:aws:iam::123456789012:role/external-secrets"
BOUNDARY = "arn:aws:iam::123456789012:policy/platform/boundary"
EXISTING = {"FirstSessionKey": "", "ExistingSecretArn": SECRET}
PASSWORD = {"RedisAuthentication": "password", "RedisPasswordSecret": SECRET}
IAM_LOGIN = {"RedisAuthentication": "iam", "RedisUser": "keyturn", "RedisCacheName": "sessions"}
OPERATOR = {"DeliveryMode": "external-secrets", "ExternalSecret": "session-key"}
VAULT = {
    "DeliveryMode": "vault",
    "VaultAddress": "https://vault.example.com:8200",
    "VaultPath": "trading-platform/web-console",
    "VaultAuthentication": "approle",
    "VaultCredentialsSecret": SECRET,
}
VPC = {"SubnetIds": "subnet-0a1b2c3d4e5f60718,subnet-12345678", "SecurityGroupIds": "sg-12345678"}
EVERYTHING = {
    **PASSWORD,
    **VAULT,
    **VPC,
    "KmsKeyArns": KMS_KEY,
    "ConsumerRoles": ROLE,
    "BreakGlassPrincipals": ROLE,
    "RecordBucket": "keyturn-records",
    "SlackWebhookSecret": SECRET,
    "PermissionsBoundary": BOUNDARY,
    "RolePath": "/keyturn/prod/",
}

REFUSED: list[tuple[str, dict[str, str]]] = [
    ("TheSecretIsGivenOnce", {"FirstSessionKey": ""}),
    ("TheSecretIsGivenOnce", {"ExistingSecretArn": SECRET}),
    ("KmsKeysEncryptSomething", {"KmsKeyArns": KMS_KEY}),
    ("ReadersAreNamed", OPERATOR),
    ("ReadersAreNamed", {"DeliveryMode": "none"}),
    ("SamplesNeedFindings", {"AllowSampleFindings": "true", "GuardDutyFindings": "off"}),
    ("ExternalSecretIsNamed", {"DeliveryMode": "external-secrets", "ConsumerRoles": ROLE}),
    ("VaultSecretIsNamed", {**VAULT, "VaultAddress": ""}),
    ("VaultSecretIsNamed", {**VAULT, "VaultPath": ""}),
    (
        "VaultSecretIsNamed",
        {**VAULT, "VaultAuthentication": "iam", "VaultCredentialsSecret": ""},
    ),
    ("VaultSecretIsNamed", {**VAULT, "VaultCredentialsSecret": ""}),
    ("VaultCredentialsAreUsed", {"VaultCredentialsSecret": SECRET}),
    (
        "VaultCredentialsAreUsed",
        {**VAULT, "VaultAuthentication": "iam", "VaultRole": "keyturn"},
    ),
    ("RedisPasswordIsNamed", {"RedisAuthentication": "password"}),
    ("RedisPasswordIsEncrypted", {**PASSWORD, "RedisTls": "false"}),
    ("RedisPasswordIsUsed", {"RedisPasswordSecret": SECRET}),
    ("RedisRoleIsUsable", {"RedisAuthentication": "iam", "RedisUser": "keyturn"}),
    ("RedisRoleIsUsable", {**IAM_LOGIN, "RedisTls": "false"}),
    (
        "RedisAuthorityIsUsed",
        {"RedisCertificateAuthority": "LS0tLS1CRUdJTiBD", "RedisTls": "false"},
    ),
    ("SubnetsHaveGroups", {"SubnetIds": "subnet-12345678"}),
    ("GroupsHaveSubnets", {"SecurityGroupIds": "sg-12345678"}),
]


def test_every_parameter_is_in_one_group_in_the_order_of_a_rotation_and_has_a_label() -> None:
    grouped = [name for group in CONSOLE["ParameterGroups"] for name in group["Parameters"]]
    assert Counter(grouped).most_common(1)[0][1] == 1
    assert grouped == list(PARAMETERS)
    assert list(CONSOLE["ParameterLabels"]) == list(PARAMETERS)
    labels = [label["default"] for label in CONSOLE["ParameterLabels"].values()]
    assert all(labels)
    for group in CONSOLE["ParameterGroups"]:
        assert group["Label"]["default"]


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_a_parameter_says_what_it_is_for(name: str) -> None:
    assert PARAMETERS[name]["Description"].endswith((".", ")"))


@pytest.mark.parametrize("name", list(PARAMETERS))
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


@pytest.mark.parametrize("name", list(template()["Outputs"]))
def test_an_output_says_what_it_is_for(name: str) -> None:
    assert template()["Outputs"][name]["Description"].endswith(".")


FORMS = [
    ("FirstSessionKey", key.generate_key().base64, key.generate_key().base64[:-4]),
    ("ExistingSecretArn", SECRET, SECRET[:-7]),
    ("KmsKeyArns", f"{KMS_KEY},{KMS_KEY}", "alias/session-key"),
    ("ConsumerRoles", f"{ROLE},arn:aws:iam::123456789012:role/aws-reserved/*", "external"),
    ("BreakGlassPrincipals", "arn:aws:iam::123456789012:user/ana", "arn:aws:iam::1:root"),
    ("RotationSchedule", "cron(0 3 1 * ? *)", "rate(30 days)"),
    ("FindingScopeRoles", f"nodes,{ROLE}", "arn:aws:iam::123456789012:user/ana"),
    ("ClusterName", "prod-1", "prod 1"),
    ("ClusterEndpoint", "https://ab.gr7.eu-central-1.eks.amazonaws.com", "http://cluster"),
    ("ClusterCertificateAuthority", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURQ==", "-----BEGIN"),
    ("Namespace", "web", "Web"),
    ("Services", "web-console,statefulset/auth,rollout/edge", "cronjob/nightly"),
    ("ExternalSecret", "session-key", "session_key"),
    ("VaultAddress", "https://vault.example.com:8200", "vault.example.com"),
    ("VaultNamespace", "team-a/web", "/team-a"),
    ("VaultMount", "secret", "/secret"),
    ("VaultPath", "trading-platform/web-console", "web-console/"),
    ("VaultField", "SESSION_ENCRYPTION_KEY", ""),
    ("VaultCertificateAuthority", "LS0tLS1CRUdJTiBD", "/etc/ssl/ca.pem"),
    ("VaultAuthMount", "aws", "auth/aws/"),
    ("VaultRole", "keyturn", "auth/aws/role/keyturn"),
    ("VaultServerId", "vault.example.com", "vault example"),
    ("VaultCredentialsSecret", SECRET, "vault-approle"),
    ("VaultStaticSecret", "session-key", "session_key"),
    ("KubernetesSecret", "session.key", "-session"),
    ("KubernetesSecretKey", "SESSION_ENCRYPTION_KEY", "a/b"),
    ("RedisHost", "master.sessions.abc.euc1.cache.amazonaws.com", "rediss://host:6379"),
    ("RedisCertificateAuthority", "LS0tLS1CRUdJTiBD", "/etc/ssl/ca.pem"),
    ("RedisUser", "keyturn", "user:*"),
    ("RedisPasswordSecret", SECRET, "redis-password"),
    ("RedisCacheName", "sessions", "sessions.cache"),
    ("SessionPrefixes", "session:,:1:django.contrib.sessions.cache", "session:,"),
    ("HealthUrls", "https://a/healthz,https://b/healthz", "a/healthz"),
    ("LoginUrl", "https://console.example.com/login", "console.example.com"),
    ("LoginRedirectHosts", "idp.example.com,127.0.0.1:8443", "https://idp.example.com"),
    ("RecordBucket", "keyturn-records", "s3://records"),
    ("EventBus", "default", "a bus"),
    ("SlackWebhookSecret", SECRET, "https://hooks.slack.com/services/x"),
    ("SubnetIds", "subnet-12345678", "vpc-12345678"),
    ("SecurityGroupIds", "sg-12345678", "default"),
    ("PermissionsBoundary", BOUNDARY, "boundary"),
    ("RolePath", "/keyturn/", "keyturn"),
]


@pytest.mark.parametrize(("name", "good", "bad"), FORMS, ids=[form[0] for form in FORMS])
def test_a_form_takes_what_is_right_and_names_what_is_not(name: str, good: str, bad: str) -> None:
    declared = {name: PARAMETERS[name]}
    parameter_values(declared, {name: good})
    with pytest.raises(DeploymentError, match=re.escape(PARAMETERS[name]["ConstraintDescription"])):
        parameter_values(declared, {name: bad})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        EXISTING,
        {**EXISTING, "KmsKeyArns": KMS_KEY},
        PASSWORD,
        IAM_LOGIN,
        VPC,
        {**OPERATOR, "ConsumerRoles": ROLE},
        {**OPERATOR, "ProtectSecret": "off"},
        {"RedisCertificateAuthority": "LS0tLS1CRUdJTiBD"},
        {"AllowSampleFindings": "true"},
        EVERYTHING,
    ],
    ids=str,
)
def test_what_fits_together_can_be_deployed(parameters: Mapping[str, str]) -> None:
    assert stack(**parameters)


@pytest.mark.parametrize(("rule", "parameters"), REFUSED)
def test_what_does_not_fit_together_is_refused(rule: str, parameters: dict[str, str]) -> None:
    said = [one["AssertDescription"] for one in template()["Rules"][rule]["Assertions"]]
    assert all(text.endswith(".") for text in said)
    with pytest.raises(DeploymentError) as refused:
        stack(**parameters)
    assert str(refused.value).removeprefix("rules: ") in said


def test_every_rule_is_seen_to_refuse() -> None:
    assert {rule for rule, _ in REFUSED} == set(template()["Rules"])


def test_what_is_optional_is_under_a_condition() -> None:
    always = stack()
    for parameters, gone in (
        (EXISTING, {"SessionKeySecret"}),
        ({"ProtectSecret": "off"}, {"SessionKeySecretPolicy"}),
        (
            {"GuardDutyFindings": "off"},
            {
                "GuardDutyRule",
                "EventBridgeMayRespond",
                "RespondToFindingFunction",
                "RespondToFindingFunctionRole",
                "FindingFailedAlarm",
            },
        ),
        (
            {"Alarms": "off"},
            {
                name
                for name, one in template()["Resources"].items()
                if one["Type"].startswith("AWS::CloudWatch::")
            },
        ),
    ):
        assert set(always) - set(stack(**parameters)) == gone
    assert set(stack(**EVERYTHING)) == set(template()["Resources"])


def test_no_function_is_in_a_vpc_unless_subnets_are_given() -> None:
    in_vpc = template()["Globals"]["Function"]["VpcConfig"]["Fn::If"]
    assert in_vpc[0] == "InVpc"
    assert in_vpc[2] == {"Ref": "AWS::NoValue"}
    for function in FUNCTIONS:
        assert "VpcConfig" not in template()["Resources"][logical_id(function)]["Properties"]
