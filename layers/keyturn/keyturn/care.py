"""What is done about a concern of `keyturn.watch`: a run is started, or people are told.

Whether a value is a key is not looked at here, since this function does not read the key: the run
finds it out when it delivers, and turns back. That people cannot be told is a fact of the result;
that a run cannot be started is an error, so that the call is repeated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from keyturn import alerts, errors, watch
from keyturn.channels import Notifications
from keyturn.run import ROTATION_ID, Run
from keyturn.sessions import Clock

# Longer than a rotation takes from its promotion to the start of its run, seen by everyone.
SETTLED_SECONDS = 10.0


class Runs(watch.WatchedRuns, Protocol):
    """The executions of the state machine, which can be started."""

    def ensure_started(self, run: Run) -> None:
        """Start the run's execution, or find that it was started."""


@dataclass(frozen=True)
class Watch:
    """All that the watch works with. `users` is `sessions.count` on the sessions that there are."""

    place: alerts.Place
    limits: watch.Limits
    secret: watch.WatchedSecret
    runs: Runs
    users: Callable[[], Mapping[str, Any]]
    notifications: Notifications


def take_care(
    watching: Watch, call: watch.Call, seen: watch.Secret, clock: Clock
) -> list[dict[str, Any]]:
    """Judge what was seen of the secret, and do what has to be done; returns what it was.

    Where a run would be started it waits and looks once more: a rotation that has just promoted its
    key is about to start that run itself, and knows why it was started.
    """
    found = _judge(watching, call, seen)
    if any(judgement.concern is watch.Concern.NOT_CARRIED for judgement in found):
        clock.sleep(SETTLED_SECONDS)
        found = _judge(watching, call, watch.look(watching.secret))
    return [
        {
            "concern": judgement.concern.name,
            "version": judgement.version,
            **_attend(watching, judgement, call.at),
        }
        for judgement in found
    ]


def _judge(watching: Watch, call: watch.Call, seen: watch.Secret) -> list[watch.Judgement]:
    return watch.judge(seen, watching.runs.executions(), watching.limits, call)


def _attend(watching: Watch, judgement: watch.Judgement, at: datetime) -> dict[str, Any]:
    if judgement.concern is watch.Concern.NOT_CARRIED:
        return _carry(watching, judgement, at)
    if judgement.concern is watch.Concern.SOON:
        message = alerts.announcement(judgement, watching.place, at, _users(watching))
    else:
        message = alerts.message_of(judgement, watching.place, at)
    return {"told": watching.notifications.tell(message)}


def _carry(watching: Watch, judgement: watch.Judgement, at: datetime) -> dict[str, Any]:
    """Start the run of a version that no run has carried; its first state tells people."""
    run = watching.place.run_of(judgement)
    if not ROTATION_ID.fullmatch(run.rotation_id):
        message = alerts.unnamable(judgement, watching.place, at)
        return {"told": watching.notifications.tell(message)}
    watching.runs.ensure_started(run)
    return {"started": run.execution_name}


def _users(watching: Watch) -> Mapping[str, Any] | None:
    """How many sessions there are; an announcement does without where nobody can count them."""
    try:
        return watching.users()
    except errors.KeyturnError:
        return None
