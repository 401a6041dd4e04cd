"""Checks of the environment: each proves one thing, changes nothing, and raises if it is not so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyturn import errors

Check = Callable[[], object]

# How long a function goes on with its checks; the one that is under way is bounded by its adapter.
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Problem:
    """What a check found, by the error that a rotation would meet."""

    error: str
    message: str


def find_problems(
    checks: Sequence[Check], clock: Callable[[], float]
) -> tuple[list[Problem], list[str]]:
    """Make every check, so that all problems are known at once; returns problems and notes.

    A text that a passed check returns is a note, which stops nothing. No defect of a check stops
    the others, and an environment that does not answer is not waited for.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    patience_ends = clock() + PATIENCE_SECONDS
    for number, check in enumerate(checks):
        if clock() >= patience_ends:
            left = f"{len(checks) - number} of {len(checks)} checks"
            problems.append(
                Problem("PreflightUnanswered", f"{left} were not made: those before took too long.")
            )
            break
        try:
            found = check()
        except errors.KeyturnError as problem:
            problems.append(Problem(type(problem).__name__, str(problem)))
        except Exception as fault:  # noqa: BLE001 - its text may quote a value, so it is not shown
            message = f"Unexpected {type(fault).__name__} in a check: a bug in Keyturn."
            problems.append(Problem("UnexpectedFault", message))
        else:
            if isinstance(found, str):
                notes.append(found)
    return problems, notes
