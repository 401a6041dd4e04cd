"""No status is believed, what Vault and the Secret hold is."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes.vault_secrets_operator import static_secret
from keyturn.delivery import strategy
from keyturn.delivery.external_secrets import ANSWER_LIMIT, SYNC_LIMIT
from keyturn.delivery.vault import VaultDelivery
from keyturn.delivery.vault_operator import (
    Source,
    StaticSecret,
    VaultOperatorDelivery,
    sync_blocker,
)
from keyturn.rotation.preflight import find_problems
from keyturn.run.run import Run
from keyturn.secret import key
from tests.conftest import ARN, NEW, NOON, OLD
from tests.fakes import (
    FakeSecretStore,
    FakeStopwatch,
    FakeTarget,
    FakeVaultOperator,
    FakeVaultSecret,
)

POLL = timedelta(seconds=5)
SOURCE = Source("secret", "trading-platform/web-console", "", "session-key")
GOOD = StaticSecret("session-key", "kv-v2", "secret", "trading-platform/web-console")


class Delivery:
    """A delivery from call to call, as the state machine repeats it, beside the operator."""

    def __init__(self) -> None:
        self.old, self.new = key.generate_key(), key.generate_key()
        self.secret = FakeVaultSecret()
        self.secret.put(**{key.FIELD: self.old.base64})
        self.target = FakeTarget(self.old.base64, owner="the Vault Secrets Operator")
        self.operator = FakeVaultOperator(self.secret, self.target)
        write = VaultDelivery(self.secret)
        self.delivery = VaultOperatorDelivery(write, self.target, self.operator, SOURCE)
        self.run = Run(NEW, ARN, "scheduled", OLD)
        self.last: Any = {}

    @property
    def source(self) -> FakeSecretStore:
        documents = {OLD: self.old, NEW: self.new}
        return FakeSecretStore(
            {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]},
            {name: json.dumps({key.FIELD: one.base64}) for name, one in documents.items()},
        )

    def call(self, at: datetime) -> Any:
        ledger: Any = {**self.run.as_ledger(), **({"deliver_key": self.last} if self.last else {})}
        self.last = strategy.deliver(self.source, self.delivery, NEW, ledger, at)
        return self.last


@pytest.fixture
def delivering() -> Delivery:
    return Delivery()


def test_vault_is_written_the_operator_asked_and_the_secret_is_the_proof(
    delivering: Delivery,
) -> None:
    asked = delivering.call(NOON)
    assert (asked["state"], asked["asked"], asked["vaultVersion"]) == ("waiting", 1, 2)
    assert delivering.secret.read().value == delivering.new.base64
    assert delivering.call(NOON + POLL)["state"] == "waiting"
    assert delivering.operator.tokens == [f"{NEW}-1"]
    delivering.operator.seen = replace(GOOD, restarts=("deployment/web-console",))
    delivering.operator.sync()
    done = delivering.call(NOON + 2 * POLL)
    assert done["state"] == "done"
    assert done["delivery"] == delivering.target.read().resource_version
    assert (done["written"], done["vaultVersion"], done["vaultVersionBefore"]) == (True, 2, 1)
    assert done["destroysExposed"] is True
    assert done["restartedByOperator"] == ["deployment/web-console"]
    assert done["target"] == (
        "Kubernetes Secret web/session-key by VaultStaticSecret web/web-console of"
        " Vault secret/trading-platform/web-console"
    )
    assert delivering.target.writes == 0


def test_a_sync_that_does_not_come_is_asked_for_again_and_at_last_given_up(
    delivering: Delivery,
) -> None:
    delivering.call(NOON)
    assert delivering.call(NOON + ANSWER_LIMIT)["asked"] == 1
    again = delivering.call(NOON + ANSWER_LIMIT + POLL)
    assert (again["asked"], delivering.operator.tokens) == (2, [f"{NEW}-1", f"{NEW}-2"])
    with pytest.raises(errors.SyncOverdue, match=r"\(times: 2\).* No pod was restarted"):
        delivering.call(NOON + SYNC_LIMIT + POLL)
    assert len(delivering.secret.fields) == 2


def test_a_repeated_request_writes_to_vault_once(
    delivering: Delivery,
) -> None:
    delivering.operator.lost_answers = 1
    with pytest.raises(errors.ClusterUnavailable):
        delivering.call(NOON)
    delivering.operator.sync()
    assert delivering.call(NOON + POLL)["state"] == "done"
    assert len(delivering.secret.fields) == 2


def test_a_secret_that_holds_the_key_while_vault_does_not_is_not_done(
    delivering: Delivery,
) -> None:
    """The operator would bring back what Vault holds."""
    delivering.call(NOON)
    delivering.operator.sync()
    delivering.secret.put(**{key.FIELD: delivering.old.base64})
    assert delivering.call(NOON + POLL)["state"] == "waiting"
    promoted = strategy.promoted_key(delivering.source, NEW)
    assert not delivering.delivery.contains(promoted)
    delivering.secret.put(**{key.FIELD: delivering.new.base64})
    assert delivering.delivery.contains(promoted)
    delivering.target.value = "another"
    assert not delivering.delivery.contains(promoted)


def test_the_checks_ask_vault_the_operator_and_the_secret_and_change_nothing(
    delivering: Delivery,
) -> None:
    assert delivering.delivery.check_ready() is None
    assert delivering.operator.dry_runs == ["dry-run"]
    assert (delivering.operator.tokens, len(delivering.secret.fields)) == ([], 1)
    delivering.target.immutable = True
    with pytest.raises(errors.DeliveryRefused, match="immutable"):
        delivering.delivery.check_ready()
    delivering.secret.denied = True
    with pytest.raises(errors.AccessDenied):
        delivering.delivery.check_ready()


def test_whom_the_operator_restarts_is_noted_before_the_promotion(delivering: Delivery) -> None:
    delivering.operator.seen = replace(GOOD, restarts=("deployment/web-console",))
    problems, (note,) = find_problems(
        [delivering.delivery.check_ready, lambda: None], FakeStopwatch()
    )
    assert problems == []
    assert "VaultStaticSecret web/web-console restarts deployment/web-console by itself" in note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"writes": "another"}, "writes the Secret another"),
        ({"engine": "kv-v1"}, "type kv-v1"),
        ({"mount": "other"}, "reads other/trading-platform"),
        ({"path": "elsewhere"}, "reads secret/elsewhere"),
        ({"namespace": "team"}, "the namespace team"),
        ({"pinned": True}, "pinned to one version"),
    ],
)
def test_a_static_secret_that_would_never_bring_the_key_is_refused(
    changes: dict[str, Any], words: str, delivering: Delivery
) -> None:
    delivering.operator.seen = replace(GOOD, **changes)
    with pytest.raises(errors.SyncImpossible, match=f"{words}.* Nothing was changed"):
        delivering.delivery.check_ready()


@pytest.mark.parametrize(
    ("theirs", "ours"), [("", ""), ("", "team"), ("team", "team/"), ("/team/", "team")]
)
def test_a_namespace_that_is_the_same_or_that_of_the_login_is_no_hindrance(
    theirs: str, ours: str
) -> None:
    assert sync_blocker(replace(GOOD, namespace=theirs), replace(SOURCE, namespace=ours)) is None


SPEC = {
    "type": "kv-v2",
    "mount": "secret",
    "path": "trading-platform/web-console",
    "destination": {"name": "session-key", "create": True},
}
TARGETS = [
    {"kind": "Deployment", "name": "web-console"},
    {"kind": "StatefulSet", "name": "auth"},
    {"kind": "argo.Rollout", "name": "edge"},
]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, GOOD),
        ({"namespace": "team", "version": 0}, replace(GOOD, namespace="team")),
        ({"version": 3}, replace(GOOD, pinned=True)),
        (
            {"rolloutRestartTargets": TARGETS},
            replace(GOOD, restarts=("deployment/web-console", "statefulset/auth", "rollout/edge")),
        ),
        ({"rolloutRestartTargets": TARGETS, "hmacSecretData": False}, GOOD),
    ],
    ids=["plain", "namespace", "pinned", "restarts", "restarts that it ignores"],
)
def test_the_resource_is_read_as_the_operator_reads_it(
    spec: dict[str, Any], expected: StaticSecret
) -> None:
    assert static_secret({"metadata": {"name": "x"}, "spec": {**SPEC, **spec}}) == expected
