"""A message, and the channels that it is sent on.

A message states what is true now, the facts (when, the impact on users, why), and the next steps.
It is one structure that each channel formats: e-mails take `text`, a chat takes the parts. It names
ids, fingerprints, names and counts, never a key.

All channels are notified in parallel, each with a deadline of seconds: a channel that is down
delays neither the others nor the rotation.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from keyturn import errors

SENT = "told"
# The heading of docs/operations.md about errors that are not Keyturn's.
NOT_KEYTURNS = "Errors of Lambda and Step Functions"
LABEL_WIDTH = 10


@dataclass(frozen=True)
class Message:
    """A message. A subject fits an e-mail's: ASCII, below 100 characters."""

    kind: str
    subject: str
    summary: str
    fields: Mapping[str, str]
    next_steps: str
    facts: Mapping[str, Any] = field(repr=False)
    command: str = ""

    @property
    def text(self) -> str:
        """The message as plain text that reads well in an e-mail."""
        lines = (f"{f'{name}:':<{LABEL_WIDTH - 1}} {text}" for name, text in self.fields.items())
        fields = "\n".join(lines)
        command = f"  {self.command}" if self.command else ""
        return "\n\n".join(
            part for part in (self.summary, fields, self.next_steps, command) if part
        )


class Channel(Protocol):
    """One way to notify people or other systems."""

    @property
    def name(self) -> str:
        """Its name in the record."""

    def send(self, message: Message) -> None:
        """Send a message within 10 s. Raises NotificationFailed, or another KeyturnError."""

    def check_ready(self) -> None:
        """Verify within 10 s, without a message, that it is available. Raises as `send` does."""


Act = Callable[[Channel], None]


@dataclass(frozen=True)
class Notifications:
    """The channels of one stack. `stack` is its name, account and Region."""

    channels: Sequence[Channel]
    stack: str

    def notify(self, message: Message) -> dict[str, str]:
        """Send a message on every channel; the record has the result of each.

        A channel that fails affects neither the others nor the run.
        """
        placed = replace(message, fields={**message.fields, "Stack": self.stack})
        problems = self._at_once(lambda channel: channel.send(placed))
        return {
            name: f"{type(problem).__name__}: {problem}" if problem else SENT
            for name, problem in problems.items()
        }

    def check_ready(self) -> str | None:
        """Verify that messages can be sent; returns a note if one of several channels is down.

        Raises NotificationFailed if all are: users would be logged out unannounced.
        """
        problems = self._at_once(lambda channel: channel.check_ready())
        down = {name: problem for name, problem in problems.items() if problem}
        reasons = "; ".join(f"{name}: {problem}" for name, problem in down.items())
        if down and len(down) == len(problems):
            raise errors.NotificationFailed(f"No channel can report a rotation. {reasons}")
        return f"Not every channel can report a rotation. {reasons}" if down else None

    def _at_once(self, act: Act) -> dict[str, errors.KeyturnError | None]:
        """Call every channel in parallel; returns the problem of each, if any."""
        if not self.channels:
            return {}
        with ThreadPoolExecutor(max_workers=len(self.channels)) as pool:
            acting = {
                channel.name: pool.submit(_problem_of, act, channel) for channel in self.channels
            }
        return {name: ended.result() for name, ended in acting.items()}


def _problem_of(act: Act, channel: Channel) -> errors.KeyturnError | None:
    try:
        act(channel)
    except errors.KeyturnError as problem:
        return problem
    return None


def heading_of(error: object) -> str:
    """The heading for an error's name; one that is not Keyturn's is the platform's. Pure."""
    name = str(error)
    kind = getattr(errors, name, None)
    known = isinstance(kind, type) and issubclass(kind, errors.KeyturnError)
    return name if known else NOT_KEYTURNS
