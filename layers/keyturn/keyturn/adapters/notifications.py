"""Tells people through an SNS topic, and other systems through an event on an EventBridge bus."""

import json
from dataclasses import dataclass

from keyturn import errors
from keyturn.adapters import aws
from keyturn.channels import Message

SOURCE = "keyturn"


@dataclass(frozen=True)
class Topic:
    """The SNS topic that people subscribe to."""

    arn: str
    name: str = "topic"

    def send(self, message: Message) -> None:
        """Publish the message as text."""
        with aws.translated("sns:Publish", errors.NotificationFailed):
            aws.client("sns").publish(
                TopicArn=self.arn, Subject=message.subject, Message=message.text
            )


@dataclass(frozen=True)
class EventBus:
    """The bus on which other systems listen; it gets the facts and no prose."""

    bus: str
    name: str = "bus"

    def send(self, message: Message) -> None:
        """Put an event whose detail type is the message's kind."""
        event = {
            "Source": SOURCE,
            "DetailType": message.kind,
            "Detail": json.dumps(message.facts),
            "EventBusName": self.bus,
        }
        with aws.translated("events:PutEvents", errors.NotificationFailed):
            answer = aws.client("events").put_events(Entries=[event])
        if answer["FailedEntryCount"]:
            raise errors.NotificationFailed(f"The bus {self.bus} did not take the event.")
