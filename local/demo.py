"""`make demo`: a whole rotation on this machine, shown while it happens and checked afterwards.

MODE says how it starts: `scheduled` (else), `emergency` or `finding`; DELIVERY where the pods read
their key from. With FAULT or FAIL something goes wrong on order, and the claims are about how the
rotation stops, rolls back or withstands it. The record of the run, where it has one, is
`out/demo/record.json`, whatever its outcome. With BUILT the functions run from the artefacts of
`make build PLATFORM=here` in place of the source tree.

Exits with 0 when everything that it claims is so, with 1 when a claim is false or the rotation
failed, with 2 when the demo itself could not go on, with 130 when it was interrupted. Nothing is
left running in any case.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from local import demo_options, failure_checks, triggers
from local.browser import UnexpectedAnswerError
from local.checks import Claim
from local.cluster import ControlPlaneError
from local.demo_options import Wish
from local.execution_tracker import ROTATION_STEPS, Ended, follow, listen
from local.faults import Fault
from local.key_sources import PlaceProblem
from local.redis_server import RedisServerError
from local.sampler import Gauges
from local.screen import Screen, open_screen
from local.stack import SESSION_DATABASE, Listeners, LocalStack, StackProblem
from local.success_checks import Evidence, take_account
from local.traffic import Visitors
from local.users import Bulk, Logins, log_in

OUT = Path("out") / "demo"
RECORD = OUT / "record.json"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
VISITORS = 4
PROBLEMS = (StackProblem, ControlPlaneError, RedisServerError, UnexpectedAnswerError, PlaceProblem)


def main() -> int:
    """Run the demo; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        wish = demo_options.read(os.environ)
    except ValueError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    RECORD.unlink(missing_ok=True)  # that of an earlier run
    # What libraries log of a part that is ended would drown what the screen says.
    logging.basicConfig(filename=OUT / "stack.log", filemode="w", format=LOG_FORMAT)
    try:
        with (OUT / "functions.log").open("w") as log, open_screen() as screen:
            listeners = Listeners(
                screen.stage, lambda name, line: print(name, line, file=log), screen.truth
            )
            return _rotate(wish.stack(listeners), wish, screen)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is left running.\n")
        return 130
    except PROBLEMS as problem:
        sys.stderr.write(f"\nThe demo stopped: {problem}\nNothing is left running.\n")
        return 2


def _rotate(local_stack: LocalStack, wish: Wish, screen: Screen) -> int:
    with local_stack as stack:
        try:
            ended, claims = _rotate_and_look(stack, wish, screen)
        except Exception:
            stack.check()  # a part that has died is what explains the rest
            raise
    if wish.fault and wish.fault.error:
        screen.truth("The rotation has stopped. What it says is looked up.")
        screen.say(f"\n{ended.error}: {words(ended.cause)}")
    elif ended.record is None or ended.status != "SUCCEEDED":
        _tell_failure(screen, ended)
        claims = [Claim("the rotation succeeded", holds=False)]
    else:
        screen.truth("Every service runs the new key, the old sessions are gone, login works.")
    screen.account(claims)
    if ended.record is not None:
        RECORD.write_text(json.dumps(ended.record, indent=2) + "\n")
        screen.say(f"\nThe record of this run: {RECORD}")
    return 0 if all(claim.holds for claim in claims) else 1


def _rotate_and_look(stack: LocalStack, wish: Wish, screen: Screen) -> tuple[Ended, list[Claim]]:
    """Rotate while visitors visit; how it ended, and what is to be said of that."""
    logins = _log_in(stack, wish.sessions, screen)
    before = failure_checks.look(stack, logins.cookies[-1])
    on_state = _order(stack, wish.fault, screen)
    old_version = next(v for v, labels in stack.labels().items() if "AWSCURRENT" in labels)
    with Visitors(stack.urls["web-console"], logins.cookies[:VISITORS]) as visitors:
        screen.plan([*ROTATION_STEPS, *wish.states])
        listen(stack, screen)
        with Gauges(stack, visitors, screen.reading) as gauges:
            screen.stage(triggers.SAYS[wish.mode])
            rotation_id = triggers.WAYS[wish.mode](stack)
            gauges.rotation_id = rotation_id
            screen.stage(f"The rotation's version is {rotation_id}")
            ended = follow(stack, rotation_id, screen, on_state)
        seen = visitors.report()
    if wish.fault and wish.fault.error:
        return ended, failure_checks.take_account(stack, wish.fault, wish.mode, before, ended)
    if ended.record is None or ended.status != "SUCCEEDED":
        return ended, []
    evidence = Evidence(ended.record, old_version, before.pods, logins.cookies, seen)
    account = take_account(stack, evidence)
    return ended, account + (wish.fault.claims(stack, ended.record) if wish.fault else [])


def _order(stack: LocalStack, fault: Fault | None, screen: Screen) -> Callable[[str], None]:
    """Have a fault happen at its moment: now, or on entering its state."""

    def on_state(state: str | None) -> None:
        if fault and (says := fault.reach(stack, state)):
            screen.stage(says)

    on_state(None)
    return on_state


def _log_in(stack: LocalStack, sessions: int, screen: Screen) -> Logins:
    """Log users in over HTTP, and beyond 2,000 as the auth service itself writes sessions."""
    screen.truth(f"{sessions:,} users are logging in.")
    with stack.redis.client(SESSION_DATABASE) as client:
        bulk = Bulk(client, stack.first_key.raw)
        logins = log_in(sessions, stack.urls["web-console"], bulk=bulk)
    written = f", {logins.bulk:,} written as the auth service does" if logins.bulk else ""
    screen.stage(
        f"Users: {logins.over_http:,} logged in over HTTP{written}; {VISITORS} keep visiting"
    )
    return logins


def _tell_failure(screen: Screen, ended: Ended) -> None:
    screen.truth("The rotation did not succeed.")
    screen.say(f"\nThe run ended as {ended.status}: {ended.error}: {words(ended.cause)}")
    screen.say(f"What the functions said: {OUT / 'functions.log'}")


def words(cause: str | None) -> str:
    """A function's own words from the JSON that Lambda wraps them in."""
    try:
        return str(json.loads(cause or "")["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause or ""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
