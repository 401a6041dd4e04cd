"""Keyturn rotates the key that encrypts user sessions, and delivers it to the services.

A folder for each phase of a rotation (`secret`, `delivery`, `rollout`, `sessions` and more)
decides, `adapters` does the I/O, `wiring` joins them. Imports flow one way, see
`[tool.importlinter]` in pyproject.toml. A phase knows no vendor; it declares the `Protocol` that it
needs.
"""
