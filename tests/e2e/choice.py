"""Which cases of a test are always run, and which with `make test FULL=1` alone."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cases(names: Iterable[str], always: Collection[str]) -> list[Any]:
    """Every case by its name, for `parametrize`; those that are not `always` run are marked."""
    named = list(names)
    assert {*always} <= {*named}
    return [
        pytest.param(name, marks=[] if name in always else [pytest.mark.exhaustive])
        for name in named
    ]
