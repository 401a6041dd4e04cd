"""Asynchronous invocations: how often a failed one is tried, and what is left of it."""

import json
import threading
from collections.abc import Callable

import pytest

from local import async_invocation
from local.async_invocation import Failure, Patience, TooManyRequests, invoke_until_taken
from local.lambda_invocation import Invocation

PAUSES = (0.0, 0.0)


def invocation(message: str | None = None) -> Invocation:
    payload = json.dumps({"errorMessage": message} if message else {}).encode()
    return Invocation("r-1", "f", "Unhandled" if message else None, payload, "", 1.0, None, 0)


class Function:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers: Invocation | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> Invocation:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def invoke(call: Callable[[], Invocation], patience: Patience = Patience()) -> Failure | None:  # noqa: B008  frozen
    return invoke_until_taken(call, PAUSES, patience, threading.Event())


def test_an_event_that_is_taken_leaves_no_failure() -> None:
    function = Function(invocation("once"), invocation())
    assert invoke(function) is None
    assert function.answers == []


def test_an_event_that_fails_three_times_is_given_up_with_the_last_failure() -> None:
    function = Function(invocation("a"), invocation("b"), invocation("c"), invocation())
    assert invoke(function) == Failure("r-1", 200, "c")
    assert len(function.answers) == 1


def test_an_event_is_tried_as_often_as_the_function_says() -> None:
    function = Function(invocation("a"), invocation())
    assert invoke(function, Patience(attempts=0)) == Failure("r-1", 200, "a")


def test_a_throttled_event_is_tried_until_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_invocation, "THROTTLED_RETRY_SECONDS", 0.0)
    busy = [TooManyRequests("f", "ReservedFunctionConcurrentInvocationLimitExceeded")] * 9
    assert invoke(Function(*busy, invocation())) is None
    monkeypatch.setattr(async_invocation, "THROTTLED_RETRY_SECONDS", 1.0)
    failure = invoke(Function(*busy), Patience(oldest_seconds=0.5))
    assert failure
    assert (failure.code, failure.message) == (429, busy[0].reason)


def test_nothing_is_tried_once_the_stack_is_closed() -> None:
    closed = threading.Event()
    closed.set()
    assert invoke_until_taken(Function(), PAUSES, Patience(), closed) is None
