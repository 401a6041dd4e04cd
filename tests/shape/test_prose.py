"""Phrases that the documents and the product's texts avoid, and what to write instead.

The list is short on purpose: it has the phrases that came back after they had been corrected. The
changelog is left out, because it quotes the past, and so are code blocks, which quote output.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.every_case import every_case
from tests.project import DOCUMENTS, FUNCTION_FILES, PACKAGE, document

EVERYWHERE = {
    r"speaks? up": "alerts, fails",
    r"(is|are|was) there (when|for) (you|nobody|who)": "runs unattended, is optional",
    r"(the|other) doors": "commands",
    r"at hand": "found, tried",
    r"hindrances?|has against it": "blocker",
    r"what (it|they) (is|are) for": "on purpose, or the purpose itself",
    r"that is what": "the noun",
    r"is content (with|while)": "accepts, reports success",
    r"not to be had": "not available",
    r"turn(s|ed|ing)? back": "rolls back",
}
# The product's texts have some of these still: drop the distinction when they have none.
IN_DOCUMENTS = EVERYWHERE | {
    r"what (is|was) there": "the noun: keys that remain, files",
    r"(the|a|no) way back|roll-backs?": "rollback",
    r"of (its|their|his|one's) own": "its own X, a separate X",
    r"all the same": "still, nevertheless",
    r"besides": "in addition, also, other than",
    r"from which on|is another than": "from, differs from",
    r"rid of": "without, gone",
}
PAGES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
MODULES = [*FUNCTION_FILES, *sorted(PACKAGE.rglob("*.py"))]


def phrases_in(text: str, phrases: Mapping[str, str]) -> Iterator[str]:
    """Each phrase that a text has, with its surroundings and what to write instead."""
    for phrase, instead in phrases.items():
        for found in re.finditer(rf"(?i)\b({phrase})\b", text):
            around = text[max(0, found.start() - 40) : found.end() + 40].replace("\n", " ")
            yield f"“{found[0]}” in “{around}”; write: {instead}"


def without_code_blocks(page: str) -> str:
    return re.sub(r"(?m)^    .*$", "", page)


def texts(module: str) -> str:
    """The string literals of a module: docstrings, errors, messages."""
    nodes = ast.walk(ast.parse(module))
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    return "\n\n".join(value for value in constants if isinstance(value, str))


@every_case("path", PAGES)
def test_a_document_has_none_of_the_phrases(path: Path) -> None:
    assert [*phrases_in(without_code_blocks(document(path)), IN_DOCUMENTS)] == []


@every_case("path", MODULES)
def test_a_module_of_the_product_has_none_of_the_phrases(path: Path) -> None:
    assert [*phrases_in(texts(path.read_text(encoding="utf-8")), EVERYWHERE)] == []


def test_a_phrase_is_found_with_what_to_write_instead() -> None:
    (found,) = phrases_in("The run Turns back.", EVERYWHERE)
    assert "“Turns back”" in found
    assert found.endswith("write: rolls back")
    assert [*phrases_in("The run returns backups.", EVERYWHERE)] == []
