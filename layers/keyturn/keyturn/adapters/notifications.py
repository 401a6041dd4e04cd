"""Tells people through SNS, and other systems through an event on an EventBridge bus."""

import json

from keyturn import errors
from keyturn.adapters import aws
from keyturn.record import Message
from keyturn.settings import NotificationSettings

SOURCE = "keyturn"


class AwsNotifier:
    """Sends a message to the topic and to the bus that are configured, each on its own."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings

    def tell(self, message: Message) -> None:
        """Send to both. Raises NotificationFailed when either did not take it."""
        problems = []
        for send in (self._publish, self._put_event):
            try:
                send(message)
            except errors.KeyturnError as problem:
                problems.append(str(problem))
        if problems:
            raise errors.NotificationFailed(" ".join(problems))

    def _publish(self, message: Message) -> None:
        if not self._settings.topic_arn:
            return
        with aws.translated("sns:Publish", errors.NotificationFailed):
            aws.client("sns").publish(
                TopicArn=self._settings.topic_arn, Subject=message.subject, Message=message.text
            )

    def _put_event(self, message: Message) -> None:
        if not self._settings.event_bus:
            return
        event = {
            "Source": SOURCE,
            "DetailType": message.kind,
            "Detail": json.dumps(message.facts),
            "EventBusName": self._settings.event_bus,
        }
        with aws.translated("events:PutEvents", errors.NotificationFailed):
            answer = aws.client("events").put_events(Entries=[event])
        if answer["FailedEntryCount"]:
            raise errors.NotificationFailed(
                f"The bus {self._settings.event_bus} did not take the event."
            )
