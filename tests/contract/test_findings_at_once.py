"""Two copies of `respond_to_finding` at once, on the adapter and the local Secrets Manager.

Both have judged before either acts, which is the worst that can happen: one rotation comes of it.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from keyturn import errors
from keyturn.adapters.aws.secrets_manager import SecretsManager
from keyturn.findings import policy as finding_policy
from keyturn.findings import response
from keyturn.findings.event import Finding, parse_finding
from keyturn.findings.policy import Scope, token_of
from keyturn.run import times
from keyturn.secret import key
from keyturn.secret.finding_history import StartedRotation
from keyturn.settings import loading
from tests.contract.secrets_manager_account import (
    PATIENCE_SECONDS,
    Account,
    open_gate,
)
from tests.fakes import FakeChannel, telling
from tests.project import environment, event


@pytest.fixture
def account(account: Account) -> Account:
    """An account whose secret can be rotated."""
    account.put(json.dumps({key.FIELD: key.generate_key().base64}))
    account.ended(account.rotate())
    return account


@pytest.fixture
def scope() -> Scope:
    given = environment("respond_to_finding")
    return finding_policy.scope_of(loading.load(loading.RespondToFindingSettings, given))


class Together(SecretsManager):
    """Waits, before it records anything for the first time, until the other copy would, too."""

    def __init__(self, secret_arn: str, barrier: threading.Barrier) -> None:
        super().__init__(secret_arn)
        self.barrier: threading.Barrier | None = barrier

    def record_rotation(self, started: StartedRotation) -> None:
        if self.barrier:
            barrier, self.barrier = self.barrier, None
            barrier.wait(PATIENCE_SECONDS)
        super().record_rotation(started)


def just_seen(finding_id: str) -> Finding:
    at = times.now()
    found = parse_finding(event("respond_to_finding"))
    return replace(found, id=finding_id * 32, last_seen=at, sent=at)


def answer(secret: Together, found: Finding, scope: Scope) -> dict[str, Any] | errors.KeyturnError:
    try:
        return response.respond(secret, telling(FakeChannel()), found, scope, found.sent)
    except errors.KeyturnError as error:
        return error


def at_once(
    account: Account, scope: Scope, findings: list[Finding]
) -> list[dict[str, Any] | errors.KeyturnError]:
    barrier = threading.Barrier(len(findings))
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(answer, Together(account.arn, barrier), found, scope) for found in findings
        ]
        return [one.result() for one in running]


def emergencies(account: Account) -> set[str]:
    listed = account.call("ListSecretVersionIds", SecretId="app", IncludeDeprecated=True)
    known = {one["VersionId"] for one in listed["Versions"]} | account.labels().keys()
    return {one for one in known if one.startswith("emergency-")}


def test_two_copies_of_one_finding_start_one_rotation(account: Account, scope: Scope) -> None:
    with open_gate() as gate:
        account.function.before["createSecret"] = gate
        found = just_seen("1")
        answers = at_once(account, scope, [found, found])
        assert [one["rotationId"] for one in answers if isinstance(one, dict)] == [
            token_of(found)
        ] * 2
        assert emergencies(account) == {token_of(found)}
    account.ended(token_of(found))
    assert account.holder("AWSCURRENT") == token_of(found)


def test_of_two_findings_one_rotates_and_the_other_waits_for_it(
    account: Account, scope: Scope
) -> None:
    with open_gate() as gate:
        account.function.before["createSecret"] = gate
        findings = [just_seen("1"), just_seen("2")]
        answers = at_once(account, scope, findings)
        (rotated,) = (one for one in answers if isinstance(one, dict))
        (waits,) = (one for one in answers if not isinstance(one, dict))
        assert isinstance(waits, errors.RotationPending)
        assert emergencies(account) == {rotated["rotationId"]}
    account.ended(rotated["rotationId"])
    assert account.holder("AWSCURRENT") == rotated["rotationId"]
    started = SecretsManager(account.arn).started_rotations()
    assert {one.token for one in started} == {token_of(one) for one in findings}
