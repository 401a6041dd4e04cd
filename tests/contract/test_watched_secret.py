"""The dates that the watch judges by, on the adapter and the local Secrets Manager."""

from datetime import timedelta

from keyturn import watch
from keyturn.adapters.secrets_manager import SecretsManager
from keyturn.labels import AWSCURRENT, AWSPENDING, AWSPREVIOUS
from tests.contract.secrets_manager_account import START, Account, until

TWO_DAYS = timedelta(days=2)


def test_the_watch_sees_which_version_is_current_since_when_and_which_was(account: Account) -> None:
    first = account.put("one")
    account.clock.advance(TWO_DAYS.total_seconds())
    second = account.put("two")
    seen = watch.look(SecretsManager(account.arn))
    current, previous = seen.holder(AWSCURRENT), seen.holder(AWSPREVIOUS)
    assert current
    assert previous
    assert (current.id, current.created) == (second, START + TWO_DAYS)
    assert (previous.id, previous.created) == (first, START)
    assert seen.changed == START + TWO_DAYS


def test_a_pending_version_without_a_value_is_as_old_as_the_secrets_last_change(
    account: Account,
) -> None:
    account.put("one")
    account.clock.advance(TWO_DAYS.total_seconds())
    account.function.failures["createSecret"] = 1
    pending = account.rotate()
    until(lambda: account.waits_to_retry(pending), "the failed first step")
    seen = watch.look(SecretsManager(account.arn))
    found = seen.holder(AWSPENDING)
    assert found
    assert (found.id, found.created) == (pending, None)
    assert seen.changed == START + TWO_DAYS
