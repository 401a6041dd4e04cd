"""`reporting.wording`: a number and its noun agree."""

import pytest

from keyturn.reporting.wording import count_of


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 days"), (1, "1 day"), (2, "2 days"), (90_000, "90,000 days")]
)
def test_a_noun_is_plural_but_after_one(number: int, text: str) -> None:
    assert count_of(number, "day") == text
