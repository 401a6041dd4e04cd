"""The roles: one a function, with only its own calls on only its own resources."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.every_case import every_case
from tests.policies import Statement, listed, rights, statements
from tests.project import (
    FUNCTIONS,
    functions,
    logical_id,
    of_type,
    stack,
    state_machine,
    states,
    template,
    variables_of,
)
from tests.template_parameters import EVERYTHING, EXISTING, IAM_LOGIN, KMS_KEY, PASSWORD, VAULT

# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html: these name no resource.
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html: nor do interfaces to come.
NETWORK_INTERFACES = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
WRITERS = {
    "RotateSecretFunction": {
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    },
    "RestorePreviousKeyFunction": {"secretsmanager:UpdateSecretVersionStage"},
    "RespondToFindingFunction": {
        "secretsmanager:RotateSecret",
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:UpdateSecretVersionStage",
    },
    "DeliverKeyFunction": {
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:UpdateSecretVersionStage",
    },
}
NEVER_CURRENT = {"StringEquals": {"secretsmanager:VersionStage": ["AWSPENDING", "AWSPREVIOUS"]}}
READS = ("Describe", "Get", "List")
STACKS = {"everything": EVERYTHING, "plain": {}, "iam": IAM_LOGIN, "existing": EXISTING}
MACHINE_ROLES = ["RotateSessionKeyRole", "PreflightRole"]
FUNCTION_ROLES = [f"{logical_id(function)}Role" for function in FUNCTIONS]
ROLES = FUNCTION_ROLES + MACHINE_ROLES


def roles(**parameters: str) -> dict[str, dict[str, Any]]:
    return of_type("AWS::IAM::Role", stack(**parameters))


def own_calls(role: dict[str, Any]) -> list[Statement]:
    """What the code of a function calls; the platform's own needs are in policies of their own."""
    (policy,) = (one for one in role["Policies"] if one["PolicyName"] == "ItsOwnCalls")
    return statements(policy["PolicyDocument"])


def every_own_right() -> Iterator[tuple[str, str, str, Statement]]:
    """Function, action, resource and statement, of the stack that has everything."""
    for parameters in (EVERYTHING, {**EVERYTHING, **IAM_LOGIN, "RedisPasswordSecret": ""}):
        for name, role in roles(**parameters).items():
            for statement in own_calls(role):
                for action, resource in rights(statement):
                    yield name.removesuffix("Role"), action, resource, statement


def own_rights_of(service: str) -> list[tuple[str, str, Statement]]:
    """Action, resource and statement of every right to call a service."""
    found = [
        (action, resource, statement)
        for _, action, resource, statement in every_own_right()
        if action.startswith(f"{service}:")
    ]
    assert found, f"no function may call {service}"
    return found


def holders(action: str, resource: str) -> set[str]:
    return {name for name, may, on, _ in every_own_right() if (may, on) == (action, resource)}


def readers_of(secret: str, parameters: dict[str, str]) -> set[str]:
    """The functions that may read the secret of a parameter, where no other has the same value."""
    read = ("secretsmanager:GetSecretValue", parameters[secret])
    return {
        name.removesuffix("Role")
        for name, role in roles(**parameters).items()
        for statement in own_calls(role)
        if read in list(rights(statement))
    }


def test_every_function_and_the_machine_have_a_role_of_their_own() -> None:
    made = stack(**EVERYTHING)
    assert sorted(of_type("AWS::IAM::Role", made)) == sorted(ROLES)
    worked = {
        **of_type("AWS::Serverless::Function", made),
        **of_type("AWS::Serverless::StateMachine", made),
    }
    for name, properties in worked.items():
        assert properties["Role"] == f"{name}Role.Arn"
        assert "Policies" not in properties


@every_case("role", ROLES)
def test_a_role_has_the_boundary_of_the_stack(role: str) -> None:
    made = roles(**EVERYTHING)[role]
    assert made["PermissionsBoundary"] == EVERYTHING["PermissionsBoundary"]
    plain = roles()[role]
    assert "PermissionsBoundary" not in plain
    assert "ManagedPolicyArns" not in plain
    assert "RoleName" not in plain  # or the stack would need CAPABILITY_NAMED_IAM


@every_case("role", ROLES)
def test_a_role_is_assumed_by_one_service_alone(role: str) -> None:
    (trust,) = statements(roles()[role]["AssumeRolePolicyDocument"])
    service = "states" if role in MACHINE_ROLES else "lambda"
    assert trust["Principal"] == {"Service": f"{service}.amazonaws.com"}
    assert trust["Action"] == "sts:AssumeRole"


@every_case("parameters", STACKS.values())
@every_case("role", ROLES)
def test_a_right_is_named_and_on_a_resource_that_is_named(
    role: str, parameters: dict[str, str]
) -> None:
    unnamed = []
    for policy in roles(**parameters)[role]["Policies"]:
        assert set(policy) == {"PolicyName", "PolicyDocument"}
        for statement in statements(policy["PolicyDocument"]):
            assert not any("*" in action for action in listed(statement["Action"]))
            # Records, and executions of the stack's own machines, have no names beforehand.
            text = json.dumps(statement["Resource"]).replace("/rotations/*", "")
            if "*" in re.sub(r":execution:keyturn-(rotate-session-key|preflight):\*", "", text):
                unnamed.append(set(listed(statement["Action"])))
    if role in MACHINE_ROLES:
        assert unnamed == [LOG_DELIVERY]
    elif "SubnetIds" in parameters:
        assert unnamed == [NETWORK_INTERFACES] * 2
    else:
        assert unnamed == []


def test_what_lambda_does_in_a_vpc_the_code_may_not() -> None:
    for role in FUNCTION_ROLES:
        (policy,) = (
            one for one in roles(**EVERYTHING)[role]["Policies"] if one["PolicyName"] == "EntersVpc"
        )
        allowed, denied = statements(policy["PolicyDocument"])
        assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
        assert allowed["Action"] == denied["Action"]
        assert "Condition" not in allowed
        (compared,) = denied["Condition"].values()
        assert list(compared) == ["lambda:SourceFunctionArn"]


def test_every_function_writes_into_the_stacks_log_group_and_into_no_other() -> None:
    for role in FUNCTION_ROLES:
        (policy,) = (one for one in roles()[role]["Policies"] if one["PolicyName"] == "WritesLogs")
        (statement,) = statements(policy["PolicyDocument"])
        assert statement["Resource"] == "FunctionLogs.Arn"
        assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]


def test_only_those_functions_write_to_the_secret_that_have_to() -> None:
    writes: dict[str, set[str]] = {}
    for name, action, _, _ in every_own_right():
        service, _, operation = action.partition(":")
        if service == "secretsmanager" and not operation.startswith(READS):
            writes.setdefault(name, set()).add(action)
    assert writes == WRITERS


def test_a_finding_can_unlabel_versions_and_cannot_move_the_current_label() -> None:
    conditions = [
        statement.get("Condition")
        for name, action, _, statement in every_own_right()
        if (name, action) == ("RespondToFindingFunction", "secretsmanager:UpdateSecretVersionStage")
    ]
    assert conditions == [NEVER_CURRENT] * 2


@pytest.mark.parametrize(
    ("function", "label"),
    [("RotateSecretFunction", "AWSCURRENT"), ("DeliverKeyFunction", "AWSPREVIOUS")],
)
def test_a_function_moves_its_own_staging_label_alone(function: str, label: str) -> None:
    conditions = [
        statement.get("Condition")
        for name, action, _, statement in every_own_right()
        if (name, action) == (function, "secretsmanager:UpdateSecretVersionStage")
    ]
    assert conditions == [{"StringEquals": {"secretsmanager:VersionStage": label}}] * 2


def test_only_those_that_work_with_the_key_can_read_it() -> None:
    readers = {"RotateSecretFunction", "DeliverKeyFunction"}
    assert holders("secretsmanager:GetSecretValue", "SessionKeySecret") == readers


def test_who_talks_to_redis_can_log_in_there_and_nobody_else_can() -> None:
    talking = {name for name, own in functions().items() if "REDIS_HOST" in variables_of(own)}
    secret = EVERYTHING["RedisPasswordSecret"]
    for role in ROLES:
        made = own_calls(roles(**PASSWORD)[role])
        reads = ("secretsmanager:GetSecretValue", secret) in [r for s in made for r in rights(s)]
        assert reads == (role.removesuffix("Role") in talking)
    connecting = {name for name, may, _, _ in every_own_right() if may == "elasticache:Connect"}
    assert connecting == talking


def test_a_connection_is_allowed_to_a_cache_of_either_kind_as_one_user() -> None:
    cache = "arn:aws:elasticache:eu-central-1:123456789012:"
    for role in ("BeginRotationFunctionRole", "PurgeSessionsFunctionRole", "WatchKeyFunctionRole"):
        made = [right for one in own_calls(roles(**IAM_LOGIN)[role]) for right in rights(one)]
        assert {on for may, on in made if may == "elasticache:Connect"} == {
            f"{cache}replicationgroup:sessions",
            f"{cache}serverlesscache:sessions",
            f"{cache}user:keyturn",
        }


def test_who_talks_to_vault_can_read_its_credentials_and_nobody_else_can() -> None:
    talking = {name for name, own in functions().items() if "VAULT_ADDRESS" in variables_of(own)}
    assert talking == {"DeliverKeyFunction"}
    assert readers_of("VaultCredentialsSecret", VAULT) == talking


def test_who_tells_people_can_read_the_webhook_of_slack_and_nobody_else_can() -> None:
    telling = {name for name, own in functions().items() if "TOPIC_ARN" in variables_of(own)}
    webhook = {"SlackWebhookSecret": EVERYTHING["SlackWebhookSecret"]}
    assert readers_of("SlackWebhookSecret", webhook) == telling


def test_only_functions_with_custom_tls_authorities_read_them() -> None:
    connecting = {
        name
        for name, own in functions().items()
        if {"REDIS_HOST", "CLUSTER_ENDPOINT"} & variables_of(own).keys()
    }
    reading = holders("secretsmanager:GetSecretValue", "CertificateAuthorities")
    assert reading == connecting
    given = {n for n, own in functions().items()
             if "CERTIFICATE_AUTHORITIES_SECRET" in variables_of(own)}  # fmt: skip
    assert given == connecting


def test_a_right_on_a_secret_is_on_the_session_key_or_reads_another() -> None:
    passwords = {
        EVERYTHING[name]
        for name in ("RedisPasswordSecret", "SlackWebhookSecret", "VaultCredentialsSecret")
    } | {"CertificateAuthorities"}
    for action, resource, _ in own_rights_of("secretsmanager"):
        reads = action == "secretsmanager:GetSecretValue"
        assert resource == "SessionKeySecret" or (reads and resource in passwords)


def test_a_right_on_a_kms_key_is_limited_to_a_service_and_a_resource() -> None:
    for _, resource, statement in own_rights_of("kms"):
        assert resource in {"KmsKey.Arn", KMS_KEY}
        (compared,) = statement["Condition"].values()
        via = compared["kms:ViaService"]
        assert via in {
            f"{name}.eu-central-1.amazonaws.com" for name in ("secretsmanager", "sns", "s3")
        }
        named = [name for name in compared if name.startswith("kms:EncryptionContext:")]
        assert bool(named) == (not via.startswith("s3."))


def test_the_key_of_an_existing_secret_is_used_where_it_has_one() -> None:
    for role in ("RotateSecretFunctionRole", "DeliverKeyFunctionRole"):
        for parameters, expected in (
            ({}, {"KmsKey.Arn"}),
            (EXISTING, set()),
            ({**EXISTING, "KmsKeyArns": f"{KMS_KEY},{KMS_KEY}2"}, {KMS_KEY, f"{KMS_KEY}2"}),
        ):
            made = own_calls(roles(**parameters)[role])
            keys = {on for one in made for may, on in rights(one) if may.startswith("kms:")}
            assert keys == expected


def test_an_existing_secret_takes_the_place_of_the_stacks_own_everywhere() -> None:
    text = json.dumps(stack(**EXISTING))
    assert "SessionKeySecret" not in text.replace("SessionKeySecretPolicy", "")
    assert EXISTING["ExistingSecretArn"] in text


def test_the_state_machine_may_invoke_the_functions_of_its_states_and_no_other() -> None:
    called = {state.function for state in states(state_machine()) if state.is_task}
    for role in MACHINE_ROLES:
        invoke, _ = own_calls(roles()[role])
        assert invoke["Action"] == "lambda:InvokeFunction"
        assert sorted(invoke["Resource"]) == sorted(f"{name}Function.Arn" for name in called)
    for machine in of_type("AWS::Serverless::StateMachine", stack()).values():
        names = set(machine["DefinitionSubstitutions"]) - {
            "Partition",
            "Services",
            "PollSeconds",
        }
        assert names == {f"{name}FunctionArn" for name in called}


def test_the_globals_give_no_right() -> None:
    assert not {"Policies", "Role"} & template()["Globals"]["Function"].keys()
