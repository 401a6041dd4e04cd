"""Posts messages to Slack, through a webhook whose URL is in a secret.

The URL is a password: its holder can write to the channel. It is read when it is needed, and is in
no error and no log. All text is escaped, so that it can mention no one. Long text is cut, since
Slack refuses a whole message for one long part. A post is retried once if Slack asks for a short
wait (429), fails, or does not answer: a message twice is better than none.

Source: Slack, "Incoming webhooks", "Rate limits", "Formatting text", Block Kit reference.
"""

import json
import re
import time
from functools import partial
from typing import Any

import urllib3

from keyturn import errors
from keyturn.adapters import deadline
from keyturn.adapters.aws import client
from keyturn.adapters.bounded_pools import bound
from keyturn.reporting.notifications import Message
from keyturn.settings.types import is_loopback

SECONDS = 7.0  # both tries, and the wait between them
TRY_SECONDS = 3.0
LONGEST_WAIT_SECONDS = 3
SECRET_SECONDS = 3.0
ANSWER_BYTES = 1024
HEADER_BYTES = 64 * 1024
WEBHOOK = re.compile(r"https://hooks\.slack(-gov)?\.com/\S+")

HEADER_LETTERS, TEXT_LETTERS, FIELD_LETTERS = 150, 3000, 2000
MOST_BLOCKS, MOST_FIELDS = 50, 10
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
CUT = "\N{HORIZONTAL ELLIPSIS}"

Block = dict[str, Any]


class Slack:
    """The channel behind one webhook."""

    name = "slack"

    def __init__(self, webhook_secret: str) -> None:
        self._webhook_secret = webhook_secret
        self._client = client.client("secretsmanager", SECRET_SECONDS)

    def send(self, message: Message) -> None:
        """Post the message. Raises NotificationFailed."""
        url = self._url()
        text = escaped(message.subject, TEXT_LETTERS)
        body = json.dumps({"text": text, "blocks": blocks(message)}).encode()
        ends = time.monotonic() + SECONDS
        answer = _post(url, body, TRY_SECONDS)
        wait, left = _wait(answer), ends - time.monotonic()
        if wait is not None and wait < left:
            time.sleep(wait)
            answer = _post(url, body, min(TRY_SECONDS, left - wait))
        if isinstance(answer, str):
            raise errors.NotificationFailed(f"Slack did not answer ({answer}).")
        status, _, body = answer
        if status != 200:
            raise errors.NotificationFailed(
                f"Slack rejected the message: HTTP {status}{_word(body)}."
            )

    def check_ready(self) -> None:
        """Read the webhook's URL. Slack has no call that would test it without a message."""
        self._url()

    def _url(self) -> str:
        """The webhook's URL, which is the secret's text or `url` of its JSON object."""
        doing = f"secretsmanager:GetSecretValue on {self._webhook_secret}"
        with client.translate_errors(doing, errors.NotificationFailed):
            stored = self._client.get_secret_value(SecretId=self._webhook_secret)
        url = _read(stored.get("SecretString", ""))
        if not (WEBHOOK.fullmatch(url) or is_loopback(url)):
            raise errors.NotificationFailed(
                f"The secret {self._webhook_secret} does not hold the URL of a Slack webhook"
                " (https://hooks.slack.com/...). Nothing was sent. Store it there."
            )
        return url


Answer = tuple[int, str, bytes]


def _post(url: str, body: bytes, seconds: float) -> Answer | str:
    """The status, Retry-After and text of Slack's response, or the kind of failure without one."""
    try:
        return deadline.within(
            seconds, HEADER_BYTES + ANSWER_BYTES, partial(_ask, url, body, seconds)
        )
    except (urllib3.exceptions.HTTPError, OSError) as silent:
        return type(silent).__name__  # its text has the URL


def _ask(url: str, body: bytes, seconds: float) -> Answer:
    with urllib3.PoolManager(retries=False, timeout=seconds) as pool:
        bound(pool)
        answer = pool.request(
            "POST",
            url,
            body=body,
            headers={"content-type": "application/json"},
            redirect=False,
            preload_content=False,
        )
        body = answer.read(ANSWER_BYTES)
        answer.close()
    return answer.status, answer.headers.get("retry-after", ""), body


def _wait(answer: Answer | str) -> float | None:
    """The wait before the second attempt; None if it would be useless. Pure."""
    if isinstance(answer, str) or answer[0] >= 500:
        return 0.0
    status, after, _ = answer
    if status == 429 and re.fullmatch(r"\d{1,4}", after) and int(after) <= LONGEST_WAIT_SECONDS:
        return float(after)
    return None


def blocks(message: Message) -> list[Block]:
    """A message in Slack's blocks: header, summary, facts, next steps, kind. Pure."""
    header = {"type": "plain_text", "text": escaped(message.subject, HEADER_LETTERS)}
    names = list(message.fields)
    fields = [_field(name, message.fields[name]) for name in names]
    made: list[Block] = [{"type": "header", "text": header}, _section(message.summary)]
    made += [
        {"type": "section", "fields": fields[first : first + MOST_FIELDS]}
        for first in range(0, len(fields), MOST_FIELDS)
    ]
    made.append(_section(message.next_steps))
    if message.command:
        made.append(_section(message.command, before="```", after="```"))
    context = {"type": "context", "elements": [_text(message.kind, FIELD_LETTERS)]}
    return [*made[: MOST_BLOCKS - 1], context]


def escaped(text: str, letters: int) -> str:
    """Plain text for Slack, escaped and cut to at most so many characters. Pure."""
    pieces, length = [], 0
    for letter in text:
        piece = ESCAPES.get(letter, letter)
        length += len(piece)
        pieces.append(piece)
        if length > letters:
            break
    else:
        return "".join(pieces)
    while sum(map(len, pieces)) + len(CUT) > letters:
        pieces.pop()
    return "".join(pieces) + CUT


def _section(text: str, *, before: str = "", after: str = "") -> Block:
    return {"type": "section", "text": _text(text, TEXT_LETTERS, before=before, after=after)}


def _field(name: str, value: str) -> Block:
    return _text(value, FIELD_LETTERS, before=f"*{name}*\n")


def _text(text: str, letters: int, *, before: str = "", after: str = "") -> Block:
    """Slack's text; `verbatim` prevents links and mentions."""
    quoted = escaped(text, letters - len(before) - len(after))
    return {"type": "mrkdwn", "text": f"{before}{quoted}{after}", "verbatim": True}


def _read(stored: str) -> str:
    try:
        fields = json.loads(stored)
    except ValueError:
        return stored.strip()
    return str(fields.get("url", "")) if isinstance(fields, dict) else ""


def _word(body: bytes) -> str:
    """Slack's own error code, such as `no_service`; nothing else of its response."""
    text = body.decode("ascii", "replace").strip()
    return f", {text}" if re.fullmatch(r"[a-z_]{1,40}", text) else ""
