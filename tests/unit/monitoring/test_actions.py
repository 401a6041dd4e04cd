"""What is done about each concern, and what people read."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.monitoring import actions, alerts, key_health, message_text
from keyturn.monitoring.issues import CRITICAL, IssueKind
from keyturn.monitoring.key_health import Execution, Issue
from keyturn.monitoring.watch_trigger import CHANGES, WatchTrigger
from keyturn.reporting.notifications import Message
from keyturn.run.run import Origin, Run
from keyturn.run.times import format_timestamp
from keyturn.secret import exposure, key
from tests import shell
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeChannel, FakeClock, FakeLooks, FakeRuns, FakeSecretStore, telling
from tests.issue_details import ABOUT

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateSessionKey"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVERY_DAY, ON_MOVE, OFTEN, ON_END = (
    WatchTrigger("daily", NOON),
    WatchTrigger("moved", NOON),
    WatchTrigger("frequent", NOON),
    WatchTrigger("ended", NOON),
)
PLACE = message_text.StackRefs(ARN, MACHINE)
ENDED = Execution(f"rot-{NEW}", f"{MACHINE}:rot-{NEW}", "FAILED", NOON - HOUR)


@dataclass
class Scene:
    """A secret whose current version was put by hand an hour ago."""

    store: FakeSecretStore = field(default_factory=FakeSecretStore)
    runs: FakeRuns = field(default_factory=FakeRuns)
    channel: FakeChannel = field(default_factory=FakeChannel)
    clock: FakeClock = field(default_factory=FakeClock)
    questions: FakeLooks | None = field(default_factory=FakeLooks)
    told_before: dict[Any, datetime] = field(default_factory=dict)
    users: Callable[[], dict[str, Any]] = lambda: {"sessions": 41, "counted": True}

    def __post_init__(self) -> None:
        self.store.stages = {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
        self.store.documents = {version: a_document() for version in (OLD, NEW)}
        self.store.made = {OLD: NOON - DAY, NEW: NOON - HOUR}

    def look(self, call: WatchTrigger = ON_MOVE) -> list[dict[str, Any]]:
        watching = actions.Watch(
            place=PLACE,
            limits=key_health.Limits(30 * DAY, 90 * DAY, 48 * HOUR),
            secret=self.store,
            runs=self.runs,
            users=self.users,
            notifications=telling(self.channel),
            questions=self.questions,
            told=self.told_before,
        )
        return actions.handle_issues(watching, call, self.store.seen(), self.clock).found

    @property
    def told(self) -> Message:
        (message,) = self.channel.told
        return message


def a_document() -> str:
    return json.dumps({key.FIELD: key.generate_key().base64})


@pytest.fixture
def scene() -> Scene:
    return Scene()


APART = {IssueKind.NOT_CARRIED, IssueKind.SOON}


def judged(concern: IssueKind, **changes: Any) -> Issue:
    issue = Issue(concern, NEW, NOON - HOUR, OLD, about=ABOUT.get(concern, ()))
    return replace(issue, **changes)


def message_of(concern: IssueKind, **changes: Any) -> Message:
    return alerts.message_of(judged(concern, **changes), PLACE, NOON)


def every_message() -> list[Message]:
    soon = judged(IssueKind.SOON, since=NOON + 2 * DAY)
    return [
        *(message_of(concern, runs=(ENDED,)) for concern in IssueKind if concern not in APART),
        *(message_of(concern) for concern in ABOUT),
        *(message_of(IssueKind.PROTECTION_CHANGED, about=(name,)) for name in CHANGES),
        alerts.invalid_version_id(judged(IssueKind.NOT_CARRIED), PLACE, NOON),
        alerts.announcement(soon, PLACE, NOON, {"sessions": 41, "counted": True}),
        alerts.announcement(soon, PLACE, NOON, None),
    ]


# What is done


def test_a_key_changed_by_hand_is_carried_to_the_services(scene: Scene) -> None:
    (done,) = scene.look()
    assert done == {
        "concern": "NOT_CARRIED",
        "version": NEW,
        "started": f"rot-{NEW}",
        "mode": "scheduled",
    }
    origin = Origin("watch", format_timestamp(NOON - HOUR))
    assert scene.runs.started == [Run(NEW, ARN, "scheduled", OLD, origin)]
    assert scene.channel.told == []  # BeginRotation tells


def test_the_same_version_is_the_same_run_at_every_look(scene: Scene) -> None:
    scene.look()
    scene.look(replace(EVERY_DAY, at=NOON + DAY))
    assert len(scene.runs.started) == 1


def test_a_version_whose_token_says_emergency_is_carried_as_one(scene: Scene) -> None:
    token = "emergency-by-hand-of-the-security-team"
    scene.store.stages = {OLD: ["AWSPREVIOUS"], token: ["AWSCURRENT"]}
    scene.store.documents[token], scene.store.made[token] = a_document(), NOON - HOUR
    scene.look()
    assert [run.mode for run in scene.runs.started] == ["emergency"]


def outside_the_window(scene: Scene) -> None:
    scene.store.rules = replace(scene.store.rules, expression="cron(0 3 1 * ? *)", duration="2h")


def test_an_emergency_that_the_watch_carries_is_left_to_its_run(scene: Scene) -> None:
    """The run of a bare rotate-secret could not be started; the run itself closes the way back."""
    outside_the_window(scene)
    (done,) = scene.look(OFTEN)
    assert (done["started"], done["mode"]) == (f"rot-{NEW}", "emergency")
    (run,) = scene.runs.started
    assert (run.mode, run.previous) == ("emergency", OLD)
    assert scene.store.marks() == []
    exposure.mark_replaced(scene.store, run, NOON)
    assert [mark.version for mark in scene.store.marks()] == [OLD]
    assert scene.store.stages[OLD] == []


def test_a_scheduled_run_that_the_watch_carries_leaves_the_way_back_open(scene: Scene) -> None:
    scene.look(OFTEN)
    assert [run.mode for run in scene.runs.started] == ["scheduled"]
    assert scene.store.marks() == []
    assert scene.store.stages[OLD] == ["AWSPREVIOUS"]


def carried(scene: Scene) -> Scene:
    """A secret whose current version has been carried to the services."""
    scene.runs.known = [replace(ENDED, status="SUCCEEDED")]
    return scene


def exposed_delivered() -> FakeLooks:
    questions = FakeLooks()
    questions.answers[0]["delivered"] |= {"holds": "exposed", "version": OLD}
    return questions


def test_an_exposed_key_where_services_read_it_is_told_at_once(scene: Scene) -> None:
    carried(scene).questions = exposed_delivered()
    (done,) = scene.look(OFTEN)
    assert done["concern"] == "EXPOSED_KEY_DELIVERED"
    assert scene.told.facts["critical"] is True
    assert OLD in scene.told.summary


@pytest.mark.parametrize(
    ("holds", "hours"), [("exposed", 1), ("other", 24)], ids=["critical", "drift"]
)
def test_a_lasting_issue_is_reported_again_after_a_while(
    scene: Scene, holds: str, hours: int
) -> None:
    carried(scene).questions = exposed_delivered()
    assert scene.questions
    scene.questions.answers[0]["delivered"]["holds"] = holds
    for minutes in range(0, hours * 60 + 1, 5):
        (done,) = scene.look(replace(OFTEN, at=NOON + timedelta(minutes=minutes)))
        assert ("told" in done) is (minutes in {0, hours * 60})
    assert len(scene.channel.told) == 2


def test_a_message_that_nobody_took_is_told_by_the_next_look(scene: Scene) -> None:
    carried(scene).questions = exposed_delivered()
    scene.channel.down = True
    scene.look(OFTEN)
    scene.channel.down = False
    scene.look(replace(OFTEN, at=NOON + timedelta(minutes=5)))
    assert scene.told.facts["concern"] == "EXPOSED_KEY_DELIVERED"


def test_a_new_process_tells_what_lasts_once_more(scene: Scene) -> None:
    carried(scene).questions = exposed_delivered()
    scene.look(OFTEN)
    scene.told_before = {}
    scene.look(replace(OFTEN, at=NOON + timedelta(minutes=5)))
    assert len(scene.channel.told) == 2


def test_nobody_is_asked_while_the_run_of_the_current_version_goes_on(scene: Scene) -> None:
    scene.runs.known = [replace(ENDED, status="RUNNING")]
    assert scene.look(OFTEN) == []
    assert scene.questions
    assert scene.questions.asked == []


@pytest.mark.parametrize("questions", [FakeLooks(down=True), FakeLooks(late=True)])
def test_that_nobody_could_look_is_told_once_a_day_and_fails_nothing(
    scene: Scene, questions: FakeLooks
) -> None:
    carried(scene).questions = questions
    (done,) = scene.look(OFTEN)
    assert (done["concern"], done["told"]) == ("DRIFT_UNKNOWN", "daily")
    assert scene.channel.told == []
    scene.look(EVERY_DAY)
    *before, last = scene.channel.told
    assert last.facts["concern"] == "DRIFT_UNKNOWN"
    # Functions that do not answer would not let a rotation pass either.
    assert [one.facts["concern"] for one in before] == ["WOULD_BE_REFUSED"] * questions.late


def test_a_rotation_that_would_be_refused_is_told_days_ahead(scene: Scene) -> None:
    questions = FakeLooks()
    problem = {"error": "AccessDenied", "message": "it may not `patch secrets`"}
    questions.answers[0]["problems"] = [problem]
    carried(scene).questions = questions
    assert scene.look(OFTEN) == []
    (done,) = scene.look(EVERY_DAY)
    assert done["concern"] == "WOULD_BE_REFUSED"
    assert scene.told.fields["Reason"] == "AccessDenied: deliver_key: it may not `patch secrets`"
    assert scene.told.command.endswith(f"--secret-id {ARN} --no-rotate-immediately")
    assert questions.asked == ["drift", "preflight", "drift"]


def test_a_run_that_was_started_before_the_promotion_has_not_carried_the_key(
    scene: Scene,
) -> None:
    forged = replace(ENDED, status="SUCCEEDED")
    scene.runs.known = [forged]
    scene.runs.outcomes[forged.arn] = "superseded"
    (done,) = scene.look()
    assert (done["concern"], done["started"]) == ("NOT_CARRIED", f"rot-{NEW}")


def test_a_secret_marked_for_deletion_is_the_only_issue_reported(
    scene: Scene,
) -> None:
    scene.store.deleted_at = NOON + 7 * DAY
    (done,) = scene.look(OFTEN)
    assert done["concern"] == "MARKED_FOR_DELETION"
    assert scene.told.command == f"aws secretsmanager restore-secret --secret-id {ARN}"
    assert scene.runs.started == []
    assert scene.questions
    assert scene.questions.asked == []


def test_a_message_about_a_policy_names_no_person(
    scene: Scene,
) -> None:
    carried(scene)
    (done,) = scene.look(WatchTrigger("changed", NOON, "PutResourcePolicy"))
    assert done["concern"] == "PROTECTION_CHANGED"
    given = shell.options(scene.told.command)
    assert given["--lookup-attributes"] == (
        "AttributeKey=EventName,AttributeValue=PutResourcePolicy"
    )
    assert given["--start-time"] < format_timestamp(NOON) < given["--end-time"]


def test_a_rotation_that_is_about_to_start_its_run_is_waited_for(scene: Scene) -> None:
    def rotation_starts(seconds: float, /) -> None:
        scene.runs.known = [Execution(f"rot-{NEW}", "arn", "RUNNING", NOON)]

    scene.clock.sleep = rotation_starts  # type: ignore[method-assign]
    assert scene.look() == []
    assert scene.runs.started == []


def test_a_look_that_starts_nothing_does_not_wait(scene: Scene) -> None:
    scene.runs.known = [replace(ENDED, status="SUCCEEDED")]
    assert scene.look() == []
    assert scene.clock.slept == 0


def test_a_version_whose_id_can_name_no_run_is_told_and_not_carried(scene: Scene) -> None:
    odd = "not a name, but a token that Secrets Manager takes"
    scene.store.stages = {OLD: ["AWSPREVIOUS"], odd: ["AWSCURRENT"]}
    scene.store.documents[odd], scene.store.made[odd] = a_document(), NOON - HOUR
    scene.look()
    assert scene.runs.started == []
    assert scene.told.fields["Reason"].startswith("the version's id is not 32 to 64")


def test_a_run_that_cannot_be_started_fails_the_call_before_anything_is_told(scene: Scene) -> None:
    scene.runs.down = True
    scene.store.made[NEW] = NOON - 31 * DAY + HOUR
    scene.store.made[OLD] = NOON - 40 * DAY
    with pytest.raises(errors.StateMachineUnavailable):
        scene.look(EVERY_DAY)
    assert scene.channel.told == []


def test_a_message_that_nobody_takes_fails_nothing(scene: Scene) -> None:
    scene.runs.known, scene.channel.down = [ENDED], True
    (done,) = scene.look(EVERY_DAY)
    assert done["concern"] == "RUN_ENDED"
    assert done["told"]["topic"].startswith("NotificationFailed")


STOPPED = replace(ENDED, status="ABORTED", stopped=NOON - timedelta(minutes=3))


def test_a_run_that_was_lost_is_told_by_the_next_frequent_look_and_once(scene: Scene) -> None:
    scene.runs.known, scene.runs.lost = [STOPPED], {STOPPED.arn}
    (done,) = scene.look(OFTEN)
    assert (done["concern"], done["version"]) == ("RUN_LOST", NEW)
    assert scene.told.subject == "Session key rotation was LOST: its run ended without a record"
    assert STOPPED.arn in scene.told.command
    scene.look(replace(OFTEN, at=NOON + timedelta(minutes=5)))
    assert len(scene.channel.told) == 1


def test_a_run_that_was_lost_is_told_upon_its_end_once_step_functions_lists_it(
    scene: Scene,
) -> None:
    def the_end_is_listed(_seconds: float) -> None:
        scene.runs.known = [STOPPED]

    scene.runs.known, scene.runs.lost = [replace(STOPPED, status="RUNNING")], {STOPPED.arn}
    scene.clock.sleep = the_end_is_listed  # type: ignore[method-assign]
    assert [one["concern"] for one in scene.look(ON_END)] == ["RUN_LOST"]
    assert [one["concern"] for one in scene.look(OFTEN)] == ["RUN_LOST"]
    assert len(scene.channel.told) == 1


def test_the_end_of_a_run_that_reported_itself_raises_no_issue(
    scene: Scene,
) -> None:
    scene.runs.known = [replace(ENDED, stopped=NOON)]
    scene.store.rules = replace(scene.store.rules, enabled=False)
    assert scene.look(ON_END) == []
    assert scene.channel.told == []


def test_a_run_that_was_lost_on_its_way_back_is_told_too(scene: Scene) -> None:
    """The current version is then the one before, whose own run is weeks ago."""
    scene.store.stages = {OLD: ["AWSCURRENT"], NEW: ["AWSPREVIOUS"]}
    scene.runs.known, scene.runs.lost = [STOPPED], {STOPPED.arn}
    assert [one["concern"] for one in scene.look(OFTEN)] == ["RUN_LOST"]


def test_a_run_that_has_told_its_end_itself_is_told_by_the_daily_look_alone(scene: Scene) -> None:
    scene.runs.known = [replace(ENDED, stopped=NOON)]
    assert scene.look(OFTEN) == []
    assert [one["concern"] for one in scene.look(EVERY_DAY)] == ["RUN_ENDED"]


def announce(scene: Scene, due: datetime) -> None:
    scene.runs.known = [replace(ENDED, status="SUCCEEDED")]
    scene.store.rules = replace(scene.store.rules, next_rotation=due)
    scene.look(EVERY_DAY)


def test_the_next_rotation_is_announced_with_its_users_and_how_to_move_it(scene: Scene) -> None:
    announce(scene, NOON + 40 * HOUR)
    assert scene.told.subject == (
        "Session key rotation by 2026-11-26: users will have to log in again"
    )
    assert "by 2026-11-26T04:00:00.000Z at the latest" in scene.told.summary
    assert scene.told.fields["Impact"] == (
        "At present 41 sessions would end. Users have to log in again."
    )
    words = shlex.split(scene.told.command)
    assert words[:5] == ["aws", "secretsmanager", "rotate-secret", "--secret-id", ARN]
    assert "--no-rotate-immediately" in words
    assert json.loads(words[-1])["ScheduleExpression"].startswith("cron(0 ")
    assert "RotationSchedule" in scene.told.next_steps


def test_a_rotation_is_announced_where_nobody_can_count_the_users(scene: Scene) -> None:
    def down() -> dict[str, Any]:
        raise errors.SessionStoreUnavailable("Redis does not answer")

    scene.users = down
    announce(scene, NOON + 40 * HOUR)
    assert "an unknown number of sessions would end" in scene.told.fields["Impact"]


def test_a_rotation_that_is_switched_off_is_not_announced(scene: Scene) -> None:
    scene.store.rules = replace(scene.store.rules, enabled=False)
    announce(scene, NOON + 40 * HOUR)
    assert scene.told.facts["concern"] == "ROTATION_OFF"


# What people read


def test_the_command_of_an_ended_run_starts_it_with_the_input_that_it_had() -> None:
    """The input says whether it was an emergency: a run that forgets that may go back."""
    for runs in ((ENDED,), (replace(ENDED, arn="arn:the-first"), ENDED)):
        told = message_of(IssueKind.RUN_ENDED, runs=runs).command
        assert f"describe-execution --execution-arn {ENDED.arn} --query input" in told
        given = shell.options(told, had='{"mode": "emergency"}')
        assert given["--state-machine-arn"] == MACHINE
        assert given["--input"] == '{"mode": "emergency"}'
        assert re.fullmatch(rf"rot-{NEW}-[0-9a-f]{{10}}", given["--name"])


def test_the_command_of_a_key_that_was_put_back_carries_it_to_the_services() -> None:
    given = shell.options(message_of(IssueKind.PUT_BACK).command)
    assert re.fullmatch(rf"rot-{NEW}-[0-9a-f]{{10}}", given["--name"])
    assert json.loads(given["--input"]) == PLACE.run_of(judged(IssueKind.PUT_BACK)).as_ledger()


@pytest.mark.parametrize(
    "concern",
    [IssueKind.EXPOSED_KEY_DELIVERED, IssueKind.DELIVERED_DRIFTED, IssueKind.PODS_DRIFTED],
)
def test_the_command_of_a_drift_runs_the_last_run_again(concern: IssueKind) -> None:
    given = shell.options(message_of(concern, runs=(ENDED,)).command, had='{"mode": "emergency"}')
    assert given["--input"] == '{"mode": "emergency"}'
    assert re.fullmatch(rf"rot-{NEW}-[0-9a-f]{{10}}", given["--name"])
    forgotten = message_of(concern).command
    assert re.search(r'--client-request-token "emergency-', forgotten)


def test_the_command_of_a_rotation_that_is_off_turns_it_on_with_its_rules() -> None:
    told = message_of(IssueKind.ROTATION_OFF).command
    words = shlex.split(told)
    assert "--no-rotate-immediately" in words
    assert json.loads(words[-1]) == {
        "ScheduleExpression": "cron(0 3 1,15 * ? *)",
        "Duration": "2h",
    }


def test_the_command_of_a_stuck_rotation_takes_its_label_off() -> None:
    told = message_of(IssueKind.STUCK, since=NOON - timedelta(minutes=45))
    assert "for 45 minutes" in told.summary
    assert told.command.endswith(f"--version-stage AWSPENDING --remove-from-version-id {NEW}")


@pytest.mark.parametrize(
    ("concern", "days", "subject"),
    [
        (IssueKind.OLD, 30, "Session key is 30 days old"),
        (IssueKind.TOO_OLD, 93, "Session key is OVERDUE: 93 days old"),
    ],
)
def test_an_old_key_is_told_with_its_age(concern: IssueKind, days: int, subject: str) -> None:
    told = message_of(concern, since=NOON - days * DAY - HOUR)
    assert told.subject == subject
    assert f"created {days} days ago" in told.summary


def test_every_message_has_the_facts_of_the_runbook_and_reads_as_an_e_mail() -> None:
    for message in every_message():
        assert list(message.fields)[:3] == ["When", "Impact", "Reason"]
        assert all(message.fields.values())
        assert all(len(name) < 9 for name in message.fields)
        assert message.summary.endswith(".")
        assert message.next_steps.endswith(":")
        assert message.command
        assert "None " not in message.text.replace("None yet", "").replace("None now", "").replace(
            "None for users", ""
        )
        assert message.subject.isascii()
        assert message.subject.isprintable()
        assert len(message.subject) < 100
        assert json.loads(json.dumps(message.facts))["secretArn"] == ARN


def test_every_concern_but_those_that_need_more_has_its_message() -> None:
    for concern in set(IssueKind) - APART:
        told = message_of(concern, runs=(ENDED,))
        assert told.facts["concern"] == concern.name
        assert told.facts["critical"] is (concern in CRITICAL)
        assert told.subject.startswith("CRITICAL: ") is (concern in CRITICAL)
    for concern in APART:
        with pytest.raises(KeyError):
            message_of(concern)
