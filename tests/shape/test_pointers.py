"""Whatever points people to a heading of a document points to one that is there."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from keyturn import errors
from keyturn.reporting.notifications import NOT_KEYTURNS, heading_of
from tests.project import FUNCTION_FILES, PACKAGE, ROOT, parsed
from tests.vocabulary import retry_me, stop

MODULES = [*sorted(PACKAGE.rglob("*.py")), *FUNCTION_FILES]
POINTER = re.compile(r"(docs/[\w-]+\.md), ([^).;:,]*)")
HOLE = "\0"
COMPUTED = re.compile(r"heading_of\(.+\)")


def texts(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Every text of a module, docstrings too, and the expressions in its holes."""
    nodes = list(ast.walk(tree))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            holes = [one for one in node.values if isinstance(one, ast.FormattedValue)]
            parts = (str(one.value) if isinstance(one, ast.Constant) else HOLE
                     for one in node.values)  # fmt: skip
            yield "".join(parts), [ast.unparse(hole.value) for hole in holes]
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield str(node.value), []


def pointers(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """A document and the heading that a text names, or the expression that computes it."""
    for text, holes in texts(tree):
        for found in POINTER.finditer(text):
            heading = found[2]
            if HOLE in heading:
                assert heading == HOLE
                heading = holes[text[: found.start(2)].count(HOLE)]
            yield found[1], heading


@functools.cache
def headings(document: Path) -> set[str]:
    return set(re.findall(r"(?m)^#+ (.+)$", document.read_text(encoding="utf-8")))


def test_a_heading_that_a_text_points_to_is_there() -> None:
    found = [(path, *pointer) for path in MODULES for pointer in pointers(parsed(path))]
    assert found
    for path, document, heading in found:
        there = headings(ROOT / document)
        assert COMPUTED.fullmatch(heading) or heading in there, f"{path}: {document}, {heading}"


def test_a_pointer_is_found_in_a_text_and_in_the_hole_of_one() -> None:
    tree = ast.parse("""f"See {a} (docs/x.md, {heading_of(b['error'])}). docs/y.md, The end." """)
    assert [*pointers(tree)] == [
        ("docs/x.md", "heading_of(b['error'])"),
        ("docs/y.md", "The end"),
    ]


def test_every_error_that_a_message_may_name_has_a_heading() -> None:
    own = [one.__name__ for one in (*retry_me(), *stop())]
    for error in [*own, "States.Timeout", "Lambda.Unknown", None]:
        heading = heading_of(error)
        assert heading in headings(ROOT / "docs" / "operations.md"), error
        assert (heading == NOT_KEYTURNS) is (getattr(errors, str(error), None) is None), error
