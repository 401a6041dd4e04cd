"""Creates what other resources stand on: roles, keys, log groups and buckets."""

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
        **present(
            Path=properties.get("Path"),
            PermissionsBoundary=properties.get("PermissionsBoundary"),
        ),
    )["Role"]
    for policy in properties.get("Policies", []):
        _put_policy(client, name, policy)
    return Created(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def create_policy(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::IAM::Policy` in each of its roles."""
    for role in properties.get("Roles", []):
        _put_policy(stack.cloud.client("iam"), role, properties)
    return Created(stack.name_of(logical_id))


def create_managed_policy(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::IAM::ManagedPolicy` and attach it to its roles."""
    client = stack.cloud.client("iam")
    arn = client.create_policy(
        PolicyName=properties.get("ManagedPolicyName", stack.name_of(logical_id)),
        PolicyDocument=policy_document(properties["PolicyDocument"]),
    )["Policy"]["Arn"]
    for role in properties.get("Roles", []):
        client.attach_role_policy(RoleName=role, PolicyArn=arn)
    return Created(arn, {"PolicyArn": arn})


def create_key(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::KMS::Key`."""
    client = stack.cloud.client("kms")
    policy = properties.get("KeyPolicy")
    key = client.create_key(
        **present(
            Policy=None if policy is None else policy_document(policy),
            Description=properties.get("Description"),
            KeyUsage=properties.get("KeyUsage"),
            KeySpec=properties.get("KeySpec"),
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


def create_bucket(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::S3::Bucket`, with versioning and object lock where the template asks."""
    region = stack.cloud.region
    default = f"{stack.name_of(logical_id)}-{stack.cloud.account}".lower()
    name = properties.get("BucketName", default)
    client = stack.cloud.client("s3")
    elsewhere = None if region == "us-east-1" else {"LocationConstraint": region}
    client.create_bucket(
        Bucket=name,
        ObjectLockEnabledForBucket=is_true(properties.get("ObjectLockEnabled", False)),
        **present(CreateBucketConfiguration=elsewhere),
    )
    if status := properties.get("VersioningConfiguration", {}).get("Status"):
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
    domain = {"DomainName": f"{name}.s3.amazonaws.com"}
    return Created(name, {"Arn": f"arn:aws:s3:::{name}", **domain})


def create_bucket_policy(_: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::S3::BucketPolicy`."""
    stack.cloud.client("s3").put_bucket_policy(
        Bucket=properties["Bucket"], Policy=policy_document(properties["PolicyDocument"])
    )
    return Created(properties["Bucket"])


def _put_policy(client: object, role: str, policy: Properties) -> None:
    client.put_role_policy(  # type: ignore[attr-defined]  # clients are made at run time
        RoleName=role,
        PolicyName=policy["PolicyName"],
        PolicyDocument=policy_document(policy["PolicyDocument"]),
    )
