"""Sends messages to an SNS topic, and events to an EventBridge bus."""

import json

from keyturn import errors
from keyturn.adapters.aws import client
from keyturn.reporting.notifications import Message

SOURCE = "keyturn"
SECONDS = 8.0


class SnsTopic:
    """The SNS topic that people subscribe to."""

    name = "topic"

    def __init__(self, arn: str) -> None:
        self._arn = arn
        self._client = client.client("sns", SECONDS)

    def send(self, message: Message) -> None:
        """Publish the message as text."""
        with client.translate_errors("sns:Publish", errors.NotificationFailed):
            self._client.publish(TopicArn=self._arn, Subject=message.subject, Message=message.text)

    def check_ready(self) -> None:
        """Read the topic's attributes."""
        with client.translate_errors("sns:GetTopicAttributes", errors.NotificationFailed):
            self._client.get_topic_attributes(TopicArn=self._arn)


class EventBridgeBus:
    """The bus for other systems; it gets the facts and no prose."""

    name = "bus"

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._client = client.client("events", SECONDS)

    def send(self, message: Message) -> None:
        """Put an event whose detail type is the message's kind."""
        event = {
            "Source": SOURCE,
            "DetailType": message.kind,
            "Detail": json.dumps(message.facts),
            "EventBusName": self._bus,
        }
        with client.translate_errors("events:PutEvents", errors.NotificationFailed):
            answer = self._client.put_events(Entries=[event])
        if answer["FailedEntryCount"]:
            raise errors.NotificationFailed(f"The bus {self._bus} did not accept the event.")

    def check_ready(self) -> None:
        """Describe the bus."""
        with client.translate_errors("events:DescribeEventBus", errors.NotificationFailed):
            self._client.describe_event_bus(Name=self._bus)
