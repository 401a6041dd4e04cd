"""Puts what nobody took into a dead-letter queue, in the shape that Lambda and EventBridge give it.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

from collections.abc import Mapping
from typing import Any

from local.async_invocation import Failure


def send(sqs: Any, url: str, body: str, attributes: Mapping[str, str | int]) -> None:
    """Send a message; `sqs` is a boto3 client, of whoever sends it."""
    sqs.send_message(
        QueueUrl=url,
        MessageBody=body,
        MessageAttributes={
            name: {
                "DataType": "Number" if isinstance(value, int) else "String",
                "StringValue": str(value) or "-",
            }
            for name, value in attributes.items()
        },
    )


def of_function(failure: Failure) -> dict[str, str | int]:
    """The attributes that Lambda gives an event on which a function failed for good."""
    return {
        "RequestID": failure.request_id,
        "ErrorCode": failure.code,
        "ErrorMessage": failure.message,
    }


def of_rule(rule_arn: str, target_arn: str, error: Exception) -> dict[str, str | int]:
    """The attributes that EventBridge gives an event that a target did not take."""
    return {
        "RULE_ARN": rule_arn,
        "TARGET_ARN": target_arn,
        "ERROR_CODE": type(error).__name__,
        "ERROR_MESSAGE": str(error),
    }
