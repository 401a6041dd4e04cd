"""The preflight: the questions to the functions of a rotation, and their answers.

A second state machine asks them in parallel. Each answers from its own role and network, and
changes nothing. "preflight": could the function do its part of a rotation now? "drift": is the
delivered key that it can see still the current one?

A "preflight" answer names the checks and the problems, each by the error that the function would
raise; a missing answer is a problem too. Before a scheduled promotion a problem stops the rotation;
in an emergency, and between rotations, problems are reported.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Required, TypedDict

from keyturn import errors
from keyturn.run.ledger import Failure

# A check proves one fact about the environment, changes nothing, and raises if it is false.
Check = Callable[[], object]
Question = Literal["preflight", "drift"]


class FoundProblem(TypedDict):
    """A problem in an answer, by the error that a rotation would raise."""

    error: str
    message: str


class FunctionAnswer(TypedDict, total=False):
    """The answer of one function; `failure` is what the state machine caught of it instead."""

    function: Required[str]
    checks: int
    problems: list[FoundProblem]
    notes: list[str]
    failure: Failure


Answers = Sequence[FunctionAnswer]

# Longer than the state machine takes, and shorter than the function that waits for it may run.
WAIT_SECONDS = 95.0
SHOWN_LETTERS = 500
# The time after which a function starts no further check; its adapter limits the running one.
PREFLIGHT_SECONDS = 20.0


@dataclass(frozen=True)
class Problem:
    """A problem of a check, by the error that a rotation would raise."""

    error: str
    message: str


class Questions(Protocol):
    """Asks the functions."""

    def ask(self, question: Question, seconds: float) -> Answers | None:
        """Ask, and wait for the answers; None where they do not come in time."""

    def start(self, question: Question, name: str) -> None:
        """Ask under a name, and do not wait."""

    def answers_of(self, name: str) -> Answers | None:
        """The answers under that name; None if it is still running, or never ran."""


def find_problems(
    checks: Sequence[Check], clock: Callable[[], float]
) -> tuple[list[Problem], list[str]]:
    """Make every check, so that all problems are known at once; returns problems and notes.

    A text that a passed check returns is a note, which stops nothing. A bug in one check does not
    stop the others, and a check of an environment that does not answer ends in time.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    ends = clock() + PREFLIGHT_SECONDS
    for number, check in enumerate(checks):
        if clock() >= ends:
            left = f"{len(checks) - number} of {len(checks)} checks"
            problems.append(
                Problem(
                    "PreflightUnanswered", f"{left} were not run: the earlier ones took too long."
                )
            )
            break
        try:
            note = check()
        except errors.KeyturnError as problem:
            problems.append(Problem(type(problem).__name__, str(problem)))
        except Exception as fault:  # noqa: BLE001 - its text may quote a value, so it is not shown
            message = f"Unexpected {type(fault).__name__} in a check: a bug in Keyturn."
            problems.append(Problem("UnexpectedFault", message))
        else:
            if isinstance(note, str):
                notes.append(note)
    return problems, notes


def answer_preflight(
    function: str, checks: Sequence[Check], clock: Callable[[], float] = time.monotonic
) -> FunctionAnswer:
    """Make a function's own checks; returns its answer."""
    problems, notes = find_problems(checks, clock)
    return {
        "function": function,
        "checks": len(checks),
        "problems": [{"error": problem.error, "message": problem.message} for problem in problems],
        "notes": list(notes),
    }


def problems_in(answers: Answers | None) -> list[Problem]:
    """The problems that would stop a rotation, in the order of the functions. Pure."""
    if answers is None:
        return [Problem("PreflightUnanswered", "The functions did not answer in time.")]
    if not answers:
        return [Problem("PreflightUnanswered", "The preflight ended without an answer.")]
    return [problem for answer in answers for problem in _problems_of(answer)]


def notes_in(answers: Answers | None) -> list[str]:
    """The functions' notes, which stop nothing. Pure."""
    return [str(note) for answer in answers or () for note in answer.get("notes", ())]


def raise_first_problem(problems: Sequence[Problem]) -> None:
    """Raise the first problem as the error that it names, with the others in its message."""
    if not problems:
        return
    first, *others = problems
    also = "; ".join(f"{other.error}: {other.message}" for other in others)
    kind = error_named(first.error)
    raise kind(f"{first.message} Also: {also}" if also else first.message)


def error_named(name: str) -> type[errors.KeyturnError]:
    """The class of an error's name; PreflightUnanswered for a name that is not Keyturn's."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.KeyturnError):
        return kind
    return errors.PreflightUnanswered


def _problems_of(answer: FunctionAnswer) -> Iterable[Problem]:
    function = answer.get("function")
    if failure := answer.get("failure"):
        yield _unanswered(str(function), failure)
    for problem in answer.get("problems", ()):
        yield Problem(str(problem["error"]), f"{function}: {problem['message']}")


def _unanswered(function: str, failure: Failure) -> Problem:
    """A function that failed: by an error of Keyturn's, or before its code could answer."""
    name = str(failure.get("Error"))
    if error_named(name) is errors.PreflightUnanswered:
        message = f"{function} did not answer ({name}). See its log."
        return Problem("PreflightUnanswered", message)
    return Problem(name, f"{function}: {_message(str(failure.get('Cause', '')))}")


def _message(cause: str) -> str:
    """A function's error message; Lambda wraps it in JSON with a stack trace."""
    try:
        return str(json.loads(cause)["errorMessage"])[:SHOWN_LETTERS]
    except (ValueError, KeyError, TypeError):
        return "see its log."
