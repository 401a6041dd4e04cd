"""One test for all cases of a rule: it runs every case, and names each that fails.

`pytest.mark.parametrize` makes a test of each case, which costs 3 to 6 ms of pytest and xdist. Use
it where cases need a fixture of their own or where one of them is likely to be run alone.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

Test = Callable[..., None]


def every_case(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Take the arguments of `pytest.mark.parametrize`; may be stacked, as that may."""
    parts = [names] if isinstance(names, str) else [*names]
    given = [(case,) if isinstance(names, str) else tuple(case) for case in cases]
    assert given, "a rule without cases cannot fail"
    assert {len(case) for case in given} == {len(parts)}

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def together(**fixtures: Any) -> None:
            failed: list[tuple[tuple[Any, ...], BaseException]] = []
            for case in given:
                try:
                    test(**dict(zip(parts, case, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  reported below
                    failed.append((case, error))
            if failed:
                reasons = "\n".join(f"{case!s:.200}: {error!r}" for case, error in failed)
                count = f"{len(failed)} of {len(given)} cases fail"
                raise AssertionError(f"{count}:\n{reasons}") from failed[0][1]

        signature = inspect.signature(test)
        left = [one for name, one in signature.parameters.items() if name not in parts]
        together.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        del together.__wrapped__  # pytest reads the signature of what is wrapped
        return together

    return decorate
