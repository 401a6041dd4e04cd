"""docs/operations.md says what is so: its lines can be given, and every subject is found there."""

import json
import re

from keyturn.monitoring import alerts
from keyturn.monitoring.issues import IssueKind
from keyturn.monitoring.key_health import Execution, Issue
from keyturn.monitoring.message_text import StackRefs
from keyturn.reporting import commands
from keyturn.run import run
from keyturn.run.caller import is_execution_of
from keyturn.run.run import Run
from keyturn.secret.trigger import Schedule, classify
from tests import shell
from tests.conftest import ARN, NEW, NOON
from tests.every_case import every_case
from tests.issue_details import ABOUT
from tests.project import ROOT, document

TEXT = document(ROOT / "docs" / "operations.md")
APART = {"NOT_CARRIED", "SOON"}  # their messages need more than the judgement
NO_SCHEDULE = Schedule(None, None, enabled=False, next_rotation=None)
PLACE = StackRefs(ARN, "arn:of-the-machine")
NAMES = {"<StateMachineArn>": "arn:of-the-machine", "<SecretArn>": ARN, "<VersionId>": NEW}


def lines(beginning: str) -> list[str]:
    """The commands that begin so, with a value for each name."""
    found = re.findall(rf"^    (aws {beginning} (?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    for name, value in NAMES.items():
        found = [line.replace(name, value) for line in found]
    return found


def test_every_token_of_the_guide_means_what_it_says_and_is_one_that_aws_takes() -> None:
    tokens = [
        shell.options(line)["--client-request-token"]
        for line in lines("secretsmanager rotate-secret")
        if "--client-request-token" in line
    ]
    shown = re.findall(r"`(emergency-\$\([^`]*)`", TEXT)
    tokens += [shell.options(f'aws s c --token "{token}"')["--token"] for token in shown]
    kinds = [classify(token, NO_SCHEDULE, NOON, "scheduled").kind for token in tokens]
    assert sorted(kinds) == ["emergency", "emergency", "emergency", "planned"]
    assert all(run.ROTATION_ID.fullmatch(token) for token in tokens)


def test_the_dry_run_of_the_guide_is_the_one_that_changes_nothing() -> None:
    dry = [line for line in lines("secretsmanager rotate-secret") if "token" not in line]
    assert dry
    assert all(line.endswith(f"--secret-id {ARN} --no-rotate-immediately") for line in dry)


def test_the_retry_command_is_that_of_the_messages_and_its_input_is_a_run() -> None:
    (line,) = lines("stepfunctions start-execution")
    given = shell.options(line)
    asked = shell.options(commands.run_again(Run(NEW, ARN, "scheduled"), "arn:of-the-machine"))
    assert given.keys() == asked.keys()
    assert is_execution_of(Run(NEW, ARN, "scheduled"), given["--name"])
    assert given["--name"][:-10] == asked["--name"][:-10] == f"rot-{NEW}-"
    assert run.parse_run(json.loads(given["--input"]), ARN) == Run(NEW, ARN, "scheduled")


@every_case("concern", [one for one in IssueKind if one.name not in APART])
def test_the_subject_of_what_the_watch_tells_is_a_heading(concern: IssueKind) -> None:
    ended = Execution(f"rot-{NEW}", "arn:of-the-run", "FAILED", NOON)
    judged = Issue(concern, NEW, NOON, runs=(ended,), about=ABOUT.get(concern, ()))
    assert_explained(alerts.message_of(judged, PLACE, NOON).subject)


def test_the_subjects_of_the_other_concerns_are_headings_too() -> None:
    soon = Issue(IssueKind.SOON, NEW, NOON)
    assert_explained(alerts.announcement(soon, PLACE, NOON, None).subject)
    assert_explained(
        alerts.invalid_version_id(Issue(IssueKind.NOT_CARRIED, NEW, NOON), PLACE, NOON).subject
    )


def assert_explained(subject: str) -> None:
    """A heading, or named under one where one concern has two."""
    told = re.sub(r"\b\d{4}-\d\d-\d\d\b", "<date>", re.sub(r"\b\d+ days", "<n> days", subject))
    overdue = told.partition(": ")[0]
    assert f"### {told}\n" in TEXT or f"*{overdue}*" in TEXT, told


def test_every_error_has_its_meaning_a_check_and_a_fix() -> None:
    errors = re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert len(errors) > 40
    for name, told in errors:
        assert re.fullmatch(r"[^-].*?\n\n- Check: .*?\n- Fix: .*?\n+", told, re.DOTALL), name
