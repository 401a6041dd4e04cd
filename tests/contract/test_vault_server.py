"""The local Vault: a real OpenBao server, ready when it says so, and gone when it is closed."""

import hvac
import pytest
from hvac.exceptions import VaultDown
from requests.exceptions import SSLError

from local.processes import Processes
from local.vault_server import VaultServer

READS = 'path "secret/data/console" { capabilities = ["read"] }'


def versions(client: hvac.Client) -> int:
    """How many versions the document has after one more."""
    answer = client.secrets.kv.v2.create_or_update_secret("console", {"field": "value"})
    return int(answer["data"]["version"])


def test_it_is_unsealed_and_has_a_versioned_engine_from_the_start(processes: Processes) -> None:
    with VaultServer(processes) as server:
        assert versions(server.client()) == 1
        assert server.address.startswith("http://127.0.0.1:")


def test_a_role_logs_in_and_may_do_what_its_policy_says(processes: Processes) -> None:
    with VaultServer(processes) as server:
        versions(server.client())
        role = server.enable_approle(READS)
        again = server.enable_approle(READS)
        assert again.role_id == role.role_id
        client = server.client(token="")
        client.auth.approle.login(role.role_id, role.secret_id)
        found = client.secrets.kv.v2.read_secret("console", raise_on_deleted_version=True)
        assert found["data"]["data"] == {"field": "value"}
        with pytest.raises(hvac.exceptions.Forbidden):
            versions(client)
        assert role.secret_id not in repr(role)


def test_a_sealed_server_serves_nobody_and_an_unsealed_one_does_again(
    processes: Processes,
) -> None:
    with VaultServer(processes) as server:
        versions(server.client())
        server.seal()
        with pytest.raises(VaultDown):
            versions(server.client())
        server.unseal()
        assert versions(server.client()) == 2


def test_with_tls_it_is_trusted_by_its_own_authority_alone(processes: Processes) -> None:
    with VaultServer(processes, tls=True) as server:
        assert server.ca_pem.startswith("-----BEGIN CERTIFICATE-----")
        assert versions(server.client()) == 1
        stranger = hvac.Client(url=server.address, token=server.root_token, verify=True)
        with pytest.raises(SSLError):
            versions(stranger)


def test_nothing_is_left_of_a_closed_server(processes: Processes) -> None:
    server = VaultServer(processes)
    folder = server._folder
    server.close()
    server.close()
    assert not server.child.running
    assert not folder.exists()
