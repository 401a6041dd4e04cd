"""Key errors in a log line. Pure, and linear in the line's length.

Anyone who can reach a service can write into its logs: an access log holds a path and a User-Agent.
So a line that mentions a key error is only counted. A line states a key error if the error's
sentence is its whole message: the text after the usual prefix of a logger (time, level, thread,
logger, exception), or the `message` or `msg` of a JSON line. `log_report` decides what follows from
a statement.
"""

import json
import re
from collections.abc import Iterator

MAX_LINE = 8 * 1024
MAX_PREFIXES = 12

NOT_SET, NOT_32_BYTES, OLD_SESSION = "key-not-set", "key-not-32-bytes", "old-session"
KEY_RULES = (NOT_SET, NOT_32_BYTES)

_KEY = r"[\"'`]?SESSION_ENCRYPTION_KEY[\"'`]?"
SENTENCES = {
    NOT_SET: re.compile(
        rf"(?:environment )?(?:variable )?{_KEY}(?: environment)?(?: variable)?(?: is| was)?"
        r" not set[.!]?",
        re.IGNORECASE,
    ),
    NOT_32_BYTES: re.compile(
        rf"(?:{_KEY} )?must decode to 32 bytes"
        r"(?:[,;:]? (?:but )?(?:got|not|is|was|decodes to) \d{1,9}(?: bytes)?)?[.!]?",
        re.IGNORECASE,
    ),
}

_DATE = r"\d{4}[-/]\d\d[-/]\d\d"
_TIME = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_LEVEL = "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERR|ERROR|FATAL|SEVERE|CRITICAL|PANIC|ALERT|EMERG"
# Every repetition is bounded, and each part begins where the last one ended: no line causes
# backtracking.
PREFIX = re.compile(
    rf"(?:\[?(?:{_DATE}(?:[T ]{_TIME})?|{_TIME})\]?"  # a time
    rf"|[\[(<]?(?:{_LEVEL})[\])>]?(?![\w.])"  # a level
    r"|[\[(][\w.:/ -]{1,64}[\])]"  # a thread or a process, in brackets
    r"|\d{1,7}(?=[ \t])"  # a process
    r"|[A-Za-z_][\w.$/-]{0,127}[ \t]{0,40}(?::|-(?=[ \t]))"  # a logger, or an exception
    r"|[-|:]{1,3})"  # what stands between them
    r"[ \t]{0,40}",
    re.IGNORECASE | re.ASCII,
)


def mentioned_rules(text: str) -> Iterator[str]:
    """The rules whose words occur anywhere in a line."""
    lowered = text[:MAX_LINE].lower()
    name = lowered.find("session_encryption_key")
    if name >= 0 and lowered.find("not set", name) >= 0:
        yield NOT_SET
    if "must decode to 32 bytes" in lowered:
        yield NOT_32_BYTES
    if any(f"{verb} decrypt" in lowered for verb in ("could not", "cannot", "failed to")):
        yield OLD_SESSION


def states_key_error(text: str, rule: str) -> bool:
    """Whether the whole message of a line is the sentence of a rule, which may have none."""
    sentence = SENTENCES.get(rule)
    return sentence is not None and sentence.fullmatch(message(text)) is not None


def message(text: str) -> str:
    """The message of a line, without the prefix of the logger."""
    message = text[:MAX_LINE].strip()
    if message.startswith("{"):
        message = _message_of_json(message)
    at = 0
    for _ in range(MAX_PREFIXES):
        prefix = PREFIX.match(message, at)
        if not prefix:
            break
        at = prefix.end()
    return message[at:]


def _message_of_json(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    message = document.get("message", document.get("msg"))
    return message[:MAX_LINE].strip() if isinstance(message, str) else text
