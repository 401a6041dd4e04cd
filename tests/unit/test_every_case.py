"""A test of all cases of a rule names each case that fails."""

import pytest

from tests.every_case import every_case


@pytest.fixture
def limit() -> int:
    return 1


def test_every_case_that_fails_is_named() -> None:
    @every_case("number", [1, 2, 3])
    def small(number: int) -> None:
        assert number < 2, f"{number} is large"

    with pytest.raises(AssertionError, match=r"2 of 3 cases fail") as failed:
        small()
    assert "(2,): AssertionError('2 is large" in str(failed.value)
    assert "(3,): AssertionError('3 is large" in str(failed.value)


def test_a_case_that_raises_nothing_where_it_has_to_is_named() -> None:
    @every_case(("text", "number"), [("a", 1)])
    def refused(text: str, number: int) -> None:
        with pytest.raises(ValueError, match="x"):
            pass

    with pytest.raises(AssertionError, match=r"1 of 1 cases fail:\n\('a', 1\): DID NOT RAISE"):
        refused()


def test_a_rule_without_cases_is_refused() -> None:
    with pytest.raises(AssertionError, match="without cases"):
        every_case("number", [])


@every_case("first", [0, 1])
@every_case("second", [0, 1])
def test_cases_may_be_stacked_and_use_a_fixture(first: int, second: int, limit: int) -> None:
    assert max(first, second) <= limit
