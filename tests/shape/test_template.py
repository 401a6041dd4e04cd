"""The template: what is deployed, with which rights, and with which limits."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config

from keyturn.adapters import aws, http, kubernetes, redis_connection, vault_connection
from keyturn.logs import GLANCE_SECONDS, READ_SECONDS
from keyturn.sessions import SLICE_SECONDS
from tests.project import (
    FUNCTIONS,
    ROOT,
    functions,
    logical_id,
    resources,
    state_machine,
    states,
    template,
    variables_of,
)

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
WRITERS = {
    "RotateSecretFunction": {
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    },
    "RestorePreviousKeyFunction": {"secretsmanager:UpdateSecretVersionStage"},
    "RespondToFindingFunction": {
        "secretsmanager:RotateSecret",
        "secretsmanager:UpdateSecretVersionStage",
    },
}
ONLY_PENDING = {"StringEquals": {"secretsmanager:VersionStage": "AWSPENDING"}}
READS = ("Describe", "Get", "List")


def statements(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The statements of a resource's own policies, those that depend on a condition included."""
    for policy in properties["Policies"]:
        for statement in policy["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def actions(statement: dict[str, Any]) -> set[str]:
    found = statement["Action"]
    return {found} if isinstance(found, str) else set(found)


def every_statement() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, properties in {
        **functions(),
        **resources("AWS::Serverless::StateMachine"),
    }.items():
        for statement in statements(properties):
            yield name, statement


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_a_policy_of_its_own_and_only_rights_by_name(function: str) -> None:
    for policy in functions()[logical_id(function)]["Policies"]:
        assert set(policy) == {"Version", "Statement"}
    for statement in statements(functions()[logical_id(function)]):
        assert set(statement) - {"Condition"} == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions(statement))
    assert "Policies" not in template()["Globals"]["Function"]


def test_no_right_is_for_every_resource_but_those_that_name_none() -> None:
    everything = [
        actions(statement)
        for _, statement in every_statement()
        if "*" in json.dumps(statement["Resource"]).replace("/rotations/*", "")
    ]
    assert everything == [LOG_DELIVERY]


def test_only_those_functions_write_to_the_secret_that_have_to() -> None:
    writes: dict[str, set[str]] = {}
    for name, statement in every_statement():
        found = {
            action
            for action in actions(statement)
            if action.startswith("secretsmanager:") and not action.split(":")[1].startswith(READS)
        }
        if found:
            writes[name] = writes.get(name, set()) | found
    assert writes == WRITERS


def test_a_finding_can_unlabel_a_pending_version_and_move_no_other_label() -> None:
    labelling = [
        statement
        for statement in statements(functions()["RespondToFindingFunction"])
        if "secretsmanager:UpdateSecretVersionStage" in actions(statement)
    ]
    assert [statement["Condition"] for statement in labelling] == [ONLY_PENDING]


def readers_of(secret: str) -> set[str]:
    return {
        name
        for name, statement in every_statement()
        if "secretsmanager:GetSecretValue" in actions(statement)
        and statement["Resource"] == {"Ref": secret}
    }


def test_only_those_that_work_with_the_key_can_read_it() -> None:
    assert readers_of("SessionKeySecret") == {"RotateSecretFunction", "DeliverKeyFunction"}


def test_who_talks_to_redis_can_log_in_there_and_nobody_else_can() -> None:
    talking = {name for name, own in functions().items() if "REDIS_HOST" in variables_of(own)}
    assert readers_of("RedisPasswordSecret") == talking
    connecting = {name for name, s in every_statement() if actions(s) == {"elasticache:Connect"}}
    assert connecting == talking


def test_who_talks_to_vault_can_read_its_credentials_and_nobody_else_can() -> None:
    talking = {name for name, own in functions().items() if "VAULT_ADDRESS" in variables_of(own)}
    assert talking == {"RotateSecretFunction", "DeliverKeyFunction"}
    assert readers_of("VaultCredentialsSecret") == talking
    assert template()["Conditions"]["VaultWantsCredentials"] == {
        "Fn::And": [
            {"Fn::Equals": [{"Ref": "DeliveryMode"}, "vault"]},
            {"Fn::Not": [{"Fn::Equals": [{"Ref": "VaultAuthentication"}, "iam"]}]},
        ]
    }


def test_who_tells_people_can_read_the_webhook_of_slack_and_nobody_else_can() -> None:
    telling = {name for name, own in functions().items() if "TOPIC_ARN" in variables_of(own)}
    assert readers_of("SlackWebhookSecret") == telling
    assert template()["Conditions"]["TellsSlack"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "SlackWebhookSecret"}, ""]}]
    }


def test_every_right_on_a_secret_is_on_the_sessions_or_to_read_a_password() -> None:
    passwords = (
        {"Ref": "RedisPasswordSecret"},
        {"Ref": "SlackWebhookSecret"},
        {"Ref": "VaultCredentialsSecret"},
    )
    for _, statement in every_statement():
        if any(action.startswith("secretsmanager:") for action in actions(statement)):
            reads = actions(statement) == {"secretsmanager:GetSecretValue"}
            of_password = reads and statement["Resource"] in passwords
            assert of_password or statement["Resource"] == {"Ref": "SessionKeySecret"}


def test_the_state_machine_may_invoke_the_functions_of_its_states_and_no_other() -> None:
    (machine,) = resources("AWS::Serverless::StateMachine").values()
    called = {state.function for state in states(state_machine()) if state.is_task}
    (invoke,) = (s for s in statements(machine) if actions(s) == {"lambda:InvokeFunction"})
    arns = [arn["Fn::GetAtt"] for arn in invoke["Resource"]]
    assert sorted(arns) == sorted([f"{name}Function", "Arn"] for name in called)
    assert set(machine["DefinitionSubstitutions"]) == {f"{name}FunctionArn" for name in called}


def test_an_update_of_the_stack_logs_nobody_out() -> None:
    (schedule,) = resources("AWS::SecretsManager::RotationSchedule").values()
    assert schedule["RotateImmediatelyOnUpdate"] is False
    (secret,) = (
        resource
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::SecretsManager::Secret"
    )
    assert secret["DeletionPolicy"] == secret["UpdateReplacePolicy"] == "Retain"


def permissions_of(function: str) -> dict[str, dict[str, Any]]:
    """Who else may call a function."""
    called = {"Fn::GetAtt": [function, "Arn"]}
    permissions = resources("AWS::Lambda::Permission")
    return {name: own for name, own in permissions.items() if own["FunctionName"] == called}


def test_an_event_rule_calls_a_function_that_lets_it_and_no_other_rule_does() -> None:
    rules = resources("AWS::Events::Rule")
    called = {
        (target["Arn"]["Fn::GetAtt"][0], name)
        for name, rule in rules.items()
        for target in rule["Targets"]
    }
    permitted = set()
    for permission in resources("AWS::Lambda::Permission").values():
        if permission["Principal"] == "events.amazonaws.com":
            assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
            (function, _), (rule, _) = (
                permission[end]["Fn::GetAtt"] for end in ("FunctionName", "SourceArn")
            )
            permitted.add((function, rule))
    assert called == permitted


def test_the_key_is_watched_at_the_same_time_every_day_and_when_it_moves() -> None:
    rules = resources("AWS::Events::Rule")
    assert rules["DailyWatchRule"]["ScheduleExpression"] == "cron(0 8 * * ? *)"
    assert rules["KeyMovedRule"]["EventPattern"] == {
        "source": ["aws.secretsmanager"],
        "detail-type": ["Secret Label Updated"],
        "resources": [{"Ref": "SessionKeySecret"}],
        "detail": {"labelUpdated": ["AWSCURRENT"]},
    }
    assert template()["Parameters"]["NoticeHours"]["MinValue"] == 24


def test_only_secrets_manager_for_this_secret_may_call_the_rotation_function() -> None:
    (permission,) = permissions_of("RotateSecretFunction").values()
    assert permission["Principal"] == "secretsmanager.amazonaws.com"
    assert permission["SourceArn"] == {"Ref": "SessionKeySecret"}
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}


def test_only_the_rule_of_findings_may_call_the_function_that_responds() -> None:
    permission = resources("AWS::Lambda::Permission")["EventBridgeMayRespond"]
    assert permission["FunctionName"] == {"Fn::GetAtt": ["RespondToFindingFunction", "Arn"]}
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["GuardDutyRule", "Arn"]}
    (target,) = resources("AWS::Events::Rule")["GuardDutyRule"]["Targets"]
    assert target["Arn"] == permission["FunctionName"]


def test_findings_can_be_switched_off_with_all_that_belongs_to_them() -> None:
    parameter = template()["Parameters"]["GuardDutyFindings"]
    assert parameter["AllowedValues"] == ["on", "off"]
    condition = {"Fn::Equals": [{"Ref": "GuardDutyFindings"}, "on"]}
    assert template()["Conditions"]["RespondsToFindings"] == condition
    switched = {
        name
        for name, resource in template()["Resources"].items()
        if resource.get("Condition") == "RespondsToFindings"
    }
    assert switched == {"GuardDutyRule", "EventBridgeMayRespond", "RespondToFindingFunction"}


@pytest.mark.parametrize("name", list(template()["Parameters"]))
def test_a_parameter_says_what_it_is_for(name: str) -> None:
    assert template()["Parameters"][name]["Description"].endswith((".", ")"))


def test_a_stack_of_mode_external_secrets_without_the_name_of_one_is_refused() -> None:
    rule = template()["Rules"]["ExternalSecretIsNamed"]
    mode, named = template()["Parameters"]["DeliveryMode"], {"Ref": "ExternalSecret"}
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "DeliveryMode"}, "external-secrets"]}
    assert rule["RuleCondition"]["Fn::Equals"][1] in mode["AllowedValues"]
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [named, ""]}]}
    assert assertion["AssertDescription"].endswith(".")
    assert template()["Parameters"]["ExternalSecret"]["Default"] == ""
    assert mode["Default"] == "kubernetes-secret"


def test_a_stack_of_mode_vault_that_lacks_something_is_refused() -> None:
    rule = template()["Rules"]["VaultSecretIsNamed"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "DeliveryMode"}, "vault"]}
    needed = [
        set(re.findall(r'"Ref": "(\w+)"', json.dumps(assertion["Assert"])))
        for assertion in rule["Assertions"]
    ]
    assert needed == [
        {"VaultAddress", "VaultPath"},
        {"VaultAuthentication", "VaultRole"},
        {"VaultAuthentication", "VaultCredentialsSecret"},
    ]
    assert all(one["AssertDescription"].endswith(".") for one in rule["Assertions"])
    for name in ("VaultAddress", "VaultPath", "VaultRole", "VaultCredentialsSecret"):
        assert template()["Parameters"][name]["Default"] == ""


def test_a_stack_that_cannot_log_in_to_redis_is_refused() -> None:
    rules = template()["Rules"]
    for rule, way, needed in (
        ("RedisPasswordIsNamed", "password", {"RedisPasswordSecret"}),
        ("RedisRoleIsUsable", "iam", {"RedisUser", "RedisCacheName", "RedisTls"}),
    ):
        condition = {"Fn::Equals": [{"Ref": "RedisAuthentication"}, way]}
        assert rules[rule]["RuleCondition"] == condition
        assert way in template()["Parameters"]["RedisAuthentication"]["AllowedValues"]
        (assertion,) = rules[rule]["Assertions"]
        assert set(re.findall(r'"Ref": "(\w+)"', json.dumps(assertion["Assert"]))) == needed
        assert assertion["AssertDescription"].endswith(".")


@pytest.mark.parametrize("name", list(template()["Outputs"]))
def test_an_output_says_what_it_is_for(name: str) -> None:
    assert template()["Outputs"][name]["Description"].endswith(".")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_says_what_it_does_and_has_every_limit(function: str) -> None:
    properties = functions()[logical_id(function)]
    assert properties["Description"].endswith(".")
    assert properties["Runtime"] == "python3.13"
    assert properties["Architectures"] == ["arm64"]
    assert 10 < properties["Timeout"] <= 900
    assert properties["MemorySize"] >= 256
    assert properties["LoggingConfig"]["LogGroup"] == {"Ref": "FunctionLogs"}
    assert variables_of(properties)["SECRET_ARN"] == {"Ref": "SessionKeySecret"}


def test_the_layer_is_built_for_the_runtime_of_the_functions() -> None:
    (layer,) = (
        resource
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::LayerVersion"
    )
    shared = template()["Globals"]["Function"]
    assert layer["Properties"]["CompatibleRuntimes"] == [shared["Runtime"]]
    assert layer["Properties"]["CompatibleArchitectures"] == shared["Architectures"]
    assert layer["Metadata"]["BuildMethod"] == "makefile"
    recipe = (ROOT / "layers" / "keyturn" / "Makefile").read_text(encoding="utf-8")
    assert f"--python-version {shared['Runtime'].removeprefix('python')} " in recipe
    assert "aarch64" in recipe
    assert "x86_64" not in recipe


def test_what_must_not_run_twice_at_once_does_not() -> None:
    for function in ("rotate_secret", "respond_to_finding", "purge_sessions"):
        assert functions()[logical_id(function)]["ReservedConcurrentExecutions"] == 1


def test_every_log_is_kept_for_a_chosen_time() -> None:
    logs = resources("AWS::Logs::LogGroup")
    assert logs
    for properties in logs.values():
        assert properties["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def longest_aws_call() -> float:
    """Every try at its slowest, and the pauses between them (botocore: at most 1, 2, 4 ... s)."""
    config: Config = aws.CONFIG
    tries: int = config.retries["total_max_attempts"]
    pauses = sum(2**number for number in range(tries - 1))
    return float(tries * (config.connect_timeout + config.read_timeout) + pauses)


@pytest.mark.parametrize(
    "seconds",
    [
        longest_aws_call(),
        sum(kubernetes.TIMEOUTS),
        http.CONNECT_SECONDS + http.READ_SECONDS,
        redis_connection.TIMEOUT_SECONDS * 2,
        sum(vault_connection.TIMEOUTS),
    ],
    ids=["aws", "kubernetes", "http", "redis", "vault"],
)
def test_a_call_that_hangs_ends_before_the_function_that_makes_it(seconds: float) -> None:
    assert 0 < seconds < min(properties["Timeout"] for properties in functions().values())


@pytest.mark.parametrize(
    ("function", "seconds"),
    [("validate_rotation", READ_SECONDS), ("check_rollout", GLANCE_SECONDS)],
)
def test_reading_logs_leaves_time_for_the_last_of_them(function: str, seconds: float) -> None:
    assert seconds + sum(kubernetes.TIMEOUTS) < functions()[logical_id(function)]["Timeout"]


def test_a_slice_of_the_purge_leaves_time_for_its_last_page_the_last_look_and_the_label() -> None:
    last = 2 * redis_connection.TIMEOUT_SECONDS * 2 + longest_aws_call()
    assert SLICE_SECONDS + last < functions()["PurgeSessionsFunction"]["Timeout"]
