"""Numbers and nouns in messages."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: '1 day', '2,000 sessions'; `plural` if an s is not enough."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
