"""Creates secrets, their rotation schedules and their resource policies."""

from local.deployment.errors import DeploymentError
from local.deployment.stack import Created, Properties, Stack, is_true, policy_document, present


def create_secret(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SecretsManager::Secret`."""
    if "GenerateSecretString" in properties:
        raise DeploymentError("GenerateSecretString is not done locally")
    answer = stack.cloud.client("secretsmanager").create_secret(
        Name=properties.get("Name", stack.name_of(logical_id)),
        **present(
            SecretString=properties.get("SecretString"),
            Description=properties.get("Description"),
            KmsKeyId=properties.get("KmsKeyId"),
            Tags=properties.get("Tags"),
        ),
    )
    return Created(answer["ARN"], {"Id": answer["ARN"]})


def create_rotation_schedule(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SecretsManager::RotationSchedule`, which rotates at once unless told not.

    A secret has one schedule: one that it has already is refused.
    """
    if "HostedRotationLambda" in properties:
        raise DeploymentError("a HostedRotationLambda cannot be made locally")
    client = stack.cloud.client("secretsmanager")
    if client.describe_secret(SecretId=properties["SecretId"]).get("RotationEnabled"):
        raise DeploymentError(f"{properties['SecretId']} has a rotation schedule already")
    rules = properties.get("RotationRules", {})
    client.rotate_secret(
        SecretId=properties["SecretId"],
        RotateImmediately=is_true(properties.get("RotateImmediatelyOnUpdate", True)),
        **present(RotationLambdaARN=properties.get("RotationLambdaARN")),
        **({"RotationRules": rules} if rules else {}),
    )
    return Created(properties["SecretId"])


def create_resource_policy(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SecretsManager::ResourcePolicy`.

    A policy that the secret has already must be removed first (CloudFormation Template Reference).
    """
    client = stack.cloud.client("secretsmanager")
    if "ResourcePolicy" in client.get_resource_policy(SecretId=properties["SecretId"]):
        raise DeploymentError(f"{properties['SecretId']} has a resource policy already")
    client.put_resource_policy(
        SecretId=properties["SecretId"],
        ResourcePolicy=policy_document(properties["ResourcePolicy"]),
        BlockPublicPolicy=is_true(properties.get("BlockPublicPolicy", False)),
    )
    return Created(properties["SecretId"])
