"""A line states a key error only with its whole message, and fast."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.validation import log_rules
from keyturn.validation.log_rules import KEY_RULES, MAX_LINE, NOT_32_BYTES, NOT_SET, OLD_SESSION
from tests.every_case import every_case

# Each as a logger of that name writes it; the first three are the sample services' own.
STATEMENTS = {
    "the bare sentence": ("SESSION_ENCRYPTION_KEY environment variable not set", NOT_SET),
    "another": ("SESSION_ENCRYPTION_KEY must decode to 32 bytes", NOT_32_BYTES),
    "Python's logging": (
        "2026-11-24 12:00:00,123 ERROR web-console: SESSION_ENCRYPTION_KEY must decode to 32 bytes",
        NOT_32_BYTES,
    ),
    "Python's default": ("CRITICAL:root:SESSION_ENCRYPTION_KEY is not set", NOT_SET),
    "a traceback's last line": (
        "ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24",
        NOT_32_BYTES,
    ),
    "an exception of a package": (
        "console.settings.StartupError: environment variable SESSION_ENCRYPTION_KEY is not set",
        NOT_SET,
    ),
    "uvicorn": ("ERROR:    SESSION_ENCRYPTION_KEY must decode to 32 bytes.", NOT_32_BYTES),
    "Node's console": (
        "Error: SESSION_ENCRYPTION_KEY must decode to 32 bytes, not 16",
        NOT_32_BYTES,
    ),
    "Go's log": ("2026/11/24 12:00:00 SESSION_ENCRYPTION_KEY not set", NOT_SET),
    "Spring Boot": (
        "2026-11-24T12:00:00.123Z ERROR 1 --- [web] [  main] c.Keys   : must decode to 32 bytes",
        NOT_32_BYTES,
    ),
    "logback": (
        "12:00:00.123 [main] ERROR com.example.Keys - must decode to 32 bytes",
        NOT_32_BYTES,
    ),
    "level in brackets": (
        "[2026-11-24 12:00:00 +0000] [1] [ERROR] SESSION_ENCRYPTION_KEY not set",
        NOT_SET,
    ),
    "level and the sentence": ("FATAL SESSION_ENCRYPTION_KEY is not set", NOT_SET),
    "quoted name": ("error: variable 'SESSION_ENCRYPTION_KEY' is not set!", NOT_SET),
    "JSON message": (
        '{"level": "error", "message": "SESSION_ENCRYPTION_KEY must decode to 32 bytes"}',
        NOT_32_BYTES,
    ),
    "JSON msg": ('{"msg": "session_encryption_key environment variable not set"}', NOT_SET),
    "an exception in JSON": (
        '{"message": "ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24 bytes"}',
        NOT_32_BYTES,
    ),
}
AGENT = "SESSION_ENCRYPTION_KEY must decode to 32 bytes"
MENTIONS = {
    "nginx": f'203.0.113.9 - - [27/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 612 "-" "{AGENT}"',
    "nginx, short": '203.0.113.9 - - [27/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 612 "-"'
    ' "must decode to 32 bytes"',
    "Apache by name": f'evil.example.com - - [27/Nov/2026:03:04:05 +0000] "GET /{AGENT}" 404 9',
    "Flask": "INFO request GET / ua='SESSION_ENCRYPTION_KEY not set'",
    "unquoted at the end": f"INFO web: GET / 200 {AGENT}",
    "a path": "GET /SESSION_ENCRYPTION_KEY%20not set 404",
    "uvicorn": f'INFO:     203.0.113.9:4711 - "GET /?{AGENT} HTTP/1.1" 200 OK',
    "a field of JSON": json.dumps({"message": "request", "agent": AGENT}),
    "JSON of a visitor as a field": json.dumps(
        {"msg": "request", "body": json.dumps({"msg": AGENT})}
    ),
    "JSON that is broken off": json.dumps({"pad": "x" * MAX_LINE, "message": AGENT}),
    "JSON deeper than a parser goes": '{"a":' * 1500 + f'"{AGENT}"' + "}" * 1500,
    "logfmt of a visitor": f'level=info msg=request ua="{AGENT}"',
    "a value that a service should not log": f"{AGENT}: c2VjcmV0",
    "a question": f"Is it true that {AGENT}",
    "after much else": "x" * (MAX_LINE - 60) + f" {AGENT}",
}


@every_case(("line", "rule"), STATEMENTS.values())
def test_a_sentence_is_known_behind_every_usual_prefix(line: str, rule: str) -> None:
    assert log_rules.states_key_error(line, rule)
    assert log_rules.states_key_error(f"  {line}\r", rule)
    assert list(log_rules.mentioned_rules(line)) == [rule]
    (other,) = {*KEY_RULES} - {rule}
    assert not log_rules.states_key_error(line, other)


@every_case("line", MENTIONS.values())
def test_what_a_visitor_sends_is_mentioned_and_never_stated(line: str) -> None:
    assert not any(log_rules.states_key_error(line, rule) for rule in KEY_RULES)


@pytest.mark.parametrize("name", ["nginx", "Flask", "a path", "a field of JSON", "after much else"])
def test_what_a_visitor_sends_is_counted(name: str) -> None:
    assert list(log_rules.mentioned_rules(MENTIONS[name]))


@given(st.text(max_size=60), st.sampled_from([line for line, _ in STATEMENTS.values()]))
def test_no_line_that_ends_otherwise_states_anything(more: str, line: str) -> None:
    spoilt = f'{line} "{more}"'
    assert not any(log_rules.states_key_error(spoilt, rule) for rule in KEY_RULES)


@given(st.text(max_size=200) | st.from_regex(log_rules.PREFIX))
def test_no_text_is_a_defect(text: str) -> None:
    assert text[:MAX_LINE].strip().endswith(log_rules.message(text)) or text.strip()[:1] == "{"
    assert not log_rules.states_key_error(text, OLD_SESSION)


@pytest.mark.parametrize(
    "line",
    ["could not decrypt session (3 so far)", "Failed to decrypt cookie", "cannot decrypt"],
)
def test_an_old_session_is_mentioned_and_is_no_sentence(line: str) -> None:
    assert list(log_rules.mentioned_rules(line)) == [OLD_SESSION]
    assert not log_rules.states_key_error(line, OLD_SESSION)


@pytest.mark.parametrize(
    "line",
    ["", "SESSION_ENCRYPTION_KEY loaded", "the cache is not set", "32 bytes sent", "decrypted"],
)
def test_ordinary_lines_mention_nothing(line: str) -> None:
    assert list(log_rules.mentioned_rules(line)) == []


def test_what_lies_beyond_the_bound_of_a_line_is_not_looked_at() -> None:
    assert list(log_rules.mentioned_rules("x" * MAX_LINE + AGENT)) == []


@every_case(
    "piece",
    [
        "SESSION_ENCRYPTION_KEY ",
        "a.",
        "a ",
        "- ",
        "[x] ",
        "error ",
        "12:00:00 ",
        '{"a":',
        "1 ",
        ":",
    ],
)
def test_a_line_that_is_made_to_be_slow_costs_no_more_than_its_length(piece: str) -> None:
    """A mebibyte in one line took minutes; the bound is generous, and far below that."""
    line = piece * (2**20 // len(piece))
    begun = time.process_time()
    for _ in range(100):
        rules = list(log_rules.mentioned_rules(line))
        assert not any(log_rules.states_key_error(line, rule) for rule in (*KEY_RULES, *rules))
    assert time.process_time() - begun < 5
