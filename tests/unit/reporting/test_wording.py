"""`reporting.wording`: a number and its noun agree."""

import pytest

from keyturn.reporting.wording import count_of


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("day",), "0 days"),
        (1, ("day",), "1 day"),
        (2, ("day",), "2 days"),
        (2000, ("login",), "2,000 logins"),
        (90_000, ("day",), "90,000 days"),
        (1, ("old pod is", "old pods are"), "1 old pod is"),
        (2, ("old pod is", "old pods are"), "2 old pods are"),
    ],
)
def test_a_number_agrees_with_its_noun(number: int, nouns: tuple[str, ...], text: str) -> None:
    assert count_of(number, *nouns) == text
