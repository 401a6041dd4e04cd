"""`local.services.access_log`: a visitor's words are in a line, and never a line of their own."""

import time

import pytest

from keyturn.validation import log_rules
from local.services import access_log

AT = time.struct_time((2026, 11, 27, 3, 4, 5, 4, 331, 0))


def line(path: str = "/", query: str = "", **headers: str) -> str:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": pairs,
        "client": ("203.0.113.9", 4711),
    }
    return access_log.line(scope, 200, 612, AT)


def test_a_line_is_as_a_web_server_writes_it() -> None:
    assert line(query="a=b", user_agent="curl/8.5") == (
        '203.0.113.9 - - [27/Nov/2026:03:04:05 +0000] "GET /?a=b HTTP/1.1" 200 612 "-" "curl/8.5"'
    )


@pytest.mark.parametrize("text", ['a" "b', "a\nb", "a\r\nb", "a\\b", "a\x1b[0m", "ä"])
def test_what_would_end_a_field_or_a_line_is_escaped(text: str) -> None:
    for written in (line(user_agent=text), line(path=f"/{text}")):
        assert written.isprintable()
        assert written.isascii()
        assert written.count('"') == 6


def test_a_line_mentions_what_a_visitor_sends_and_states_nothing() -> None:
    written = line(user_agent="SESSION_ENCRYPTION_KEY must decode to 32 bytes")
    assert list(log_rules.mentioned_rules(written)) == [log_rules.NOT_32_BYTES]
    assert not log_rules.states_key_error(written, log_rules.NOT_32_BYTES)
