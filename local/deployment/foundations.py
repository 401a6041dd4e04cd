"""Creates what other resources stand on: roles, keys and log groups."""

import json

from local.deployment.stack import Created, Properties, Stack, is_true, policy_document, present


def create_role(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::IAM::Role` with its inline policies.

    AWS's managed policies do not exist locally; the deployment keeps their names among the
    resource's properties.
    """
    name = properties.get("RoleName", stack.name_of(logical_id))
    client = stack.cloud.client("iam")
    role = client.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
        **present(PermissionsBoundary=properties.get("PermissionsBoundary")),
    )["Role"]
    for policy in properties.get("Policies", []):
        client.put_role_policy(
            RoleName=name,
            PolicyName=policy["PolicyName"],
            PolicyDocument=policy_document(policy["PolicyDocument"]),
        )
    return Created(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def create_key(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::KMS::Key`."""
    client = stack.cloud.client("kms")
    policy = properties.get("KeyPolicy")
    key = client.create_key(
        **present(
            Policy=None if policy is None else policy_document(policy),
            Description=properties.get("Description"),
        )
    )["KeyMetadata"]
    if is_true(properties.get("EnableKeyRotation", False)):
        client.enable_key_rotation(KeyId=key["KeyId"])
    return Created(key["KeyId"], {"Arn": key["Arn"], "KeyId": key["KeyId"]})


def create_key_alias(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::KMS::Alias`."""
    stack.cloud.client("kms").create_alias(
        AliasName=properties["AliasName"], TargetKeyId=properties["TargetKeyId"]
    )
    return Created(properties["AliasName"])


def create_log_group(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::Logs::LogGroup`."""
    name = properties.get("LogGroupName", stack.name_of(logical_id))
    client = stack.cloud.client("logs")
    client.create_log_group(logGroupName=name, **present(kmsKeyId=properties.get("KmsKeyId")))
    if "RetentionInDays" in properties:
        days = int(properties["RetentionInDays"])
        client.put_retention_policy(logGroupName=name, retentionInDays=days)
    return Created(name, {"Arn": stack.arn("logs", f"log-group:{name}:*")})
