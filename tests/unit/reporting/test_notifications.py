"""Everyone who can be told is told, and the result says who was."""

import threading
from dataclasses import replace

import pytest

from keyturn import errors
from keyturn.reporting.notifications import Message, Notifications
from tests.fakes import FakeChannel, telling

PATIENCE_SECONDS = 10
MESSAGE = Message(
    kind="Kind",
    subject="Subject",
    summary="It is so.",
    fields={"When": "now", "Impact": "none"},
    next_steps="Run:",
    facts={},
    command="do --it",
)
STACK = "keyturn in account 123456789012, eu-central-1"
PLACED = replace(MESSAGE, fields={**MESSAGE.fields, "Stack": STACK})


def test_a_message_is_told_once_on_every_channel_and_says_of_which_stack_it_is() -> None:
    told = [FakeChannel(), FakeChannel(name="slack")]
    assert telling(*told).notify(MESSAGE) == {"topic": "told", "slack": "told"}
    assert [channel.told for channel in told] == [[PLACED], [PLACED]]
    assert f"Stack:    {STACK}\n" in PLACED.text


def test_a_channel_that_fails_keeps_no_other_from_being_told() -> None:
    down, last = FakeChannel(down=True), FakeChannel(name="bus")
    became = telling(down, last).notify(MESSAGE)
    assert became == {
        "topic": "NotificationFailed: the topic did not take it",
        "bus": "told",
    }
    assert last.told == [PLACED]


def test_all_channels_are_told_at_the_same_time() -> None:
    """One that waits for the other to be told would wait for ever if they came in turn."""
    met = threading.Barrier(2)

    class Waiting(FakeChannel):
        def send(self, message: Message) -> None:
            met.wait(PATIENCE_SECONDS)

    channels = Waiting(), Waiting(name="slack")
    assert telling(*channels).notify(MESSAGE) == {"topic": "told", "slack": "told"}


def test_one_channel_of_several_that_is_down_is_a_note_and_stops_no_rotation() -> None:
    down, up = FakeChannel(down=True, name="slack"), FakeChannel()
    assert telling(up).check_ready() is None
    note = "Not every channel can report a rotation. slack: the slack did not take it"
    assert telling(down, up).check_ready() == note
    assert up.told == []


def test_channels_that_are_all_down_would_log_users_out_unannounced() -> None:
    down = FakeChannel(down=True), FakeChannel(down=True, name="bus")
    with pytest.raises(errors.NotificationFailed, match="No channel can report") as told:
        telling(*down).check_ready()
    assert "topic: the topic did not" in str(told.value)
    assert "bus: the bus did not" in str(told.value)


def test_a_stack_without_channels_needs_none() -> None:
    assert telling().check_ready() is None


def test_a_message_that_nobody_is_to_hear_is_told_to_nobody() -> None:
    assert telling().notify(MESSAGE) == {}


def test_a_defect_while_telling_is_not_taken_for_a_message_that_nobody_takes() -> None:
    class Defective(FakeChannel):
        def send(self, message: Message) -> None:
            raise ZeroDivisionError

    last = FakeChannel(name="bus")
    with pytest.raises(ZeroDivisionError):
        Notifications([Defective(), last], STACK).notify(MESSAGE)
    assert last.told == [PLACED]


def test_a_message_reads_as_an_e_mail() -> None:
    assert MESSAGE.text == ("It is so.\n\nWhen:     now\nImpact:   none\n\nRun:\n\n  do --it")
