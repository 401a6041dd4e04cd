"""The template itself, deployed in the shapes that the end-to-end stack does not have."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keyturn.secret import key
from local.clock import SystemClock
from local.cloud import Cloud
from local.deployment import Deployment, DeploymentError, deploy
from local.functions import Functions
from local.processes import Processes
from local.secrets_manager import SecretsManager
from tests.project import ROOT, parameters
from tests.template_parameters import EVERYTHING

ACCOUNT, REGION = "111122223333", "eu-west-1"  # not those of the end-to-end stack


@pytest.fixture
def functions() -> Iterator[Functions]:
    with Processes() as processes:
        yield Functions(processes, account=ACCOUNT, region=REGION, extra_environment={})


@pytest.fixture
def cloud(functions: Functions) -> Iterator[Cloud]:
    manager = SecretsManager(
        account=ACCOUNT,
        region=REGION,
        clock=SystemClock(),
        invoke=functions.invoke,
        emit=lambda event: front.event_bus.send(event),  # noqa: PLW0108  front comes later
    )
    front = Cloud(functions, manager, account=ACCOUNT, region=REGION)
    yield front
    manager.close()
    functions.close()
    front.close()


def deployed(cloud: Cloud, functions: Functions, **own: str) -> Deployment:
    return deploy(ROOT / "template.yaml", {**parameters(), **own}, cloud, functions)


def secrets(cloud: Cloud) -> list[str]:
    """The secrets of session keys: the one of certificate authorities is told by its name."""
    listed = cloud.client("secretsmanager").list_secrets()["SecretList"]
    assert sum("CertificateAuthorities" in one["Name"] for one in listed) == 1
    return [one["ARN"] for one in listed if "CertificateAuthorities" not in one["Name"]]


def test_an_existing_secret_gets_schedule_and_policy_and_keeps_its_value(
    cloud: Cloud, functions: Functions
) -> None:
    client = cloud.client("secretsmanager")
    value = json.dumps({key.FIELD: key.generate_key().base64, "owner": "platform"})
    existing = client.create_secret(Name="console/session-key", SecretString=value)["ARN"]
    made = deployed(cloud, functions, InitialSessionKey="", ExistingSecretArn=existing)
    assert secrets(cloud) == [existing]
    assert made.outputs["SecretArn"] == existing
    described = client.describe_secret(SecretId=existing)
    rotating = functions.arn(made.functions["RotateSecretFunction"])
    assert described["RotationLambdaARN"] == rotating
    assert described["RotationEnabled"] is True
    policy = json.loads(client.get_resource_policy(SecretId=existing)["ResourcePolicy"])
    assert {one["Resource"] for one in policy["Statement"]} == {existing}
    assert client.get_secret_value(SecretId=existing)["SecretString"] == value
    for name in made.functions.values():
        assert functions.settings(name).environment["SECRET_ARN"] == existing


OF_ANOTHER = {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret",
              "Resource": "*"}  # fmt: skip


def secret_with_a_policy(client: Any) -> str:
    """A secret with a key and somebody else's resource policy; its ARN."""
    value = json.dumps({key.FIELD: key.generate_key().base64})
    existing: str = client.create_secret(Name="console/session-key", SecretString=value)["ARN"]
    document = json.dumps({"Version": "2012-10-17", "Statement": [OF_ANOTHER]})
    client.put_resource_policy(SecretId=existing, ResourcePolicy=document)
    return existing


def test_a_policy_that_exists_already_is_refused_as_cloudformation_does(
    cloud: Cloud, functions: Functions
) -> None:
    """CloudFormation reference, AWS::SecretsManager::ResourcePolicy: it has to be removed first."""
    client = cloud.client("secretsmanager")
    existing = secret_with_a_policy(client)
    with pytest.raises(DeploymentError, match="has a resource policy already"):
        deployed(cloud, functions, InitialSessionKey="", ExistingSecretArn=existing)
    kept = client.get_resource_policy(SecretId=existing)["ResourcePolicy"]
    assert json.loads(kept)["Statement"] == [OF_ANOTHER]


def test_a_schedule_that_exists_already_is_refused(cloud: Cloud, functions: Functions) -> None:
    existing = deployed(cloud, functions, SecretResourcePolicy="false").outputs["SecretArn"]
    client = cloud.client("secretsmanager")
    before = client.describe_secret(SecretId=existing)
    again = {
        "InitialSessionKey": "",
        "ExistingSecretArn": existing,
        "SecretResourcePolicy": "false",
    }
    values = {**parameters(), **again}
    with pytest.raises(DeploymentError, match="has a rotation schedule already"):
        deploy(ROOT / "template.yaml", values, cloud, functions, stack_name="another")
    after = client.describe_secret(SecretId=existing)
    assert after["RotationLambdaARN"] == before["RotationLambdaARN"]


def test_an_unprotected_secret_keeps_the_policy_that_it_has(
    cloud: Cloud, functions: Functions
) -> None:
    client = cloud.client("secretsmanager")
    existing = secret_with_a_policy(client)
    deployed(
        cloud,
        functions,
        InitialSessionKey="",
        ExistingSecretArn=existing,
        SecretResourcePolicy="false",
    )
    kept = client.get_resource_policy(SecretId=existing)["ResourcePolicy"]
    assert json.loads(kept)["Statement"] == [OF_ANOTHER]


def test_a_stack_with_everything_is_made(cloud: Cloud, functions: Functions) -> None:
    made = deployed(cloud, functions, **EVERYTHING)
    (secret,) = secrets(cloud)
    described = cloud.client("secretsmanager").describe_secret(SecretId=secret)
    assert described["Name"] == "keyturn-session-key"
    assert described["KmsKeyId"] == made.outputs["KmsKeyArn"]
    kms = cloud.client("kms")
    assert kms.get_key_rotation_status(KeyId=made.outputs["KmsKeyArn"])["KeyRotationEnabled"]
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert {group["kmsKeyId"] for group in groups} == {made.outputs["KmsKeyArn"]}
    role = cloud.client("iam").get_role(RoleName="keyturn-RotateSecretFunctionRole")["Role"]
    boundary = role["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert boundary == EVERYTHING["PermissionsBoundary"]
    policy = cloud.client("secretsmanager").get_resource_policy(SecretId=secret)["ResourcePolicy"]
    for named in ("ConsumerRoles", "BreakGlassPrincipals"):
        assert EVERYTHING[named] in policy
    queue = functions.settings(made.functions["WatchKeyFunction"]).dead_letter_queue
    assert queue
    assert queue.endswith(":keyturn-UndeliveredEvents")
