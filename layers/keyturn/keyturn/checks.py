"""Checks of the environment: each proves one thing, changes nothing, and raises if it is not so."""

from collections.abc import Callable, Iterable

from keyturn import errors

Check = Callable[[], object]


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
