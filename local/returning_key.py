"""An exposed key that comes back: once an emergency is over, Git brings back what it knows.

A GitOps tool writes the old key into the place that pods read, and takes the stamps off their
templates. Nothing of a rotation goes wrong. Then the frequent look of the watch comes due; whether
people were told is looked up where they are told: in a queue that listens to the topic.
"""

import json
from collections.abc import Mapping
from typing import Any

from keyturn.secret import exposure
from local import console
from local.checks import Claim
from local.cluster.client import MERGE
from local.cluster.resources import DEPLOYMENTS
from local.stack import LocalStack

QUEUE = "told-by-the-watch"
SUBJECT = "CRITICAL: an exposed session key is delivered to services"
RULE = "FrequentWatchRule"


def come_back(stack: LocalStack, record: Mapping[str, Any]) -> list[Claim]:
    """Write the old key back, let the watch look, and say what is so; `record` is the run's."""
    listener = _listen(stack)
    stack.place.write(stack.first_key.base64)
    strip(stack)
    old = stack.first_key.fingerprint
    held = stack.delivered_fingerprint()
    stack.let_rule_come_due(RULE)
    told: list[Mapping[str, Any]] = []

    def hears() -> bool:
        told.extend(listener())
        return any(mail["Subject"] == SUBJECT for mail in told)

    stack.wait(hears, "the watch tells of the key that is back")
    (message, *_) = (mail["Message"] for mail in told if mail["Subject"] == SUBJECT)
    marks = exposure.exposed_versions(_tags(stack))
    marked = exposure.find_mark(marks, "", old)
    return [
        Claim(f"GitOps has written the exposed key {old} back", held == old),
        Claim(f"the watch has told people: {SUBJECT}", holds=True),
        Claim("it names the version that is exposed", bool(marked and marked.version in message)),
        Claim("it names the version that is current", record["rotationId"] in message),
        Claim(
            "it gives the command that delivers the current key again",
            "aws stepfunctions start-execution" in message,
        ),
    ]


def strip(stack: LocalStack) -> None:
    """Take every annotation off the pod templates, of which Git knows none."""
    for service in console.REPLICAS:
        spec = stack.cluster.admin.get(DEPLOYMENTS, console.NAMESPACE, service)["spec"]
        stamps = spec["template"]["metadata"].get("annotations") or {}
        removed = {"metadata": {"annotations": dict.fromkeys(stamps)}}
        patch = {"spec": {"template": removed}}
        stack.cluster.admin.patch(
            DEPLOYMENTS, console.NAMESPACE, service, patch, content_type=MERGE
        )


def _tags(stack: LocalStack) -> dict[str, str]:
    client = stack.cloud.client("secretsmanager")
    described = client.describe_secret(SecretId=stack.secret_arn)
    return {tag["Key"]: tag["Value"] for tag in described["Tags"]}


def _listen(stack: LocalStack) -> Any:
    """Subscribe to what people are told; returns what has come since it was asked last."""
    sqs, sns = stack.cloud.client("sqs"), stack.cloud.client("sns")
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    topic = stack.deployment.outputs["RotationTopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])

    def heard() -> list[Mapping[str, Any]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        return [json.loads(mail["Body"]) for mail in found.get("Messages", [])]

    return heard
