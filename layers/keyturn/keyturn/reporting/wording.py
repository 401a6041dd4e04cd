"""Numbers and nouns in messages."""


def count_of(number: int, noun: str) -> str:
    """A number with its noun: '1 day', '2,000 sessions'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
