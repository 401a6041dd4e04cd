"""Who is told of a rotation: an operator who reads the topic, a system that hears the bus."""

import json
from typing import Any

from local.stack import LocalStack

MESSAGES, EVENTS = "rotation-messages", "rotation-events"
ROTATION_EVENTS = {"source": ["keyturn"]}


class Mailboxes:
    """Queues that keep every message of the topic and every event that Keyturn puts on the bus."""

    def __init__(self, stack: LocalStack) -> None:
        self._sqs, self._sns = stack.cloud.client("sqs"), stack.cloud.client("sns")
        self._queues: dict[str, str] = {}
        self._received: dict[str, list[dict[str, Any]]] = {MESSAGES: [], EVENTS: []}
        self._subscribe(MESSAGES, stack.deployment.outputs["RotationTopicArn"])
        topic = self._sns.create_topic(Name=EVENTS)["TopicArn"]
        self._subscribe(EVENTS, topic)
        bus = stack.cloud.client("events")
        bus.put_rule(Name=EVENTS, EventPattern=json.dumps(ROTATION_EVENTS))
        bus.put_targets(Rule=EVENTS, Targets=[{"Id": "1", "Arn": topic}])

    def messages(self, about: str = "") -> list[dict[str, Any]]:
        """The messages so far whose text holds `about`: 'Subject' and 'Message'."""
        return [mail for mail in self._read(MESSAGES) if about in mail["Message"]]

    def events(self, about: str = "") -> list[dict[str, Any]]:
        """The events so far that hold `about`, in their envelopes."""
        found = [mail["Message"] for mail in self._read(EVENTS)]
        return [json.loads(text) for text in found if about in text]

    def _subscribe(self, name: str, topic: str) -> None:
        attributes = {"VisibilityTimeout": "43200"}
        made = self._sqs.create_queue(QueueName=name, Attributes=attributes)
        self._queues[name] = made["QueueUrl"]
        found = self._sqs.get_queue_attributes(
            QueueUrl=made["QueueUrl"], AttributeNames=["QueueArn"]
        )
        arn = found["Attributes"]["QueueArn"]
        self._sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def _read(self, name: str) -> list[dict[str, Any]]:
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self._queues[name], MaxNumberOfMessages=10, WaitTimeSeconds=0
            )
            if not answer.get("Messages"):
                return self._received[name]
            self._received[name] += [json.loads(mail["Body"]) for mail in answer["Messages"]]
