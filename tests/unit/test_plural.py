"""Numbers with their nouns."""

import pytest

from local.plural import count


@pytest.mark.parametrize(
    ("number", "nouns", "words"),
    [
        (0, ("login",), "0 logins"),
        (1, ("login",), "1 login"),
        (2, ("login",), "2 logins"),
        (2000, ("login",), "2,000 logins"),
        (1, ("old pod is", "old pods are"), "1 old pod is"),
        (2, ("old pod is", "old pods are"), "2 old pods are"),
    ],
)
def test_a_number_has_its_noun_in_its_form(number: int, nouns: tuple[str, ...], words: str) -> None:
    assert count(number, *nouns) == words
