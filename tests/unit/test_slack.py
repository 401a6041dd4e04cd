"""The blocks of a message keep to Slack's rules, whatever is in it."""

import re
from typing import Any

import pytest

from keyturn.adapters import slack
from keyturn.reporting.notifications import Message


def message(**changes: Any) -> Message:
    parts: dict[str, Any] = {
        "kind": "Session Key Rotation Failed",
        "subject": "Session key rotation FAILED",
        "summary": "The rotation stopped at DeliverKey.",
        "fields": {"When": "now", "Impact": "none"},
        "next_steps": "Mend the cause, then run it again:",
        "facts": {},
        "command": "aws stepfunctions start-execution --name a",
    }
    return Message(**{**parts, **changes})


def texts(blocks: list[slack.Block]) -> list[dict[str, Any]]:
    """Every text of every block."""
    found = []
    for block in blocks:
        found += [block["text"]] if "text" in block else []
        found += [*block.get("fields", ()), *block.get("elements", ())]
    return found


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def test_a_message_is_a_header_what_is_true_the_facts_what_to_do_and_its_kind() -> None:
    assert slack.blocks(message()) == [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": "Session key rotation FAILED"},
        },
        {"type": "section", "text": mrkdwn("The rotation stopped at DeliverKey.")},
        {"type": "section", "fields": [mrkdwn("*When*\nnow"), mrkdwn("*Impact*\nnone")]},
        {"type": "section", "text": mrkdwn("Mend the cause, then run it again:")},
        {"type": "section", "text": mrkdwn("```aws stepfunctions start-execution --name a```")},
        {"type": "context", "elements": [mrkdwn("Session Key Rotation Failed")]},
    ]


def test_a_message_without_a_command_has_no_empty_block() -> None:
    assert len(slack.blocks(message(command=""))) == 5


def test_what_comes_from_elsewhere_can_mention_nobody_and_be_no_link() -> None:
    evil = "<!channel> <https://evil.test|log in> & co"
    shown = slack.blocks(
        message(summary=evil, fields={"Error": evil}, next_steps=evil, command=evil)
    )
    for text in texts(shown):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text["text"])
        assert text["type"] == "plain_text" or text["verbatim"] is True
    assert shown[1]["text"]["text"] == (
        "&lt;!channel&gt; &lt;https://evil.test|log in&gt; &amp; co"
    )


@pytest.mark.parametrize("long", ["x" * 5000, "&" * 5000, "<>" * 2500], ids=["x", "and", "tags"])
def test_what_is_too_long_for_slack_is_cut_and_never_within_an_escape(long: str) -> None:
    shown = slack.blocks(
        message(subject=long, summary=long, next_steps=long, command=long, fields={"Error": long})
    )
    header, summary, fields, next_steps, command, _ = shown
    assert 140 < len(header["text"]["text"]) <= 150
    for section in (summary, next_steps, command):
        assert 2990 < len(section["text"]["text"]) <= 3000
    assert 1990 < len(fields["fields"][0]["text"]) <= 2000
    assert command["text"]["text"].endswith("…```")
    for text in texts(shown):
        assert not re.search(r"&(?!amp;|lt;|gt;)", text["text"])


@pytest.mark.parametrize("letters", [3, 4, 5, 6, 7])
def test_a_text_that_just_fits_is_whole(letters: int) -> None:
    assert slack.escaped("x" * letters, letters) == "x" * letters
    assert slack.escaped("x" * (letters + 1), letters) == "x" * (letters - 1) + "…"


def test_there_are_never_more_blocks_and_fields_than_slack_takes() -> None:
    many = {f"Field {number}": "x" for number in range(1000)}
    shown = slack.blocks(message(fields=many))
    assert len(shown) == 50
    assert shown[-1]["type"] == "context"
    assert all(len(block.get("fields", ())) <= 10 for block in shown)
