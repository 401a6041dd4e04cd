"""What was called on a stack, in IAM's words, and the rights that its roles were given.

A call may need more than itself: where a value is encrypted with a customer's key, AWS decrypts it
in the caller's name. What each call implies is from AWS's documentation, named at each.
"""

from collections.abc import Iterator

from local.api_calls import ApiCall
from local.aws import ACCOUNT, REGION
from local.cloud import INTERPRETER_ACCESS_KEY, access_key_of
from local.stack import LocalStack
from tests.policies import Call, Found, Statement, statements

MACHINE = "RotateSessionKey"
# Done by Step Functions itself when it delivers logs; there is no such delivery locally.
BY_THE_PLATFORM = {"logs"}


def called(stack: LocalStack) -> dict[str, set[Call]]:
    """Every distinct call so far and those it implies, by who made it."""
    functions = stack.deployment.functions
    makers = {access_key_of(name): logical_id for logical_id, name in functions.items()}
    makers[INTERPRETER_ACCESS_KEY] = MACHINE
    found: dict[str, set[Call]] = {maker: set() for maker in makers.values()}
    for call in {*stack.cloud.api_calls}:
        if call.access_key_id in makers:
            found[makers[call.access_key_id]].update(_in_iams_words(stack, call))
    return found


def given(stack: LocalStack, maker: str) -> list[Statement]:
    """What the role of a function or of the machine allows its own calls."""
    role = stack.deployment.resources[f"{maker}Role"].properties
    (policy,) = (one for one in role["Policies"] if one["PolicyName"] == "ItsOwnCalls")
    return [
        one
        for one in statements(policy["PolicyDocument"])
        if not {action.partition(":")[0] for action in one["Action"]} <= BY_THE_PLATFORM
    ]


def role_arn(stack: LocalStack, maker: str) -> str:
    """The ARN that `aws:PrincipalArn` shows of a function's calls."""
    arn: str = stack.deployment.resources[maker].properties["Role"]
    return arn


def _in_iams_words(stack: LocalStack, call: ApiCall) -> Iterator[Call]:
    if call.operation == "Invoke":
        yield Call("lambda:InvokeFunction", _function_arn(stack, str(call.resource)))
        return
    if call.operation == "HeadBucket":  # API reference, HeadBucket: permitted by s3:ListBucket
        yield Call("s3:ListBucket", _arn(stack, call))
        return
    context: dict[str, Found] = {}
    if call.label:
        context["secretsmanager:VersionStage"] = call.label
    if call.tags:
        context["aws:TagKeys"] = call.tags
    itself = Call(f"{call.service}:{call.operation}", _arn(stack, call), context)
    yield itself
    yield from _implied(stack, itself)


def _implied(stack: LocalStack, call: Call) -> Iterator[Call]:
    if call.action == "secretsmanager:RotateSecret":
        # API reference, RotateSecret: the caller needs it on the rotation function.
        name = stack.function_name("RotateSecretFunction")
        yield Call("lambda:InvokeFunction", _function_arn(stack, name))
    # "Secret encryption and decryption": when it calls Decrypt and GenerateDataKey.
    if call.action in {"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"}:
        client = stack.cloud.client("secretsmanager")
        key = client.describe_secret(SecretId=call.resource).get("KmsKeyId")
        kinds = ("Decrypt", "GenerateDataKey") if "Put" in call.action else ("Decrypt",)
        if key:
            yield from _on_key(key, kinds, "secretsmanager", "SecretARN", call.resource)
    # "Configuring Amazon SNS encryption": what a publisher needs.
    if call.action == "sns:Publish":
        topic = stack.cloud.client("sns").get_topic_attributes(TopicArn=call.resource)
        if key := topic["Attributes"].get("KmsMasterKeyId"):
            kinds = ("Decrypt", "GenerateDataKey")
            yield from _on_key(key, kinds, "sns", "aws:sns:topicArn", call.resource)


def _on_key(
    key: str, kinds: tuple[str, ...], service: str, context: str, about: str
) -> Iterator[Call]:
    for kind in kinds:
        yield Call(
            f"kms:{kind}",
            key,
            {
                "kms:CallerAccount": ACCOUNT,
                "kms:ViaService": f"{service}.{REGION}.amazonaws.com",
                f"kms:EncryptionContext:{context}": about,
            },
        )


def _arn(stack: LocalStack, call: ApiCall) -> str:
    named = str(call.resource)
    if call.service == "events":
        return f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{named}"
    if call.service == "s3":
        return f"arn:aws:s3:::{named}"
    if call.service == "sqs":
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{named.rpartition('/')[2]}"
    assert named.startswith("arn:"), f"{call} names no resource"
    return named


def _function_arn(stack: LocalStack, name_or_arn: str) -> str:
    return stack.functions.arn(name_or_arn)
