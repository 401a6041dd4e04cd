"""Where docs/operations.md explains the error that a message names."""

from keyturn import errors

NOT_KEYTURNS = "Errors of Lambda and Step Functions"


def heading_of(error: object) -> str:
    """The heading for an error's name; one that is not Keyturn's is the platform's. Pure."""
    name = str(error)
    found = getattr(errors, name, None)
    known = isinstance(found, type) and issubclass(found, errors.KeyturnError)
    return name if known else NOT_KEYTURNS
