"""The two families of errors, as their classes stand: those at the ends are the ones raised."""

from typing import TypeVar

from keyturn import errors

Family = TypeVar("Family", bound=errors.KeyturnError)


def retry_me() -> list[type[errors.RetryMe]]:
    """Every error that the state machine retries."""
    return _concrete(errors.RetryMe)


def stop() -> list[type[errors.Stop]]:
    """Every error that ends a run."""
    return _concrete(errors.Stop)


def _concrete(family: type[Family]) -> list[type[Family]]:
    found: list[type[Family]] = []
    for child in family.__subclasses__():
        found.extend(_concrete(child) or [child])
    return found
