"""Tells people in Slack, through a webhook whose URL is kept in a secret of its own.

The URL is a password: who has it can write to the channel. It is read when it is needed, and is in
no error and no log. All text is escaped, so that it can mention nobody. What is too long for Slack
is cut, since Slack refuses a whole message for one long part.

Source: Slack, "Incoming webhooks", "Formatting text", Block Kit reference.
"""

import json
import re
from typing import Any

import urllib3

from keyturn import errors
from keyturn.adapters import aws
from keyturn.channels import Message

CONNECT_SECONDS, READ_SECONDS = 3.0, 7.0
ANSWER_BYTES = 1024
WEBHOOK = re.compile(r"https://hooks\.slack(-gov)?\.com/\S+")
ANY_URL = re.compile(r"https?://\S+")

HEADER_LETTERS, TEXT_LETTERS, FIELD_LETTERS = 150, 3000, 2000
MOST_BLOCKS, MOST_FIELDS = 50, 10
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
CUT = "\N{HORIZONTAL ELLIPSIS}"

Block = dict[str, Any]


class Slack:
    """The channel behind one webhook."""

    name = "slack"

    def __init__(self, webhook_secret: str, *, any_url: bool = False) -> None:
        """`any_url` takes plain http and other hosts than Slack's: for tests on one machine."""
        self._webhook_secret = webhook_secret
        self._shape = ANY_URL if any_url else WEBHOOK

    def send(self, message: Message) -> None:
        """Post the message. Raises NotificationFailed."""
        url = self._url()
        body = json.dumps(
            {"text": escaped(message.subject, TEXT_LETTERS), "blocks": blocks(message)}
        )
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            try:
                answer = pool.request(
                    "POST",
                    url,
                    body=body.encode(),
                    headers={"content-type": "application/json"},
                    redirect=False,
                    preload_content=False,
                )
                said = answer.read(ANSWER_BYTES)
            except (urllib3.exceptions.HTTPError, OSError) as silent:
                fault = type(silent).__name__
                raise errors.NotificationFailed(f"Slack did not answer ({fault}).") from None
            answer.close()
        if answer.status != 200:
            raise errors.NotificationFailed(
                f"Slack did not take the message: HTTP {answer.status}{_word(said)}."
            )

    def _url(self) -> str:
        """The webhook's URL, which is the secret's text or `url` of its JSON object."""
        doing = f"secretsmanager:GetSecretValue on {self._webhook_secret}"
        with aws.translated(doing, errors.NotificationFailed):
            client = aws.client("secretsmanager")
            stored = client.get_secret_value(SecretId=self._webhook_secret).get("SecretString", "")
        url = _read(stored)
        if not self._shape.fullmatch(url):
            raise errors.NotificationFailed(
                f"The secret {self._webhook_secret} does not hold the URL of a Slack webhook"
                " (https://hooks.slack.com/...). Nothing was sent. Store it there."
            )
        return url


def blocks(message: Message) -> list[Block]:
    """A message in Slack's blocks: header, what is true, the facts, what to do, the kind. Pure."""
    header = {"type": "plain_text", "text": escaped(message.subject, HEADER_LETTERS)}
    names = list(message.fields)
    fields = [_field(name, message.fields[name]) for name in names]
    made: list[Block] = [{"type": "header", "text": header}, _section(message.says)]
    made += [
        {"type": "section", "fields": fields[first : first + MOST_FIELDS]}
        for first in range(0, len(fields), MOST_FIELDS)
    ]
    made.append(_section(message.todo))
    if message.command:
        made.append(_section(message.command, before="```", after="```"))
    context = {"type": "context", "elements": [_text(message.kind, FIELD_LETTERS)]}
    return [*made[: MOST_BLOCKS - 1], context]


def escaped(text: str, letters: int) -> str:
    """A text that says itself alone in Slack, cut so that it has at most so many letters. Pure."""
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


def _field(name: str, said: str) -> Block:
    return _text(said, FIELD_LETTERS, before=f"*{name}*\n")


def _text(text: str, letters: int, *, before: str = "", after: str = "") -> Block:
    """Slack's text; `verbatim` keeps it from making links and mentions of what looks like one."""
    quoted = escaped(text, letters - len(before) - len(after))
    return {"type": "mrkdwn", "text": f"{before}{quoted}{after}", "verbatim": True}


def _read(stored: str) -> str:
    try:
        found = json.loads(stored)
    except ValueError:
        return stored.strip()
    return str(found.get("url", "")) if isinstance(found, dict) else ""


def _word(said: bytes) -> str:
    """Slack's own word for what is wrong, such as `no_service`; nothing else of its answer."""
    text = said.decode("ascii", "replace").strip()
    return f", {text}" if re.fullmatch(r"[a-z_]{1,40}", text) else ""
