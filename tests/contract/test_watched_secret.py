"""The dates that the watch judges by, on the adapter and the local Secrets Manager."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn import errors
from keyturn.adapters.aws.secrets_manager import SecretsManager
from keyturn.findings import event as finding_event
from keyturn.findings import policy as finding_policy
from keyturn.findings import response
from keyturn.secret import exposure
from keyturn.secret.exposure import Mark
from keyturn.secret.staging_labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS
from keyturn.settings import loading
from tests.contract.secrets_manager_account import START, Account, until
from tests.fakes import FakeChannel, telling
from tests.project import environment, event

TWO_DAYS = timedelta(days=2)
LATER = START + timedelta(days=9)
SCOPE = finding_policy.scope_of(
    loading.load(loading.RespondToFindingSettings, environment("respond_to_finding"))
)
FOUND = replace(finding_event.parse_finding(event("respond_to_finding")), last_seen=LATER)


def test_the_watch_sees_which_version_is_current_since_when_and_which_was(account: Account) -> None:
    first = account.put("one")
    account.clock.advance(TWO_DAYS.total_seconds())
    second = account.put("two")
    seen = SecretsManager(account.arn).seen()
    current, previous = seen.holder(AWSCURRENT), seen.holder(AWSPREVIOUS)
    assert current
    assert previous
    assert (current.id, current.created) == (second, START + TWO_DAYS)
    assert (previous.id, previous.created) == (first, START)
    assert seen.changed == START + TWO_DAYS


def test_a_pending_version_without_a_value_has_the_date_of_the_last_change(
    account: Account,
) -> None:
    account.put("one")
    account.clock.advance(TWO_DAYS.total_seconds())
    account.function.failures["createSecret"] = 1
    pending = account.rotate()
    until(lambda: account.waits_to_retry(pending), "the failed first step")
    seen = SecretsManager(account.arn).seen()
    found = seen.holder(AWSPENDING)
    assert found
    assert (found.id, found.created) == (pending, None)
    assert seen.changed == START + TWO_DAYS


def test_the_watch_sees_the_rules_the_marks_and_that_rotation_is_off(account: Account) -> None:
    current = account.put("one")
    rules = {"ScheduleExpression": "cron(0 3 1 * ? *)", "Duration": "2h"}
    account.rotate(RotateImmediately=False, RotationRules=rules)
    store = SecretsManager(account.arn)
    store.mark_exposed(Mark(current, START, "emergency", "0" * 16))
    seen = store.seen()
    assert seen.schedule == store.schedule()
    assert seen.schedule.enabled
    assert seen.next_rotation is not None
    assert exposure.find_mark(seen.marks, current)
    account.call("CancelRotateSecret", SecretId=account.arn)
    off = store.seen()
    assert not off.schedule.enabled
    assert (off.schedule.expression, off.schedule.duration) == ("cron(0 3 1 * ? *)", "2h")
    assert off.next_rotation is None


def test_a_secret_that_is_marked_for_deletion_is_seen_with_its_labels(account: Account) -> None:
    current = account.put("one")
    account.call("DeleteSecret", SecretId=account.arn, RecoveryWindowInDays=7)
    seen = SecretsManager(account.arn).seen()
    found = seen.holder(AWSCURRENT)
    assert seen.deleted == START + timedelta(days=7)
    assert found
    assert found.id == current
    account.call("RestoreSecret", SecretId=account.arn)
    assert SecretsManager(account.arn).seen().deleted is None


@pytest.mark.parametrize(
    "call",
    [
        lambda store, version: store.read(version),
        lambda store, version: store.find(version),
        lambda store, version: store.created(version),
        lambda store, version: store.write_pending(str(uuid.uuid4()), "{}", None),
        lambda store, version: store.move_current(version, version),
        lambda store, version: store.drop_label(AWSPENDING, version),
        lambda store, version: store.start_rotation(str(uuid.uuid4())),
        lambda store, version: store.mark_exposed(Mark(version, START, "emergency")),
    ],
    ids=["read", "find", "created", "write", "move", "drop", "rotate", "mark"],
)
def test_whoever_needs_more_of_it_is_told_of_the_mark_and_how_to_take_it_back(
    account: Account, call: Callable[[SecretsManager, str], object]
) -> None:
    """A request is invalid then, as it is for other reasons, which pass by themselves."""
    version = account.put("one")
    account.call("DeleteSecret", SecretId=account.arn, RecoveryWindowInDays=7)
    with pytest.raises(errors.SecretMarkedForDeletion) as no:
        call(SecretsManager(account.arn), version)
    assert f"aws secretsmanager restore-secret --secret-id {account.arn}" in str(no.value)
    assert not isinstance(no.value, errors.RetryMe)


def test_a_finding_about_a_marked_secret_says_that_it_is_marked(account: Account) -> None:
    account.put("one")
    account.call("DeleteSecret", SecretId=account.arn, RecoveryWindowInDays=7)
    scope = replace(SCOPE, secret_arn=account.arn)
    with pytest.raises(errors.SecretMarkedForDeletion):
        response.respond(SecretsManager(account.arn), telling(FakeChannel()), FOUND, scope, LATER)
