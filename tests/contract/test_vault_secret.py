"""The same cases on the fake of a secret in Vault and on the real one."""

from collections.abc import Iterator

import pytest

from keyturn import errors
from keyturn.adapters.aws import client
from keyturn.delivery.vault import VaultSecret, VersionMetadata
from keyturn.secret import key
from local.processes import Processes
from local.vault_server import VaultServer
from tests.contract.vault_secret import FIELD, MOUNT, PATH, Site, Stored, use
from tests.fakes import FakeVaultSecret


@pytest.fixture(scope="module")
def server() -> Iterator[VaultServer]:
    with Processes() as processes, VaultServer(processes) as server:
        yield server


class OnFake:
    """A fake, and what its owners do to it."""

    def __init__(self) -> None:
        self.fake = FakeVaultSecret()
        self.secret: VaultSecret = self.fake

    def put(self, **fields: object) -> None:
        self.fake.put(**fields)

    def delete(self, version: int) -> None:
        self.fake.deleted.add(version)


class OnServer:
    """A real secret, and what its owners do to it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.secret: VaultSecret = site.secret()

    def put(self, **fields: object) -> None:
        self.site.kept.put(fields)

    def delete(self, version: int) -> None:
        self.site.kept.delete(version)


Owned = OnFake | OnServer


@pytest.fixture(params=["fake", "real"])
def owned(
    request: pytest.FixtureRequest, server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owned]:
    if request.param == "fake":
        yield OnFake()
        return
    site = Site(server)
    monkeypatch.setattr(client, "client", use(Stored(site.credentials)))
    site.grant()
    yield OnServer(site)
    server.client().secrets.kv.v2.delete_metadata_and_all_versions(PATH, mount_point=MOUNT)


def test_a_secret_that_is_not_there_is_named(owned: Owned) -> None:
    with pytest.raises(errors.VaultSecretNotFound):
        owned.secret.read()


def test_a_write_changes_one_field_upon_what_was_read_and_upon_nothing_else(owned: Owned) -> None:
    first, second = key.generate_key().base64, key.generate_key().base64
    owned.put(**{FIELD: first, "OTHER": "kept"})
    read = owned.secret.read()
    owned.secret.write(read, second)
    now = owned.secret.read()
    assert (read.version, now.version) == (1, 2)
    assert now.fields == {FIELD: second, "OTHER": "kept"}
    with pytest.raises(errors.DeliveryConflict):
        owned.secret.write(read, first)
    assert owned.secret.read().version == 2


def test_versions_and_what_they_hold(owned: Owned) -> None:
    values = [key.generate_key().base64 for _ in range(4)]
    for value in values:
        owned.put(**{FIELD: value})
    owned.secret.destroy([1])
    owned.delete(2)
    assert list(owned.secret.versions()) == [
        VersionMetadata(1, destroyed=True),
        VersionMetadata(2, deleted=True),
        VersionMetadata(3),
        VersionMetadata(4),
    ]
    held = [owned.secret.value_of(version) for version in (1, 2, 3, 4, 5)]
    assert held == [None, None, *values[2:], None]


def test_a_latest_version_that_is_deleted_is_named(owned: Owned) -> None:
    owned.put(**{FIELD: key.generate_key().base64})
    owned.delete(1)
    with pytest.raises(errors.VaultVersionDeleted):
        owned.secret.read()


def test_a_field_that_is_no_text_is_none(owned: Owned) -> None:
    owned.put(**{FIELD: 7})
    assert owned.secret.read().value is None
    owned.put(other="field")
    assert owned.secret.read().value is None


def test_the_checks_pass(owned: Owned) -> None:
    owned.put(**{FIELD: key.generate_key().base64})
    owned.secret.check_access()
