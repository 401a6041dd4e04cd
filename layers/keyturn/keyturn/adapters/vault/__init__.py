"""Vault: the connection, the login, and the KV version 2 secret."""
