"""What is asked, and what the answers mean."""

import json

import pytest

from keyturn import errors
from keyturn.rotation import preflight
from keyturn.rotation.preflight import PREFLIGHT_SECONDS, Check, Problem, find_problems
from keyturn.run.ledger import Failure
from tests.fakes import FakeStopwatch


def failing(error: errors.KeyturnError) -> Check:
    def check() -> None:
        raise error

    return check


def test_all_problems_are_found_and_a_text_is_a_note() -> None:
    checks = [failing(errors.ServicePaused("paused")), lambda: "restarts by itself", lambda: None]
    problems, notes = find_problems([*checks, failing(errors.KeyInvalid("no"))], FakeStopwatch())
    assert problems == [Problem("ServicePaused", "paused"), Problem("KeyInvalid", "no")]
    assert notes == ["restarts by itself"]


def test_an_environment_that_does_not_answer_is_not_waited_for() -> None:
    watch = FakeStopwatch()

    def slow() -> None:
        watch.seconds += PREFLIGHT_SECONDS * 0.6
        raise errors.ClusterUnavailable("silent")

    silent = Problem("ClusterUnavailable", "silent")
    problems, _ = find_problems([slow, slow, slow, slow], watch)
    assert problems[:2] == [silent, silent]
    assert problems[2].message.startswith("2 of 4 checks were not run")


def test_no_defect_of_a_check_stops_the_others_or_shows_a_value() -> None:
    def broken() -> None:
        raise ValueError("a value")

    problems, _ = find_problems([broken, failing(errors.ServicePaused("paused"))], FakeStopwatch())
    assert [problem.error for problem in problems] == ["UnexpectedFault", "ServicePaused"]
    assert "a value" not in str(problems)


def test_an_answer_is_plain_and_names_its_function() -> None:
    answer = preflight.answer_preflight("deliver_key", [failing(errors.DeliveryRefused("no"))])
    assert json.loads(json.dumps(answer)) == answer
    assert preflight.problems_in([answer]) == [Problem("DeliveryRefused", "deliver_key: no")]


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        ({"Error": "States.Timeout", "Cause": ""}, "PreflightUnanswered", "did not answer"),
        ({"Error": "Lambda.Unknown", "Cause": "x"}, "PreflightUnanswered", "(Lambda.Unknown)"),
        (
            {"Error": "SettingsInvalid", "Cause": json.dumps({"errorMessage": "PORT is missing"})},
            "SettingsInvalid",
            "restart_service: PORT is missing",
        ),
        ({"Error": "AccessDenied", "Cause": "not JSON"}, "AccessDenied", "see its log"),
        ({"Error": "annotations", "Cause": ""}, "PreflightUnanswered", "(annotations)"),
    ],
)
def test_a_function_that_fails_is_a_problem_too(failure: Failure, error: str, message: str) -> None:
    (problem,) = preflight.problems_in([{"function": "restart_service", "failure": failure}])
    assert problem.error == error
    assert message in problem.message


def test_no_answer_is_a_problem() -> None:
    nothing: list[preflight.Answers | None] = [None, []]
    for answers in nothing:
        (problem,) = preflight.problems_in(answers)
        assert problem.error == "PreflightUnanswered"


def test_the_first_problem_is_raised_with_the_others_in_its_message() -> None:
    preflight.raise_first_problem([])
    found = [Problem("ServiceNotFound", "no web"), Problem("SessionStoreUnavailable", "down")]
    with pytest.raises(errors.ServiceNotFound, match="Also: SessionStoreUnavailable: down"):
        preflight.raise_first_problem(found)
    with pytest.raises(errors.PreflightUnanswered):
        preflight.raise_first_problem([Problem("NoErrorOfKeyturn", "?")])
