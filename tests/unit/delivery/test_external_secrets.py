"""A sync that is reported is not believed, a key that was read back is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.delivery import strategy
from keyturn.delivery.external_secrets import (
    ANSWER_LIMIT,
    SYNC_LIMIT,
    ExternalSecret,
    ExternalSecretsDelivery,
    may_be_synced_since,
    sync_blocker,
    synced_since,
)
from keyturn.delivery.strategy import PromotedKey
from keyturn.run.run import Run
from keyturn.run.times import format_timestamp
from keyturn.secret import key
from keyturn.secret.key import SessionKey
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import FakeOperator, FakeSecretStore, FakeTarget

POLL = timedelta(seconds=5)
BEFORE = NOON - timedelta(minutes=30)


class Delivery:
    """A delivery from call to call, as the state machine repeats it, beside the operator."""

    def __init__(self) -> None:
        self.old, self.new = key.generate_key(), key.generate_key()
        self.target = FakeTarget(self.old.base64, owner="ExternalSecret session-key")
        self.operator = FakeOperator(self.target, self.old.base64)
        self.operator.sync(BEFORE)
        self.operator.provides = self.new.base64
        self.delivery = ExternalSecretsDelivery(self.target, self.operator, "session-key")
        self.last: Any = {}
        self.at = NOON

    def call(self, at: datetime) -> Any:
        """One call of DeliverKey; where it raises, the ledger stays as it was."""
        store = FakeSecretStore(
            {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
            {OLD: document_of(self.old), NEW: document_of(self.new)},
        )
        run = Run(NEW, ARN, "scheduled", OLD).as_ledger()
        ledger: Any = {**run, "deliver_key": self.last} if self.last else run
        self.at, self.last = at, strategy.deliver(store, self.delivery, NEW, ledger, at)
        return self.last

    def again(self) -> Any:
        """The next call, one poll later."""
        return self.call(self.at + POLL)

    def poll(self) -> Any:
        """The next call, or its retry where its answer was lost; the state after it."""
        try:
            self.again()
        except errors.ClusterUnavailable:
            self.at += POLL
        return self.last.get("state")


def document_of(session_key: SessionKey) -> str:
    return key.new_document(session_key).text


@pytest.fixture
def delivering() -> Delivery:
    """A Secret that the operator synced half an hour ago, and a key promoted since."""
    return Delivery()


def test_a_sync_is_asked_for_and_what_it_brought_is_the_proof(delivering: Delivery) -> None:
    asked = delivering.call(NOON)
    assert asked == {
        "state": "waiting",
        "target": "Kubernetes Secret web/session-key by ExternalSecret web/session-key",
        "written": False,
        "says": "sync requested (1)",
        "asked": 1,
        "askedAt": format_timestamp(NOON),
        "fingerprint": delivering.new.fingerprint,
        "previousFingerprint": delivering.old.fingerprint,
        "startedAt": format_timestamp(NOON),
    }
    delivering.operator.sync(NOON + timedelta(seconds=1))
    done = delivering.again()
    assert delivering.target.value == delivering.new.base64
    assert (done["state"], done["asked"], done["startedAt"]) == ("done", 1, format_timestamp(NOON))
    assert done["delivery"] == delivering.target.read().resource_version
    assert done["seconds"] == POLL.total_seconds()
    assert delivering.operator.tokens == [f"{NEW}-1"]


def test_a_key_that_the_operator_wrote_again_is_confirmed_and_another_is_not(
    delivering: Delivery,
) -> None:
    delivering.target.value, promoted = (
        delivering.new.base64,
        PromotedKey(delivering.new, NEW, lambda: None),
    )
    delivering.target.version += 1
    assert delivering.delivery.contains(promoted)
    delivering.target.value = delivering.old.base64
    assert not delivering.delivery.contains(promoted)


def test_a_key_that_the_operator_put_back_by_itself_is_another_delivery(
    delivering: Delivery,
) -> None:
    """Pods that started in between read what was there then."""
    delivering.target.value = delivering.new.base64
    first = delivering.call(NOON)["delivery"]
    delivering.target.value, delivering.target.version = "another", delivering.target.version + 1
    hour = NOON + timedelta(hours=1)
    delivering.operator.sync(hour)
    assert delivering.target.value == delivering.new.base64
    delivering.last = {}
    again = delivering.call(hour)
    assert (again["state"], "asked" in again) == ("done", False)
    assert again["delivery"] != first


def test_we_never_write_the_secret_ourselves(delivering: Delivery) -> None:
    delivering.call(NOON)
    delivering.operator.sync(NOON)
    delivering.again()
    assert delivering.target.writes == 0


def test_a_secret_that_holds_the_key_already_is_not_asked_for(delivering: Delivery) -> None:
    delivering.target.value = delivering.new.base64
    done = delivering.call(NOON)
    assert (done["state"], "asked" in done, "askedAt" in done) == ("done", False, False)
    assert delivering.operator.tokens == []


def test_ready_from_the_sync_before_is_not_believed(delivering: Delivery) -> None:
    """The condition stays true from sync to sync, and nothing in it moves."""
    delivering.call(NOON)
    assert delivering.operator.seen.ready
    waiting = delivering.again()
    assert (waiting["state"], waiting["says"]) == ("waiting", "waiting for the operator's sync")
    assert delivering.operator.tokens == [f"{NEW}-1"]


def test_a_sync_that_has_written_and_is_not_marked_as_done_is_waited_for(
    delivering: Delivery,
) -> None:
    delivering.call(NOON)
    delivering.operator.begin(NOON + timedelta(seconds=1))
    assert delivering.again()["state"] == "waiting"
    delivering.operator.write()
    assert delivering.target.value == delivering.new.base64
    assert delivering.again()["state"] == "waiting"
    delivering.operator.finish()
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1"]


def test_a_sync_that_failed_is_waited_for_since_the_operator_tries_again(
    delivering: Delivery,
) -> None:
    delivering.call(NOON)
    delivering.operator.begin(NOON)
    delivering.operator.fail()
    assert delivering.again()["state"] == "waiting"
    delivering.operator.sync(NOON + POLL)
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1"]


def test_a_sync_of_the_old_value_is_requested_again_with_another_token(
    delivering: Delivery,
) -> None:
    delivering.operator.provides = delivering.old.base64
    delivering.call(NOON)
    delivering.operator.sync(NOON + timedelta(seconds=1))
    asked = delivering.again()
    assert (asked["state"], asked["asked"]) == ("waiting", 2)
    assert asked["askedAt"] == format_timestamp(NOON + POLL)
    assert asked["startedAt"] == format_timestamp(NOON)
    delivering.operator.provides = delivering.new.base64
    delivering.operator.sync(NOON + POLL)
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1", f"{NEW}-2"]


def test_a_sync_that_began_before_we_asked_is_not_taken_for_ours(delivering: Delivery) -> None:
    """Someone else's change started it, and what it reads may be the old value."""
    delivering.operator.token, delivering.operator.provides = "theirs", delivering.old.base64
    assert delivering.operator.begin(NOON - timedelta(seconds=2))
    delivering.operator.provides = delivering.new.base64
    delivering.call(NOON)
    delivering.operator.write()
    delivering.operator.finish()
    assert delivering.again()["says"] == "waiting for the operator's sync"
    delivering.operator.sync(NOON + POLL)
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1"]


@pytest.mark.parametrize("synced_meanwhile", [False, True])
def test_the_retry_of_a_call_asks_with_the_same_token(
    delivering: Delivery, synced_meanwhile: bool
) -> None:
    delivering.operator.lost_answers = 1
    with pytest.raises(errors.ClusterUnavailable):
        delivering.call(NOON)
    if synced_meanwhile:
        delivering.operator.sync(NOON)
    retried = delivering.call(NOON + timedelta(seconds=2))
    assert set(delivering.operator.tokens) == {f"{NEW}-1"}
    assert retried["state"] == ("done" if synced_meanwhile else "waiting")


def test_the_retry_of_a_later_call_asks_with_that_calls_token(delivering: Delivery) -> None:
    delivering.operator.provides = delivering.old.base64
    delivering.call(NOON)
    delivering.operator.sync(NOON)
    delivering.operator.lost_answers = 1
    with pytest.raises(errors.ClusterUnavailable):
        delivering.again()
    assert delivering.again()["asked"] == 2
    assert delivering.operator.tokens == [f"{NEW}-1", f"{NEW}-2", f"{NEW}-2"]


def test_a_sync_of_the_old_value_that_a_retry_could_not_see_is_asked_for_again(
    delivering: Delivery,
) -> None:
    """The token is the same, so the operator has nothing more to do and its status stands still."""
    delivering.operator.provides, delivering.operator.lost_answers = delivering.old.base64, 1
    with pytest.raises(errors.ClusterUnavailable):
        delivering.call(NOON)
    delivering.operator.sync(NOON)
    asked = delivering.call(NOON + timedelta(seconds=2))
    delivering.operator.provides = delivering.new.base64
    delivering.operator.sync(NOON + timedelta(seconds=3))
    assert delivering.target.value == delivering.old.base64
    assert delivering.call(delivering.at + ANSWER_LIMIT)["asked"] == asked["asked"] == 1
    assert delivering.again()["asked"] == 2
    delivering.operator.sync(delivering.at)
    assert delivering.again()["state"] == "done"


@pytest.mark.parametrize("provides", ["the old value", "nothing"])
def test_a_delivery_ends_however_often_the_operator_syncs_in_vain(
    delivering: Delivery, provides: str
) -> None:
    delivering.operator.provides = delivering.old.base64 if provides == "the old value" else None
    delivering.call(NOON)
    for _ in range(int(SYNC_LIMIT / POLL)):
        delivering.operator.sync(delivering.at)
        assert delivering.again()["state"] == "waiting"
    delivering.operator.sync(delivering.at)
    with pytest.raises(errors.SyncOverdue, match=r"ExternalSecret web/session-key") as overdue:
        delivering.again()
    assert f"(times: {len(delivering.operator.tokens)})" in str(overdue.value)
    assert "300 s" in str(overdue.value)
    assert "No pod was restarted" in str(overdue.value)


def test_an_operator_that_does_not_work_is_asked_now_and_then_and_then_overdue(
    delivering: Delivery,
) -> None:
    delivering.call(NOON)
    assert delivering.call(NOON + SYNC_LIMIT)["state"] == "waiting"
    with pytest.raises(errors.SyncOverdue):
        delivering.call(NOON + SYNC_LIMIT + timedelta(seconds=1))
    assert delivering.operator.tokens == [f"{NEW}-1", f"{NEW}-2"]


def test_a_sync_that_is_done_at_the_deadline_is_done(delivering: Delivery) -> None:
    delivering.call(NOON)
    delivering.operator.sync(NOON + timedelta(seconds=1))
    assert delivering.call(NOON + 2 * SYNC_LIMIT)["state"] == "done"


def test_no_key_is_in_an_entry_an_error_or_a_repr(delivering: Delivery) -> None:
    shown = [repr(delivering.call(NOON)), repr(PromotedKey(delivering.new, NEW, lambda: None))]
    delivering.operator.sync(NOON)
    shown += [repr(delivering.again()), repr(delivering.operator.read())]
    delivering.target.value = None
    delivering.last["state"] = "waiting"
    with pytest.raises(errors.SyncOverdue) as overdue:
        delivering.call(NOON + 2 * SYNC_LIMIT)
    for session_key in (delivering.old, delivering.new):
        assert session_key.base64 not in f"{shown} {overdue.value!r}"
        assert session_key.raw.hex() not in f"{shown} {overdue.value!r}"


def take(step: str, delivering: Delivery) -> None:
    """Let the operator, or what is around it, do one thing, if it can."""
    operator = delivering.operator
    working = operator._working is not None
    if step == "begin":
        operator.begin(delivering.at)
    elif step == "sync" and not working:
        operator.sync(delivering.at)
    elif step == "promotion seen":
        operator.provides = delivering.new.base64
    elif step == "other change":
        operator.token = f"{operator.token}x"
    elif step == "answer lost":
        operator.lost_answers = 1
    elif working and step in {"write", "finish", "fail"}:
        {"write": operator.write, "finish": operator.finish, "fail": operator.fail}[step]()


WORK = ["begin", "write", "finish", "fail", "sync"]
STEPS = st.lists(
    st.sampled_from(["poll", *WORK, "promotion seen", "other change", "answer lost"]),
    max_size=40,
)


def after(steps: list[str]) -> Delivery:
    """A delivery after these steps, or after the first that ended it."""
    delivering = Delivery()
    delivering.operator.provides = delivering.old.base64
    for step in steps:
        if step != "poll":
            take(step, delivering)
        elif delivering.poll() == "done":
            break
    return delivering


@given(STEPS)
def test_a_delivery_is_done_only_if_the_secret_contains_the_key(
    steps: list[str],
) -> None:
    delivering = after(steps)
    done = delivering.last.get("state") == "done"
    assert not done or delivering.target.value == delivering.new.base64


@given(STEPS)
def test_an_operator_that_works_again_brings_the_key_whatever_was_before(
    steps: list[str],
) -> None:
    delivering = after(steps)
    delivering.operator.provides = delivering.new.base64
    if delivering.operator._working is not None:
        delivering.operator.fail()
    deadline = delivering.at + ANSWER_LIMIT + 4 * POLL
    while delivering.last.get("state") != "done":
        assert delivering.at < deadline
        delivering.operator.sync(delivering.at)
        delivering.poll()
    assert delivering.target.value == delivering.new.base64


def test_readiness_is_proved_by_a_dry_run_that_changes_nothing(delivering: Delivery) -> None:
    before = delivering.operator.read()
    delivering.delivery.check_ready()
    assert delivering.operator.dry_runs == ["dry-run"]
    assert delivering.operator.tokens == []
    assert delivering.operator.read() == before
    assert delivering.target.value == delivering.old.base64


def spoil(**changes: Any) -> Callable[[FakeOperator], None]:
    def change(operator: FakeOperator) -> None:
        operator.seen = replace(operator.seen, **changes)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil(refresh_policy="CreatedOnce"), "refreshPolicy CreatedOnce"),
        (spoil(refresh_interval="0"), "refreshInterval 0"),
        (spoil(refresh_interval="0s"), "refreshInterval 0"),
        (spoil(refresh_interval="0h0m0s"), "refreshInterval 0"),
        (spoil(refresh_interval="0.0s"), "refreshInterval 0"),
        (spoil(refresh_interval="-1h"), "refreshInterval 0"),
        (spoil(immutable=True), "immutable"),
        (spoil(pinned=True), "pinned to one version"),
        (spoil(writes="other"), "writes the Secret other, but the pods read session-key"),
    ],
)
def test_an_external_secret_that_cannot_sync_the_key_is_refused(
    delivering: Delivery, change: Callable[[FakeOperator], None], words: str
) -> None:
    change(delivering.operator)
    with pytest.raises(errors.SyncImpossible, match=words) as refused:
        delivering.delivery.check_ready()
    assert str(refused.value).startswith("ExternalSecret web/session-key ")
    assert str(refused.value).endswith("Nothing was changed.")
    assert delivering.operator.dry_runs == []


@pytest.mark.parametrize("interval", ["1h", "1h0m0s", "15s", "0.5s", "0h0m1s", "100ms", "10h"])
def test_any_interval_longer_than_nothing_will_do(interval: str) -> None:
    found = ExternalSecret("session-key", "session-key", refresh_interval=interval)
    assert sync_blocker(found, "session-key") is None


def test_on_change_needs_no_interval() -> None:
    found = ExternalSecret(
        "session-key", "session-key", refresh_policy="OnChange", refresh_interval="0"
    )
    assert sync_blocker(found, "session-key") is None


@pytest.mark.parametrize(
    ("policy", "every"),
    [("CreatedOnce", timedelta(hours=1)), ("Periodic", timedelta())],
    ids=["CreatedOnce", "refreshInterval 0"],
)
def test_the_operator_ignores_a_request_where_we_say_it_would(
    delivering: Delivery, policy: str, every: timedelta
) -> None:
    """What `hindrance` refuses, seen on the operator's own rules."""
    operator = delivering.operator
    operator.seen, operator.every = replace(operator.seen, refresh_policy=policy), every
    delivering.call(NOON)
    operator.sync(NOON)
    assert delivering.target.value == delivering.old.base64
    assert delivering.again()["state"] == "waiting"


def test_no_sync_is_waited_for_that_cannot_come(delivering: Delivery) -> None:
    delivering.call(NOON)
    delivering.target.immutable = True
    with pytest.raises(errors.DeliveryRefused, match="immutable, so the operator cannot write"):
        delivering.again()


def test_an_immutable_secret_is_refused(delivering: Delivery) -> None:
    delivering.target.immutable = True
    with pytest.raises(errors.DeliveryRefused, match="web/session-key is immutable"):
        delivering.delivery.check_ready()
    assert delivering.operator.dry_runs == []


REQUEST = NOON + timedelta(milliseconds=640)
SYNCED = ExternalSecret("session-key", "session-key", ready=True)


@pytest.mark.parametrize(
    ("seen", "proved", "possible"),
    [
        ({"refreshed_at": NOON + timedelta(seconds=1)}, True, True),
        ({"refreshed_at": NOON}, False, True),
        ({"refreshed_at": NOON - timedelta(seconds=1)}, False, False),
        ({"refreshed_at": None}, False, False),
        ({"refreshed_at": NOON + timedelta(seconds=1), "ready": False}, False, False),
    ],
    ids=["a later second", "the same second", "a second before", "never", "failed"],
)
def test_a_sync_is_proved_by_a_later_second_and_possible_in_the_same(
    seen: dict[str, Any], proved: bool, possible: bool
) -> None:
    assert synced_since(replace(SYNCED, **seen), REQUEST) is proved
    assert may_be_synced_since(replace(SYNCED, **seen), REQUEST) is possible


@pytest.mark.parametrize("request_at", [NOON, NOON + timedelta(milliseconds=999)])
def test_a_sync_in_the_second_of_the_request_proves_nothing(
    delivering: Delivery, request_at: datetime
) -> None:
    """It may have begun before the request, and have read the old value."""
    delivering.call(request_at)
    delivering.operator.sync(request_at)
    assert delivering.call(request_at + timedelta(milliseconds=900))["asked"] == 1
    asked = delivering.again()
    assert delivering.target.value == delivering.new.base64
    assert (asked["state"], asked["asked"]) == ("waiting", 2)
    delivering.operator.sync(delivering.at)
    assert delivering.again()["state"] == "done"


@pytest.mark.parametrize("seconds", [1, 2, 4])
def test_a_request_that_a_controller_takes_away_is_answered_all_the_same(
    delivering: Delivery, seconds: int
) -> None:
    """The sync that the removal starts leaves the status as it was before, but for its time."""
    delivering.call(NOON)
    delivering.operator.sync(NOON)
    delivering.operator.token = ""
    delivering.operator.sync(NOON + timedelta(seconds=seconds))
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1"]


@pytest.mark.parametrize("behind", [timedelta(seconds=2), timedelta(seconds=30)])
def test_an_operator_whose_clock_is_behind_is_believed_after_another_request(
    delivering: Delivery, behind: timedelta
) -> None:
    delivering.call(NOON)
    delivering.operator.sync(NOON - behind)
    while delivering.again()["asked"] == 1:
        assert delivering.last["state"] == "waiting"
    delivering.operator.sync(delivering.at - behind)
    assert delivering.again()["state"] == "done"
    assert delivering.operator.tokens == [f"{NEW}-1", f"{NEW}-2"]
