"""Which calls a running execution has made."""

import json
from typing import Any

import pytest

from keyturn.run.caller import HistoryEvent, history_event, is_execution_of, made_call
from keyturn.run.run import Run
from tests.conftest import ARN, NEW
from tests.every_case import every_case

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:keyturn-purge"
PAYLOAD = {"rotation": {"rotationId": NEW}, "n": 1.5}

ENTERED = HistoryEvent(2, 1, "TaskStateEntered")
SCHEDULED = HistoryEvent(3, 2, "LambdaFunctionScheduled", FUNCTION, PAYLOAD)
STARTED = HistoryEvent(4, 3, "LambdaFunctionStarted")
CALLED = [ENTERED, SCHEDULED, STARTED]


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("seen", [2, 3], ids=["scheduled", "started"])
def test_a_call_that_is_under_way_was_made(order: int, seen: int) -> None:
    assert made_call(CALLED[:seen][::order], FUNCTION, PAYLOAD)


@pytest.mark.parametrize(
    ("function", "payload"),
    [(FUNCTION + "-other", PAYLOAD), (FUNCTION, {**PAYLOAD, "n": 2}), (FUNCTION, None)],
)
def test_another_call_was_not_made(function: str, payload: Any) -> None:
    assert not made_call(CALLED, function, payload)
    assert not made_call([], function, payload)


@pytest.mark.parametrize("kind", ["Succeeded", "Failed", "TimedOut"])
def test_a_call_that_is_over_cannot_be_made_again(kind: str) -> None:
    over = [*CALLED, HistoryEvent(5, 4, f"LambdaFunction{kind}")]
    assert not made_call(over, FUNCTION, PAYLOAD)
    retried = HistoryEvent(6, 5, "LambdaFunctionScheduled", FUNCTION, PAYLOAD)
    assert made_call([*over, retried], FUNCTION, PAYLOAD)


def test_the_end_of_another_iterations_call_is_not_this_ones() -> None:
    other = [
        HistoryEvent(5, 2, "LambdaFunctionScheduled", FUNCTION, {"service": "other"}),
        HistoryEvent(6, 5, "LambdaFunctionStarted"),
        HistoryEvent(7, 6, "LambdaFunctionSucceeded"),
    ]
    assert made_call([*CALLED, *other], FUNCTION, PAYLOAD)


@pytest.mark.parametrize("kind", ["Succeeded", "Failed", "TimedOut", "Aborted"])
def test_an_execution_that_is_over_makes_no_call(kind: str) -> None:
    ended = HistoryEvent(9, 4, f"Execution{kind}")
    assert not made_call([*CALLED, ended], FUNCTION, PAYLOAD)


def test_a_call_that_lambda_queues_is_made_though_the_execution_went_on() -> None:
    queued = HistoryEvent(3, 2, "TaskScheduled", FUNCTION, PAYLOAD)
    on = [HistoryEvent(4, 3, "TaskStarted"), HistoryEvent(5, 4, "TaskSucceeded")]
    assert made_call([queued, *on], FUNCTION, PAYLOAD)


def test_an_event_is_read_as_the_api_shows_it() -> None:
    scheduled = {
        "id": 3,
        "previousEventId": 2,
        "type": "LambdaFunctionScheduled",
        "lambdaFunctionScheduledEventDetails": {
            "resource": FUNCTION,
            "input": json.dumps(PAYLOAD),
        },
    }
    assert history_event(scheduled) == SCHEDULED
    given = {"FunctionName": FUNCTION, "InvocationType": "Event", "Payload": PAYLOAD}
    queued = {
        "id": 3,
        "previousEventId": 2,
        "type": "TaskScheduled",
        "taskScheduledEventDetails": {"parameters": json.dumps(given)},
    }
    assert history_event(queued) == HistoryEvent(3, 2, "TaskScheduled", FUNCTION, PAYLOAD)
    assert history_event({"id": 1, "type": "ExecutionStarted"}).function == ""


@every_case(
    ("name", "own"),
    [
        (f"rot-{NEW}", True),
        (f"rot-{NEW}_2", True),
        (f"rot-{NEW}-2", False),
        (f"rot-{NEW}-1732449600", True),
        (f"rot-{NEW}-", False),
        (f"rot-{NEW}-17324496001", False),
        (f"rot-{NEW}x", False),
        ("rot-", False),
    ],
)
def test_the_executions_of_a_run_have_its_name(name: str, own: bool) -> None:
    assert is_execution_of(Run(NEW, ARN, "scheduled"), name) is own
