"""Numbers with their nouns: `1 login`, `2 logins`."""


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun; `many` is the plural where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
