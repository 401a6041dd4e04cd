"""The secret and its KMS key: who may do what, judged by the policies themselves."""

from typing import Any

import pytest

from tests.every_case import every_case
from tests.policies import Call, Found, allows, denies, speaks_of, statements
from tests.project import ACCOUNT, of_type, stack, template
from tests.template_parameters import EXISTING

SECRET = "SessionKeySecret"
KEYS = "aws:TagKeys"
OPERATOR = "arn:aws:iam::123456789012:role/external-secrets"
ANA = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/break-glass_0123"
ADMINISTRATOR = "arn:aws:iam::123456789012:role/administrator"
ROOT = "arn:aws:iam::123456789012:root"
PARAMETERS = {"ConsumerRoles": OPERATOR, "BreakGlassPrincipals": ANA.replace("_0123", "_*")}
ROTATE = "RotateSecretFunctionRole.Arn"
DELIVER = "DeliverKeyFunctionRole.Arn"
RESTORE = "RestorePreviousKeyFunctionRole.Arn"
RESPOND = "RespondToFindingFunctionRole.Arn"
WATCH = "WatchKeyFunctionRole.Arn"
EVERYBODY = {ROTATE, DELIVER, RESTORE, RESPOND, WATCH, OPERATOR, ANA, ADMINISTRATOR, ROOT}
MAY = {
    "GetSecretValue": {ROTATE, DELIVER, OPERATOR, ANA},
    "PutSecretValue": {ROTATE, ANA},
    "UpdateSecret": {ROTATE, ANA},
    "DeleteSecret": {ROTATE, ANA},
    "ReplicateSecretToRegions": {ROTATE, ANA},
    "UpdateSecretVersionStage": {ROTATE, RESTORE, DELIVER, RESPOND, ANA},
    # Whoever may administer the secret can always mend the policy.
    "PutResourcePolicy": EVERYBODY,
    "DeleteResourcePolicy": EVERYBODY,
    "DescribeSecret": EVERYBODY,
    "RotateSecret": EVERYBODY,
}
VIA = "{}.eu-central-1.amazonaws.com"
ARN = ACCOUNT.format(service="secretsmanager", name="secret:keyturn-session-key-AbCdEf")
OTHER_ARN = ACCOUNT.format(service="secretsmanager", name="secret:payments-AbCdEf")
TOPIC = ACCOUNT.format(service="sns", name="keyturn-RotationTopic-1A2B")
LOGS = ACCOUNT.format(service="logs", name="log-group:/keyturn/keyturn/functions")


def policy(**parameters: str) -> dict[str, Any]:
    (made,) = of_type("AWS::SecretsManager::ResourcePolicy", stack(**parameters)).values()
    return made


def asked(principal: str, action: str, **context: Found) -> Call:
    known = {
        "aws:PrincipalArn": principal,
        "aws:PrincipalIsAWSService": "false",
        "aws:SecureTransport": "true",
    }
    return Call(f"secretsmanager:{action}", SECRET, {**known, **context})


@every_case("action", list(MAY))
def test_the_policy_of_the_secret_lets_those_do_it_who_have_to(action: str) -> None:
    given = statements(policy(**PARAMETERS)["ResourcePolicy"])
    free = {one for one in EVERYBODY if not denies(given, asked(one, action))}
    assert free == MAY[action]


def test_the_policy_denies_and_allows_nothing() -> None:
    made = policy(**PARAMETERS)
    assert made["BlockPublicPolicy"] is True
    for statement in statements(made["ResourcePolicy"]):
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Resource"] == SECRET
        assert set(statement["Condition"]) <= {"Bool", "ArnNotLike", "ForAnyValue:StringLike"}


EXPOSED, FOUND = f"keyturn:exposed:{'0' * 36}", f"keyturn:finding:{'0' * 36}"


@every_case("action", ["TagResource", "UntagResource"])
@every_case("tags", [(EXPOSED,), (FOUND,), ("team", EXPOSED), ("keyturn:later",)])
def test_only_the_rotation_keeps_marks(action: str, tags: tuple[str, ...]) -> None:
    given = statements(policy(**PARAMETERS)["ResourcePolicy"])
    free = {one for one in EVERYBODY if not denies(given, asked(one, action, **{KEYS: tags}))}
    assert free == {DELIVER, RESPOND, ANA}


@every_case("action", ["TagResource", "UntagResource"])
@every_case("tags", [("team",), ("team", "stage"), ("Keyturn:exposed:1",), ()])
def test_other_tags_are_anybodys(action: str, tags: tuple[str, ...]) -> None:
    given = statements(policy(**PARAMETERS)["ResourcePolicy"])
    assert not any(denies(given, asked(one, action, **{KEYS: tags})) for one in EVERYBODY)


@every_case(
    ("role", "tags", "may"),
    [
        ("DeliverKeyFunctionRole", (EXPOSED,), True),
        ("DeliverKeyFunctionRole", (EXPOSED, EXPOSED + "1"), True),
        ("DeliverKeyFunctionRole", (FOUND,), False),
        ("DeliverKeyFunctionRole", (EXPOSED, "team"), False),
        ("RespondToFindingFunctionRole", (EXPOSED,), True),
        ("RespondToFindingFunctionRole", (FOUND, EXPOSED), True),
        ("RespondToFindingFunctionRole", (FOUND, "team"), False),
        ("RespondToFindingFunctionRole", None, False),
        ("DeliverKeyFunctionRole", None, False),
        ("RotateSecretFunctionRole", (EXPOSED,), False),
        ("WatchKeyFunctionRole", (EXPOSED,), False),
    ],
)
@every_case("action", ["TagResource", "UntagResource"])
def test_a_role_writes_and_removes_its_own_tags_alone(
    action: str, role: str, tags: tuple[str, ...] | None, may: bool
) -> None:
    (own,) = (
        one["PolicyDocument"]
        for one in stack()[role]["Properties"]["Policies"]
        if one["PolicyName"] == "ItsOwnCalls"
    )
    context = {} if tags is None else {KEYS: tags}
    assert allows(statements(own), asked(RESPOND, action, **context)) is may


def test_without_consumers_and_break_glass_only_the_rotation_reads_and_writes() -> None:
    made = policy()["ResourcePolicy"]
    named = [
        set(one["Condition"]["ArnNotLike"]["aws:PrincipalArn"])
        for one in statements(made)
        if "ArnNotLike" in one["Condition"]
    ]
    assert named == [
        {ROTATE},
        {ROTATE, RESTORE, DELIVER, RESPOND},
        {DELIVER, RESPOND},
        {ROTATE, DELIVER},
    ]
    without = policy(GuardDutyFindings="false")["ResourcePolicy"]
    assert "RespondToFinding" not in str(without)


def test_secrets_managers_own_calls_are_not_denied() -> None:
    given = statements(policy()["ResourcePolicy"])
    service = {"aws:PrincipalIsAWSService": "true"}
    for action in MAY:
        assert not denies(given, asked("", action, **service))


def test_nothing_goes_without_tls() -> None:
    given = statements(policy(**PARAMETERS)["ResourcePolicy"])
    for action in MAY:
        assert denies(given, asked(ROTATE, action, **{"aws:SecureTransport": "false"}))


def test_an_update_of_the_stack_logs_nobody_out() -> None:
    (schedule,) = of_type("AWS::SecretsManager::RotationSchedule", stack()).values()
    assert schedule["RotateImmediatelyOnUpdate"] is False


@pytest.mark.parametrize("resource", ["SessionKeySecret", "KmsKey"])
def test_what_cannot_be_made_again_outlives_the_stack(resource: str) -> None:
    made = template()["Resources"][resource]
    # A first deployment that fails leaves nothing behind: a second one needs the secret's name.
    assert made["DeletionPolicy"] == "RetainExceptOnCreate"
    assert made["UpdateReplacePolicy"] == "Retain"


def test_the_secret_is_encrypted_with_the_stacks_own_key_which_rotates() -> None:
    secret = of_type("AWS::SecretsManager::Secret", stack())["SessionKeySecret"]
    assert secret["KmsKeyId"] == "KmsKey.Arn"
    (key,) = of_type("AWS::KMS::Key", stack()).values()
    assert key["EnableKeyRotation"] is True
    assert of_type("AWS::KMS::Key", stack(**EXISTING))  # for the messages and the logs


def key_policy() -> list[Any]:
    (key,) = of_type("AWS::KMS::Key", stack()).values()
    return list(statements(key["KeyPolicy"]))


def users(action: str, **context: str) -> list[str]:
    """The statements of the key's policy that let it be used so."""
    call = Call(f"kms:{action}", "KmsKey.Arn", {"kms:CallerAccount": "123456789012", **context})
    return [one["Sid"] for one in key_policy() if speaks_of(one, call)]


@every_case(
    ("context", "by"),
    [
        ({}, []),
        ({"kms:ViaService": VIA.format("secretsmanager")}, []),
        ({"kms:EncryptionContext:SecretARN": ARN}, []),
        (
            {"kms:ViaService": VIA.format("secretsmanager"),
             "kms:EncryptionContext:SecretARN": ARN},
            ["TheSecretThroughSecretsManager"],
        ),
        (
            {"kms:ViaService": VIA.format("secretsmanager"),
             "kms:EncryptionContext:SecretARN": "RequestToValidateKeyAccess"},
            ["TheSecretThroughSecretsManager"],
        ),
        (
            {"kms:ViaService": VIA.format("secretsmanager"),
             "kms:EncryptionContext:SecretARN": OTHER_ARN},
            [],
        ),
        (
            {"kms:ViaService": VIA.format("secretsmanager"),
             "kms:EncryptionContext:SecretARN": ARN,
             "kms:CallerAccount": "210987654321"},
            [],
        ),
        (
            {"kms:ViaService": VIA.format("sns"),
             "kms:EncryptionContext:aws:sns:topicArn": TOPIC},
            ["MessagesThroughTheTopic"],
        ),
        (
            {"aws:SourceAccount": "123456789012",
             "aws:SourceArn": ACCOUNT.format(service="cloudwatch", name="alarm:old-key")},
            ["AlarmsThroughTheTopic"],
        ),
        ({"aws:SourceAccount": "210987654321"}, []),
        ({"kms:EncryptionContext:aws:logs:arn": LOGS}, ["Logs"]),
        ({"kms:EncryptionContext:aws:logs:arn": f"{LOGS}-of-others"}, []),
    ],

)  # fmt: skip
def test_the_key_works_through_its_services_and_for_its_resources_alone(
    context: dict[str, str], by: list[str]
) -> None:
    assert users("Decrypt", **context) == by
    assert users("GenerateDataKey", **context) == by


def test_the_account_administers_the_key_and_so_cannot_lock_itself_out() -> None:
    for action in ("PutKeyPolicy", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"):
        assert users(action) == ["Administration"]
    for statement in key_policy():
        if statement["Sid"] in {"Administration", "TheSecretThroughSecretsManager"}:
            assert statement["Principal"] == {"AWS": ROOT}
        assert statement["Principal"] != "*"
        if statement["Sid"] == "Administration":
            assert not any("*" in action for action in statement["Action"])
