"""Creates topics, queues and event rules."""

import json
from collections.abc import Mapping
from typing import Any

from local import event_patterns
from local.deployment.errors import DeploymentError
from local.deployment.parameters import text
from local.deployment.stack import Created, Properties, Stack, policy_document, present
from local.events import DELIVERABLE

_QUEUE_ATTRIBUTES = ("MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled")


def create_topic(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SNS::Topic`. Its subscriptions are made by whoever reads its messages."""
    name = properties.get("TopicName", stack.name_of(logical_id))
    attributes = _texts(properties, ("KmsMasterKeyId", "DisplayName"))
    arn = stack.cloud.client("sns").create_topic(Name=name, Attributes=attributes)["TopicArn"]
    if "Subscription" in properties:
        raise DeploymentError("the subscriptions of a topic are not made locally")
    return Created(arn, {"TopicArn": arn, "TopicName": name})


def create_topic_policy(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SNS::TopicPolicy`."""
    for topic in properties["Topics"]:
        stack.cloud.client("sns").set_topic_attributes(
            TopicArn=topic,
            AttributeName="Policy",
            AttributeValue=policy_document(properties["PolicyDocument"]),
        )
    return Created(stack.name_of(logical_id))


def create_queue(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SQS::Queue`."""
    name = properties.get("QueueName", stack.name_of(logical_id))
    url = stack.cloud.client("sqs").create_queue(
        QueueName=name, Attributes=_texts(properties, _QUEUE_ATTRIBUTES)
    )["QueueUrl"]
    return Created(url, {"Arn": stack.arn("sqs", name), "QueueName": name, "QueueUrl": url})


def create_queue_policy(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::SQS::QueuePolicy`."""
    for url in properties["Queues"]:
        stack.cloud.client("sqs").set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": policy_document(properties["PolicyDocument"])}
        )
    return Created(stack.name_of(logical_id))


def create_rule(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::Events::Rule`; a schedule is kept, but nothing fires on it locally."""
    name = properties.get("Name", stack.name_of(logical_id))
    targets = properties.get("Targets", [])
    for target in targets:
        if target["Arn"].split(":")[2] not in DELIVERABLE:
            raise DeploymentError(f"events are not delivered to {target['Arn']} locally")
    pattern = properties.get("EventPattern")
    if pattern is not None:
        event_patterns.check(pattern)
    client = stack.cloud.client("events")
    arn = client.put_rule(
        Name=name,
        **present(
            EventPattern=None if pattern is None else json.dumps(pattern),
            ScheduleExpression=properties.get("ScheduleExpression"),
            State=properties.get("State"),
            Description=properties.get("Description"),
        ),
    )["RuleArn"]
    if targets:
        client.put_targets(Rule=name, Targets=[_target(target) for target in targets])
    return Created(name, {"Arn": arn})


def _target(target: Mapping[str, Any]) -> dict[str, Any]:
    if "RetryPolicy" not in target:
        return dict(target)
    policy = {name: int(value) for name, value in target["RetryPolicy"].items()}
    return {**target, "RetryPolicy": policy}


def _texts(properties: Properties, names: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes that are set, as the text the APIs want."""
    values = {name: properties[name] for name in names if name in properties}
    return {
        name: json.dumps(value) if isinstance(value, dict) else text(value)
        for name, value in values.items()
    }
