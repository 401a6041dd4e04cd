"""`keyturn.channels`: everyone who can be told is told, and the result says who was."""

import pytest

from keyturn import channels
from keyturn.channels import Message
from tests.fakes import FakeChannel

MESSAGE = Message(
    kind="Kind",
    subject="Subject",
    says="It is so.",
    fields={"When": "now", "Impact": "none"},
    todo="Run:",
    facts={},
    command="do --it",
)


def test_a_message_is_told_once_on_every_channel() -> None:
    told = [FakeChannel(), FakeChannel(name="slack")]
    assert channels.tell(told, MESSAGE) == {"topic": "told", "slack": "told"}
    assert [channel.told for channel in told] == [[MESSAGE], [MESSAGE]]


def test_a_channel_that_fails_keeps_no_other_from_being_told() -> None:
    down, last = FakeChannel(down=True), FakeChannel(name="bus")
    became = channels.tell([down, last], MESSAGE)
    assert became == {
        "topic": "NotificationFailed: the topic did not take it",
        "bus": "told",
    }
    assert last.told == [MESSAGE]


def test_a_message_that_nobody_is_to_hear_is_told_to_nobody() -> None:
    assert channels.tell([], MESSAGE) == {}


def test_a_defect_while_telling_is_not_taken_for_a_message_that_nobody_takes() -> None:
    class Defective(FakeChannel):
        def send(self, message: Message) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        channels.tell([Defective()], MESSAGE)


def test_a_message_reads_as_an_e_mail() -> None:
    assert MESSAGE.text == ("It is so.\n\nWhen:     now\nImpact:   none\n\nRun:\n\n  do --it")
