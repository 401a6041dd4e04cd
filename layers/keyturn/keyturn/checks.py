"""Checks of the environment: each proves one thing, changes nothing, and raises if it is not so."""

import time
from collections.abc import Callable, Iterable, Sequence

from keyturn import errors

Check = Callable[[], object]

# How long an emergency waits for its checks, the one that is on its way excepted.
PATIENCE_SECONDS = 20.0


def run_checks(checks: Iterable[Check], notes: list[str] | None = None) -> int:
    """Run every check, so that all problems are told at once; returns how many passed.

    What a passed check says, a text, is a note that stops nothing; it is added to `notes`. Raises
    the first problem's error, the other problems in its message.
    """
    problems: list[errors.KeyturnError] = []
    passed = 0
    for check in checks:
        try:
            said = check()
        except errors.KeyturnError as problem:
            problems.append(problem)
        else:
            passed += 1
            if notes is not None and isinstance(said, str):
                notes.append(said)
    if len(problems) > 1:
        others = "; ".join(f"{type(other).__name__}: {other}" for other in problems[1:])
        raise type(problems[0])(f"{problems[0]} Also: {others}") from problems[0]
    if problems:
        raise problems[0]
    return passed


def find_problems(
    checks: Sequence[Check], clock: Callable[[], float] = time.monotonic
) -> tuple[str, ...]:
    """Run the checks of an emergency, which goes on whatever they say; returns what they said.

    It does not wait for an environment that does not answer, and no defect of a check stops it.
    """
    problems: list[str] = []
    patience_ends = clock() + PATIENCE_SECONDS
    for number, check in enumerate(checks):
        if clock() >= patience_ends:
            left = f"{len(checks) - number} of {len(checks)} checks"
            problems.append(f"{left} were not made, since those before took too long.")
            break
        try:
            check()
        except errors.KeyturnError as problem:
            problems.append(f"{type(problem).__name__}: {problem}")
        except Exception as defect:  # noqa: BLE001 - its text may quote a value, so it is not shown
            problems.append(f"UnexpectedFault: a check met a defect, {type(defect).__name__}.")
    return tuple(problems)
