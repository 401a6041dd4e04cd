"""Which cases of a test are always run, and which with `make test FULL=1` alone."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cases(every: Iterable[Any], always: Collection[Any]) -> list[Any]:
    """Every case, for `parametrize`; those that are not `always` run are marked."""
    found = list(every)
    assert {*always} <= {*found}
    return [
        pytest.param(case, marks=[] if case in always else [pytest.mark.exhaustive])
        for case in found
    ]
