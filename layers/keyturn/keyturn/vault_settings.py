"""The settings of DeliveryMode vault, see `keyturn.settings`."""

from dataclasses import dataclass

from keyturn.variables import OptionalUrl, VaultAuthentication, VaultPath


@dataclass(frozen=True)
class VaultSettings:
    """Which secret of which Vault the pods read, and how we log in there (DeliveryMode vault)."""

    vault_address: OptionalUrl
    vault_namespace: str
    vault_mount: VaultPath
    vault_path: VaultPath
    vault_field: str
    vault_authentication: VaultAuthentication
    vault_auth_mount: VaultPath
    vault_role: str
    vault_server_id: str
    vault_credentials_secret: str
    vault_destroy_exposed: bool
